"""Critical orbits from certified zeros: filters, risk and index, with what is known exactly about them.

A real zero (z, mu) stands for the filters w_l of its chart and the end-to-end filter v = A x / mu; all rescalings
w_l -> a_l w_l with prod a_l = 1 are one orbit. In the coordinates (z, mu) across the orbit the Hessian of the risk is,
up to a positive factor,

    [[F_zz, F_zmu], [F_zmu^T, -F_mumu / mu]],   from F' at the zero,

so its index is certified together with the zero, by Gershgorin's discs.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import arb, arb_mat

from lcnn_flow.critical.balls import above, signature, square
from lcnn_flow.critical.classification import Kind
from lcnn_flow.errors import ArchitectureError
from lcnn_flow.landscape.ball_system import BallSystem, as_floats
from lcnn_flow.landscape.boxes import Box
from lcnn_flow.landscape.problem import SquareProblem
from lcnn_flow.network.architecture import Architecture

__all__ = ["Orbit", "RootPattern", "orbit_of"]

RootPattern = tuple[tuple[int, int, int], ...]
_FLAT = 1e-7
"""Singular values below this share of the largest count as zero."""


@dataclass(frozen=True, eq=False)
class Orbit:
    """One real critical orbit with v != 0."""

    params: tuple[np.ndarray, ...]
    """The balanced filters, all of one norm, rounded."""
    end_to_end_filter: np.ndarray
    """v."""
    risk: float
    """L, rounded; `risk_error` bounds the distance from the exact value."""
    risk_error: float
    hessian_index: int
    """Number of negative Hessian eigenvalues, certified; all others across the symmetries are positive. -1: the zero
    is certified and its index is not."""
    jacobian_rank: int
    """Rank of dv/dw, from singular values in floats."""
    existence_radius: float
    """The exact balanced critical point lies within this Euclidean distance of `params`."""
    root_pattern: RootPattern | None
    """(l, m, count): layers l < m, counted from 1, have `count` roots in common, in floats; None in two dimensions."""

    @property
    def kind(self) -> str:
        """ "minimum" or "strict_saddle"; "degenerate" if the index is not known."""
        if self.hessian_index < 0:
            return Kind.DEGENERATE.word
        return (Kind.STRICT_SADDLE if self.hessian_index else Kind.MINIMUM).word

    def on_leaf(self, balancedness: Any) -> tuple[np.ndarray, ...]:
        """The filters of this orbit whose (|w_l|^2 - |w_{l+1}|^2)/2 are given; one of 2^(N-1) choices of signs.

        Args:
            balancedness: (N - 1,).

        Raises:
            ArchitectureError: a wrong number of values, or values that are not finite.
        """
        given, depth = np.asarray(balancedness, float), len(self.params)
        if given.shape != (depth - 1,) or not np.all(np.isfinite(given)):
            raise ArchitectureError(f"balancedness is {balancedness!r}: this architecture needs {depth - 1} numbers")
        excess = 2 * np.concatenate([np.cumsum(given[::-1])[::-1], [0.0]])
        excess -= np.min(excess)
        norm = float(np.linalg.norm(self.params[0]))
        lengths = np.sqrt(_common_part(excess, norm) + excess)
        return tuple(w * (length / norm) for w, length in zip(self.params, lengths, strict=True))


def _common_part(excess: np.ndarray, norm: float) -> float:
    """m >= 0 with prod (m + excess_l) = norm^(2N), by Newton's method from above, where it never overshoots."""
    m = norm**2
    for _ in range(500):
        terms = (m + excess) / norm**2
        value = math.prod(terms)
        following = m - norm**2 * (value - 1) / sum(value / x for x in terms)
        if not following < m:
            break
        m = following
    return m


def orbit_of(problem: SquareProblem, system: BallSystem, box: Box) -> tuple[Orbit, arb]:
    """The orbit of a real box of finite size, and its exact risk as a ball; within the precision of `problem`."""
    balls = box.balls
    mu, filters = balls[-1], system.filters(balls)
    unit = arb(2) ** (problem.moment_exponent - problem.gram_exponent)
    v = [x / mu * unit for x in system.end_to_end(filters).entries()]
    params, radius = _balanced(problem, filters, mu, unit)
    moment = [x * arb(2) ** problem.moment_exponent for x in problem.moment.entries()]
    agreement = sum((x * y for x, y in zip(moment, v, strict=True)), arb(0))
    risk = (problem.energy - agreement) / (2 * problem.weight)  # v^T G v = c^T v at a critical point
    value = max(0.0, float(risk.mid()))
    index = _index(box, mu)
    orbit = Orbit(
        params=params,
        end_to_end_filter=np.asarray([float(x.mid()) for x in v]).reshape(problem.arch.end_to_end_filter_shape),
        risk=value,
        risk_error=above((risk - arb(value)).abs_upper()),
        hessian_index=-1 if index is None else index,
        jacobian_rank=_jacobian_rank(problem, params),
        existence_radius=radius,
        root_pattern=_root_pattern(problem.arch, params),
    )
    return orbit, risk


def _balanced(
    problem: SquareProblem, filters: list[list[arb]], mu: arb, unit: arb
) -> tuple[tuple[np.ndarray, ...], float]:
    """Filters of equal norms with product v, rounded, and a bound on the distance of the exact ones.

    Of all choices of signs that in which the largest entry of every filter but the last is positive.
    """
    norms = [sum((square(x) for x in w), arb(0)).sqrt() for w in filters]
    size = math.prod(norms, start=unit / abs(mu))
    length = size.root(problem.arch.depth)
    given = iter(zip(filters, norms, strict=True))
    params, error, signs = [], arb(0), 1 if mu > 0 else -1
    for layer, shape in enumerate(problem.arch.layer_shapes):
        w, norm = next(given) if layer in problem.layers else ([arb(1)], arb(1))
        last = layer == problem.arch.depth - 1
        sign = signs if last else _sign(w)
        signs *= sign
        exact = [sign * x / norm * length for x in w]
        rounded = np.asarray([float(x.mid()) for x in exact])
        error += sum((square(x - arb(float(y))) for x, y in zip(exact, rounded, strict=True)), arb(0))
        params.append(rounded.reshape(shape))
    return tuple(params), above(error.sqrt())


def _sign(w: list[arb]) -> int:
    largest = max((float(x.mid()) for x in w), key=lambda x: abs(x) * (1 + 1e-9 * (x > 0)))
    return 1 if largest > 0 else -1


def _index(box: Box, mu: arb) -> int | None:
    """The number of negative eigenvalues of the Hessian across the orbit; None if undecided."""
    rows = box.derivative.tolist()
    last = len(rows) - 1
    for i in range(last):
        rows[last][i] = rows[i][last]
    rows[last][last] = -rows[last][last] / mu
    matrix = arb_mat(rows)
    middle = as_floats(matrix)
    eigenvalues, axes = np.linalg.eigh((middle + middle.T) / 2)
    if not np.all(eigenvalues != 0):
        return None
    return signature(matrix, axes / np.sqrt(np.abs(eigenvalues)))


def _jacobian_rank(problem: SquareProblem, params: tuple[np.ndarray, ...]) -> int:
    """Rank of dv/dw, in units of each layer's norm: layers with one tap add the direction of v, which the others do."""
    kept = [np.ravel(params[layer]) for layer in problem.layers]
    kept = [w / np.linalg.norm(w) for w in kept]
    columns = []
    for free in range(len(kept)):
        for a in range(kept[free].size):
            factors = [np.eye(kept[free].size)[a] if m == free else w for m, w in enumerate(kept)]
            x = np.ones(1)
            for w in factors:
                x = np.kron(x, w)
            columns.append(np.bincount(problem.sums.taps, x, problem.sums.width))
    if not columns:
        return 1
    values = np.linalg.svd(np.stack(columns), compute_uv=False)
    return int(np.sum(values > _FLAT * values[0]))


def _root_pattern(arch: Architecture, params: tuple[np.ndarray, ...]) -> RootPattern | None:
    """Pairs of layers whose polynomials have common roots, by the kernels of their Sylvester matrices."""
    if arch.dimension != 1:
        return None
    strides, found = [stride[0] for stride in arch.cumulative_strides], []
    for i, j in itertools.combinations(range(arch.depth), 2):
        spacing = strides[j] // strides[i]
        p, q = params[i], np.zeros((params[j].size - 1) * spacing + 1)
        q[::spacing] = params[j]
        size = p.size + q.size - 2
        if p.size < 2 or q.size < 2:
            continue
        matrix = np.zeros((size, size))
        for r in range(q.size - 1):
            matrix[r, r : r + p.size] = p / np.linalg.norm(p)
        for r in range(p.size - 1):
            matrix[q.size - 1 + r, r : r + q.size] = q / np.linalg.norm(q)
        values = np.linalg.svd(matrix, compute_uv=False)
        if count := int(np.sum(values <= _FLAT * values[0])):
            found.append((i + 1, j + 1, count))
    return tuple(found)
