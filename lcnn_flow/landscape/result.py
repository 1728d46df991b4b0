"""`Census`: all critical orbits of one risk, what is proved about them, and questions that only all of them answer."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lcnn_flow.errors import RiskError
from lcnn_flow.landscape.orbit import Orbit
from lcnn_flow.limits.verdict import html_table
from lcnn_flow.network.architecture import Architecture

__all__ = ["COMPLETE", "INCOMPLETE", "NUMERICAL", "Census"]

COMPLETE, NUMERICAL, INCOMPLETE = "certified_complete", "numerically_complete", "incomplete"
_SAME = 1e-6
"""Distance of unit filters, and relative distance of end-to-end filters, up to which points are in one orbit."""
_HEAD = ("orbit", "kind", "index", "risk", "rank dv/dw", "common roots")


@dataclass(frozen=True, eq=False)
class Census:
    """Result of `census`; prints as a table."""

    arch: Architecture
    status: str
    """"certified_complete": it is proved that there is no other critical orbit with v != 0. "numerically_complete": as
    many were found as there should be, without a proof. "incomplete": found k of N."""
    reason: str
    """Why it is complete, or why not."""
    expected_count: int
    """N(k) of `critical_count`."""
    complex_found: int
    """Solutions, real or not, that are proved to exist and to differ."""
    finite: int
    """Those of finite size: complex critical orbits."""
    at_infinity: int
    """Those whose mu may vanish: solutions at infinity."""
    singular_endpoints: int
    """Paths that ended at no regular solution."""
    orbits: tuple[Orbit, ...]
    """The real ones, the lowest risk first."""
    expected_index_sum: int | None
    """What the sum over all orbits of (-1)^index must be for data in general position; None where not known."""
    lowest: tuple[int, ...]
    """Minima whose risk is not shown to be above that of another orbit."""
    risk_at_zero: float
    """The risk at v = 0, above that of every orbit: each of them minimises the risk along its own ray."""
    digest: str = field(repr=False)
    """Of the exact data: a census of other data has another one."""

    @property
    def index_sum(self) -> int:
        """Sum over the orbits of (-1)^index."""
        return sum((-1) ** orbit.hessian_index for orbit in self.orbits if orbit.hessian_index >= 0)

    @property
    def minima(self) -> tuple[int, ...]:
        """Numbers of the orbits of index 0."""
        return tuple(i for i, orbit in enumerate(self.orbits) if orbit.hessian_index == 0)

    @property
    def global_minima(self) -> tuple[int, ...] | None:
        """Numbers of the orbits that are global minima; None unless certified complete.

        Several if their risks are equal, as those of exchanged filters, or differ by less than the proofs resolve.
        """
        return self.lowest if self.status == COMPLETE else None

    @property
    def spurious_minima(self) -> tuple[int, ...] | None:
        """Numbers of the local minima certified to lie above the global one; None unless certified complete."""
        if self.status != COMPLETE:
            return None
        return tuple(i for i in self.minima if i not in self.lowest)

    @property
    def zero_filter(self) -> str:
        """A description of the critical points with v = 0, which are not counted."""
        depth = self.arch.depth
        if depth == 1:
            return "v = 0 is no critical point"
        if depth == 2:
            return "every critical point with v = 0 is a strict saddle"
        return "v = 0 at w = 0, degenerate with Hessian 0, and perhaps where one or two filters vanish"

    def match(self, params: Any) -> int | None:
        """Number of the orbit to which these filters belong; None if they belong to none.

        Unit filters up to sign, and end-to-end filters relative to their norm, have to agree to 1e-6.

        Raises:
            ArchitectureError: shapes of params do not fit.
        """
        self.arch.check_params(tuple(params))
        label = self.labels([np.asarray(w, float)[None] for w in params])[0]
        return None if label < 0 else int(label)

    def labels(self, params: Any) -> np.ndarray:
        """`match` of a batch: params with a leading axis S; (S,) numbers of orbits, -1 for none."""
        filters = [np.asarray(w, float).reshape(len(w), -1) for w in params]
        best, label = np.full(len(filters[0]), _SAME), np.full(len(filters[0]), -1)
        lengths = [np.linalg.norm(w, axis=1) for w in filters]
        product = np.prod(lengths, axis=0)
        units = [w / np.where(length > 0, length, 1)[:, None] for w, length in zip(filters, lengths, strict=True)]
        for number, orbit in enumerate(self.orbits):
            apart, turned = np.zeros(len(best)), np.ones(len(best))
            for w, own in zip(units, orbit.params, strict=True):
                other = own.ravel() / np.linalg.norm(own)
                sign = np.where(w @ other < 0, -1.0, 1.0)
                turned *= sign
                apart = np.maximum(apart, np.linalg.norm(w * sign[:, None] - other, axis=1))
            size = np.prod([np.linalg.norm(own) for own in orbit.params])
            apart = np.maximum(apart, np.abs(turned * product - size) / size)
            nearer = apart < best
            best, label = np.where(nearer, apart, best), np.where(nearer, number, label)
        return label

    def check_digest(self, function: str, digest: str) -> None:
        """Raises RiskError if this census is not of the risk with this digest."""
        if digest != self.digest:
            raise RiskError(f"{function}: the census is that of another risk: write lf.census(risk) for this one")

    def _rows(self) -> list[tuple[str, ...]]:
        rows = []
        for number, orbit in enumerate(self.orbits):
            kind = orbit.kind.replace("_", " ")
            if self.status == COMPLETE and orbit.hessian_index == 0:
                kind = f"{'global' if number in self.lowest else 'spurious'} minimum"
            roots = "" if not orbit.root_pattern else ", ".join(f"{a}-{b}: {c}" for a, b, c in orbit.root_pattern)
            index = "?" if orbit.hessian_index < 0 else str(orbit.hessian_index)
            rows.append((str(number), kind, index, f"{orbit.risk:.8g}", str(orbit.jacobian_rank), roots))
        return rows

    def _words(self) -> list[str]:
        kinds = Counter(orbit.hessian_index for orbit in self.orbits)
        indices = ", ".join(f"{kinds[i]} of index {i}" for i in sorted(kinds) if i >= 0)
        checked = "not known" if self.expected_index_sum is None else str(self.expected_index_sum)
        return [
            f"{self.status}: {self.reason}",
            f"{len(self.orbits)} real orbits ({indices or 'none'}), {self.finite} complex ones, "
            f"{self.at_infinity} solutions at infinity, {self.expected_count} expected",
            f"sum of (-1)^index {self.index_sum}, expected {checked}; risk at v = 0: {self.risk_at_zero:.8g}",
        ]

    def __repr__(self) -> str:
        table = [_HEAD, *self._rows()]
        widths = [max(len(row[i]) for row in table) for i in range(len(_HEAD))]
        lines = ["  ".join(x.rjust(w) for x, w in zip(row, widths, strict=True)).rstrip() for row in table]
        return "\n".join([*self._words(), *lines])

    def _repr_html_(self) -> str:
        words = "".join(f"<p>{line}</p>" for line in self._words())
        return words + html_table(_HEAD, self._rows())
