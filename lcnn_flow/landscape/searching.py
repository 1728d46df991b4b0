"""`search_critical_points`: finds some critical points for losses and data that have no census, without completeness.

Three sources: limits of flows; Newton's method, which is drawn to saddles as well; and Newton's method deflated by all
that is known, until a round brings nothing new. What is found is classified, and certified where it can be.
"""

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from lcnn_flow.critical.certificate import Certificate, certify
from lcnn_flow.critical.classification import CriticalPoint, classify
from lcnn_flow.critical.rescaled import orbits
from lcnn_flow.ensemble.many import gradient_flow_ensemble
from lcnn_flow.errors import RiskError
from lcnn_flow.landscape.deflation import deflated_newton
from lcnn_flow.landscape.euler import expected_index_sum
from lcnn_flow.limits.verdict import WITH_LIMIT
from lcnn_flow.network.filters import end_to_end_filter, tap_offsets
from lcnn_flow.network.parameters import unravel
from lcnn_flow.risk.linear import LinearRisk, check_linear

__all__ = ["FoundPoint", "FoundPoints", "search_critical_points"]

_ROUNDS = 5
_CAPACITY = 64
"""Known points that keep Newton's method away, in multiples of which there is room."""
_VANISHES = 1e-6
_BATCH = 32


@dataclass(frozen=True, eq=False)
class FoundPoint:
    """One critical orbit with v != 0."""

    params: tuple[np.ndarray, ...]
    """Balanced filters."""
    end_to_end_filter: np.ndarray
    risk: float
    hessian_index: int
    kind: str
    """As of `classify`: "minimum", "strict_saddle" or "degenerate"."""
    certificate: Certificate


@dataclass(frozen=True, eq=False)
class FoundPoints:
    """Result of `search_critical_points`: orbits that were found, the lowest risk first; there may be others."""

    orbits: tuple[FoundPoint, ...]
    expected_index_sum: int | None
    """What the indices of all orbits add up to where the loss is strictly convex and data are in general position; None
    where that is not known."""

    @property
    def index_sum(self) -> int:
        """Sum over the found orbits of (-1)^index; a value other than the expected one shows that some are missing."""
        return sum((-1) ** orbit.hessian_index for orbit in self.orbits)

    def __repr__(self) -> str:
        kinds = Counter(f"{orbit.kind} of index {orbit.hessian_index}" for orbit in self.orbits)
        proved = sum(orbit.certificate.status == "certified" for orbit in self.orbits)
        lines = [f"found {len(self.orbits)} critical orbits, {proved} of them certified; there may be others"]
        lines += [f"  {count} {kind}" for kind, count in sorted(kinds.items())]
        if self.expected_index_sum is not None:
            missing = "" if self.index_sum == self.expected_index_sum else ": some are missing"
            lines.append(f"  sum of (-1)^index {self.index_sum}, that of all {self.expected_index_sum}{missing}")
        for number, orbit in enumerate(self.orbits):
            lines.append(f"  {number:4d}  risk {orbit.risk:<12.8g} {orbit.kind}, {orbit.certificate.status}")
        return "\n".join(lines)


def search_critical_points(risk: Any, starts: Any) -> FoundPoints:
    """Looks for critical orbits with v != 0 of a linear network with any loss; host side.

    Args:
        risk: the risk of a single-channel linear network, any loss, any data.
        starts: filters with a leading axis S: flows and Newton's method begin there.

    Returns:
        `FoundPoints`: the orbits that were found, by increasing risk; that there are no others is not claimed.

    Raises:
        RiskError: another network, channels, or a batch of risks.
        FlowError: as `gradient_flow_ensemble`.
    """
    risk = check_linear("search_critical_points", risk, "search_critical_points(risk.condition(i), starts) for each i")
    if risk.arch.channels is not None:
        raise RiskError(
            "search_critical_points: with channels critical points are not isolated: use lf.gradient_flow_ensemble "
            "and lf.classify"
        )
    flows = gradient_flow_ensemble(risk, starts)
    has = np.isin(np.asarray(flows.verdict), WITH_LIMIT)
    found = _balanced(risk, _raveled([np.asarray(w)[has] for w in flows.limit]))
    found = _distinct(risk, np.zeros((0, risk.arch.num_parameters)), found)
    begin = _balanced(risk, _raveled([np.asarray(w) for w in starts]))
    for _ in range(_ROUNDS):
        known, counts = _images(risk, found)
        ends = np.asarray(deflated_newton(risk, jnp.asarray(begin), jnp.asarray(known), jnp.asarray(counts)))
        more = _distinct(risk, found, ends[np.all(np.isfinite(ends), axis=1)])
        if len(more) == len(found):
            break
        found = more
    if not len(found):
        return FoundPoints((), _expected(risk))
    points = _classified(risk, found)
    listed = [_point(risk, vector, points, i) for i, vector in enumerate(found)]
    return FoundPoints(tuple(sorted(listed, key=lambda point: point.risk)), _expected(risk))


def _raveled(layers: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([w.reshape(len(w), -1) for w in layers], axis=1)


def _layers(risk: LinearRisk, vectors: np.ndarray) -> list[np.ndarray]:
    ends = np.cumsum([int(np.prod(shape)) for shape in risk.arch.layer_shapes])[:-1]
    return np.split(vectors, ends, axis=1)


def _balanced(risk: LinearRisk, vectors: np.ndarray) -> np.ndarray:
    """The same orbits with filters of equal norms, without orbits in which a filter is 0."""
    layers = _layers(risk, vectors)
    norms = np.stack([np.linalg.norm(w, axis=1) for w in layers])
    kept = np.all(norms > 0, axis=0)
    norm = np.exp(np.mean(np.log(norms[:, kept]), axis=0))
    scaled = [w[kept] * (norm / own[kept])[:, None] for w, own in zip(layers, norms, strict=True)]
    return np.concatenate(scaled, axis=1)


def _distinct(risk: LinearRisk, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The known points, and the new ones that are critical, have v != 0 and belong to no known orbit; balanced."""
    new = _balanced(risk, new)
    sizes = np.prod([np.linalg.norm(w, axis=1) for w in _layers(risk, new)], axis=0)
    new = new[sizes > _VANISHES * float(risk.parameter_scale()) ** risk.arch.depth]
    if len(new):
        kind = _classified(risk, new).kind[: len(new)]
        new = new[np.isin(kind, ("minimum", "strict_saddle", "degenerate"))]
    both = np.concatenate([old, new])
    if not len(both):
        return both
    return both[np.sort(orbits(risk.arch, _params(risk, both)).representatives)]


def _params(risk: LinearRisk, vectors: np.ndarray) -> tuple[np.ndarray, ...]:
    layers = zip(_layers(risk, vectors), risk.arch.layer_shapes, strict=True)
    return tuple(w.reshape(len(w), *shape) for w, shape in layers)


def _images(risk: LinearRisk, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All choices of signs of the known points, padded, and a mask of the valid ones."""
    layers, parts = _layers(risk, found), []
    for signs in itertools.product((1.0, -1.0), repeat=len(layers) - 1):
        last = np.prod(signs)
        parts.append(np.concatenate([s * w for s, w in zip((*signs, last), layers, strict=True)], axis=1))
    known = np.concatenate(parts)
    room = -(-max(len(known), 1) // _CAPACITY) * _CAPACITY
    full = np.zeros((room, found.shape[1]))
    full[: len(known)] = known
    return full, (np.arange(room) < len(known)).astype(float)


def _classified(risk: LinearRisk, vectors: np.ndarray) -> CriticalPoint:
    """`classify` of the points padded to a multiple of 32, so that few programs are compiled."""
    room = -(-len(vectors) // _BATCH) * _BATCH
    return classify(risk, _params(risk, np.resize(vectors, (room, vectors.shape[1]))))


def _point(risk: LinearRisk, vector: np.ndarray, points: CriticalPoint, i: int) -> FoundPoint:
    params = unravel(risk.arch, jnp.asarray(vector))
    return FoundPoint(
        params=tuple(np.asarray(w) for w in params),
        end_to_end_filter=np.asarray(end_to_end_filter(risk.arch, params)),
        risk=float(points.risk[i]),
        hessian_index=int(points.hessian_index[i]),
        kind=str(points.kind[i]),
        certificate=certify(risk, params),
    )


def _expected(risk: LinearRisk) -> int | None:
    """The expected sum of (-1)^index; None unless the risk is known to be strictly convex and coercive in v."""
    form, theory = risk.outer, risk.loss.theory
    width = int(np.prod(risk.arch.end_to_end_kernel_size))
    if not (theory.convex is True and theory.coercive is True) or int(form.rank) < width:
        return None
    load = -np.asarray(form.gradient(jnp.zeros((1, width), form.target_size.dtype)))[0]
    taps = [sum(index) for index in itertools.product(*tap_offsets(risk.arch))]
    return expected_index_sum(tuple(k for k in map(_size, risk.arch.kernel_sizes) if k > 1), load[np.asarray(taps)])


def _size(kernel: tuple[int, ...]) -> int:
    return int(np.prod(kernel))
