"""One flow judged: whether what the library said of it is true."""

import time
from functools import cached_property
from typing import NamedTuple

import numpy as np

import lcnn_flow as lf

from .cases import Condition
from .exact import CriticalPoint, critical_point
from .families import Family
from .reference_flow import ReferenceFlow, nearest_approach, parameter_gap, reference_flow, relative_gap
from .stored import end_of_flow

__all__ = ["Case", "Judgement", "Tolerances"]


class Tolerances(NamedTuple):
    """How close is right."""

    critical: float
    """Distance of a limit from a critical point, in units of each layer."""
    saddle: float
    """The same for AT_SADDLE, whose limits need not be polished."""
    filter: float
    """Distance of end-to-end filters, relative to their size or the size that fits."""
    manifold: float
    """The same along a manifold of minima, where the error of the integration stays."""

    @classmethod
    def of(cls, family: Family) -> "Tolerances":
        single = family.dtype == "float32"
        return cls(1e-2, 3e-2, 1e-2, 0.1) if single else cls(1e-6, 1e-3, 1e-5, 2e-2)


class Judgement(NamedTuple):
    """What was found."""

    outcome: str
    """"converged", "saddle", "diverged", "withheld" or "FALSE"."""
    unsure: bool
    """The reference does not know the limit: only the exact tests at the limit were applied."""
    regular: bool
    """Withheld, though the limit is an isolated minimum that the reference found."""
    reason: str
    """Why it is false; or the verdict that withholds."""
    detail: str


class Case:
    """One start of one condition; the reference runs once, where it is needed, for all engines."""

    def __init__(self, family: Family, condition: Condition, start: int) -> None:
        self.family, self.problem = family, condition.problem
        self.start = condition.starts[start]
        self.tolerances = Tolerances.of(family)
        self.single_channel = family.channels is None
        self.reference_seconds = 0.0
        self._points: list[tuple[np.ndarray, CriticalPoint]] = []

    @cached_property
    def reference(self) -> ReferenceFlow:
        """The first run."""
        return self._timed(1e-11, "LSODA")

    @cached_property
    def again(self) -> ReferenceFlow:
        """A second run, by another method at another tolerance, before the library is called wrong."""
        return self._timed(1e-12, "Radau")

    @cached_property
    def path(self) -> np.ndarray:
        """States along the first run, (T, n)."""
        return self.reference.path if len(self.reference.path) else reference_flow(self.problem, self.start).path

    def _timed(self, rtol: float, method: str) -> ReferenceFlow:
        begun = time.perf_counter()
        found = end_of_flow(self.problem, self.start, rtol, method)
        self.reference_seconds += time.perf_counter() - begun
        return found

    def judge(self, verdict: int, limit: np.ndarray, isolated: bool) -> Judgement:
        """The library's verdict, its limit, and whether it calls it isolated."""
        if verdict == lf.Verdict.CONVERGED:
            return self._converged(limit, isolated)
        if verdict == lf.Verdict.AT_SADDLE:
            return self._at_saddle(limit)
        if verdict == lf.Verdict.DIVERGED:
            return self._diverged()
        regular = self.single_channel and self.reference.isolated
        return Judgement("withheld", not regular and self.reference.status == "unsure", regular, _name(verdict), "")

    def _point(self, limit: np.ndarray) -> CriticalPoint:
        for other, point in self._points:
            if np.array_equal(other, limit):
                return point
        point = critical_point(self.problem, limit, self.start)
        self._points.append((limit, point))
        return point

    def _converged(self, limit: np.ndarray, isolated: bool) -> Judgement:
        if not np.all(np.isfinite(limit)):
            return _false("CONVERGED to a limit that is not finite", "")
        point, within = self._point(limit), self.tolerances
        hard = self.family.p is not None and self.family.p < 2  # rho'' is infinite where residuals vanish
        if not self.single_channel:
            if point.status == "none" or point.distance > within.critical:
                return _false("CONVERGED at no critical point", str(point.distance))
            return Judgement("converged", True, False, "", "")
        if isolated and point.status == "found" and point.index == 0 < point.nullity:
            return _false("CONVERGED to an isolated limit that is none", f"distance {point.distance:.1e}")
        known = self.reference
        gap = apart = relative_gap(self.problem, limit, known.vector)
        if known.status == "minimum":  # equal end-to-end filters may still be different factorisations
            apart = parameter_gap(self.problem, limit, known.vector)
            gap = max(gap, apart) if known.isolated else gap
        agrees = known.status == "minimum" and max(gap, apart) <= within.filter
        # On a manifold the exact search may run away along directions whose curvature is rounding.
        ended = known.status == "minimum" or (known.status == "degenerate" and self._as_integrated(limit))
        rests = ended and not known.isolated and self._rests(limit)
        if not (agrees or hard or rests) and (point.status == "none" or point.distance > within.critical):
            beside = "beside a critical point" if point.distance < 1e-3 else "at no critical point"
            return _false(f"CONVERGED {beside}", f"distance {point.distance:.1e}, reference {known.status}")
        if point.status == "found" and point.index > 0 and point.distance <= within.critical:
            seen = f"lowest eigenvalue {point.most_negative:.0e} of the largest"
            return _false("CONVERGED at a saddle", seen)
        if known.status in ("unsure", "degenerate") or agrees:
            return Judgement("converged", not agrees, False, "", "")
        if known.status == "minimum" and not known.isolated:
            outputs = [self.problem.predictions(self.problem.filter(w)) for w in (limit, known.vector)]
            seen = np.linalg.norm(outputs[0] - outputs[1]) / (np.linalg.norm(self.problem.targets) or 1)
            if seen <= within.filter and gap <= within.manifold:
                return Judgement("converged", False, False, "", "")
        if not self._confirmed():
            return Judgement("converged", True, False, "", "")
        kind = "at another minimum" if known.status == "minimum" else "though the flow ends at a saddle"
        kind = kind if known.isolated or known.status == "saddle" else "elsewhere on a manifold of minima"
        return _false(f"CONVERGED {kind}", f"filters differ by {gap:.1e}")

    def _rests(self, limit: np.ndarray) -> bool:
        """The gradient is rounding of its terms, layer by layer."""
        gradient, terms = self.problem.gradient(limit), self.problem.uncancelled(limit)
        sizes = [np.linalg.norm(gradient[where]) for where in self.problem.shape.layers]
        return bool(np.all(np.array(sizes) <= 256 * np.finfo(self.family.dtype).eps * terms))

    def _as_integrated(self, limit: np.ndarray) -> bool:
        """The reference ends there too, as well as integration can tell places on a manifold apart."""
        gap = np.linalg.norm(limit - self.reference.vector)
        return bool(gap <= self.tolerances.filter * np.linalg.norm(self.start))

    def _at_saddle(self, limit: np.ndarray) -> Judgement:
        point, within = self._point(limit), self.tolerances
        if point.status == "none" or point.distance > within.saddle:
            return _false("AT_SADDLE at no critical point", f"distance {point.distance:.1e}")
        if point.status == "found" and point.index <= 0:
            return _false("AT_SADDLE without negative curvature", f"nullity {point.nullity}")
        if not self.single_channel:
            return Judgement("saddle", True, False, "", "")
        known = self.reference
        if known.status in ("unsure", "saddle") or point.status != "found":
            return Judgement("saddle", known.status != "saddle", False, "", "")
        approach = nearest_approach(self.problem, self.path, point.vector)
        stays = relative_gap(self.problem, known.vector, point.vector) <= within.filter
        if stays or approach <= 1e-7 or not self._confirmed():
            return Judgement("saddle", True, False, "", "")
        return _false("AT_SADDLE though the flow leaves", f"it comes as near as {approach:.1e}, then {known.status}")

    def _diverged(self) -> Judgement:
        if not self.single_channel:
            return Judgement("diverged", True, False, "", "")
        rows, columns = self.problem.patches.shape
        ratio = self.problem.smallest_ratio
        if ratio > max(rows, columns) * np.finfo(self.family.dtype).eps:
            return _false("DIVERGED against the a-priori bound", f"sigma_min/sigma_max {ratio:.1e}")
        if self.reference.status == "minimum" and self._confirmed():
            return _false("DIVERGED though the flow converges", "")
        return Judgement("diverged", self.reference.status != "minimum", False, "", "")

    def _confirmed(self) -> bool:
        """Both runs of the reference end alike."""
        ends = self.again.vector, self.reference.vector
        gap = parameter_gap(self.problem, *ends) if self.reference.isolated else relative_gap(self.problem, *ends)
        return gap <= self.tolerances.filter and self.again.status == self.reference.status


def _false(reason: str, detail: str) -> Judgement:
    return Judgement("FALSE", False, False, reason, detail)


def _name(verdict: int) -> str:
    """Codes that are new since this was written withhold too."""
    return lf.Verdict(verdict).name if verdict in list(lf.Verdict) else f"code {verdict}"
