"""Whether what the library says of a flow is true."""

from functools import cached_property
from typing import NamedTuple

import numpy as np

import lcnn_flow as lf

from .reference import Point, critical_point
from .reference_flow import Ends, flow_ends
from .structure import Draw, Start, Structure

__all__ = ["Case", "Judgement"]

_ISOLATED = 1e-10
"""Distance of an isolated limit from the critical point, in units of its size."""
_CONDITIONED = 1e-14
"""The same for each unit of the condition number of the Hessian."""
_BESIDE = 1e-7
"""Distance of a limit from its manifold."""
_PLACE = 1e-4
"""Between limit and end of the reference flow, in units of the larger of start and limit."""
_SIDE = 1e-3
_TIGHT = 1e-11


class Judgement(NamedTuple):
    """What the library said, and what is true."""

    false: str
    """Why the statement is false; empty where it is not."""
    decided: bool
    regular: bool
    """The flow tends to a nondegenerate limit, a Morse-Bott manifold or a simple saddle."""
    unsure: bool
    """The reference does not know where the flow goes."""
    detail: str = ""


class Case:
    """One flow."""

    def __init__(self, structure: Structure, draw: Draw, start: Start, end: np.ndarray, rested: bool) -> None:
        self.structure, self.draw, self.start, self.end, self.rested = structure, draw, start, end, rested

    def judge(self, verdict: int, limit: np.ndarray, isolated: bool) -> Judgement:
        """The statement against the reference."""
        if verdict == lf.Verdict.CONVERGED:
            false, unsure, detail = self._converged(limit, isolated)
        elif verdict == lf.Verdict.AT_SADDLE:
            false, unsure, detail = self._at_saddle(limit)
        else:
            regular, false = self._regular(), ""
            if verdict == lf.Verdict.DIVERGED and regular and self._confirmed():
                false = "DIVERGED though it converges"
            return Judgement(false, False, regular, not self.rested, "")
        return Judgement(false, not false, not false, unsure, detail)

    def _converged(self, limit: np.ndarray, isolated: bool) -> tuple[str, bool, str]:
        if self.start.known == "none":
            return "CONVERGED though there is no limit", False, ""
        if self.start.known == "saddle":
            return "CONVERGED from the stable manifold of a saddle", False, ""
        point = self._point(limit)
        facts = f"index {point.index}, nullity {point.nullity}, distance {point.distance:.1e}"
        if not point.found:
            return "CONVERGED at no critical point of constant rank", False, ""
        if point.index > 0:
            return "CONVERGED at a saddle", False, facts
        if not point.on_manifold or self.start.known == "degenerate":
            return "CONVERGED at a degenerate point", False, facts
        if point.distance > (_BESIDE if point.nullity else max(_ISOLATED, _CONDITIONED * point.condition)):
            return "CONVERGED beside the critical point", False, facts
        if isolated and point.nullity > self.structure.most_conserved:
            return "isolated limit on a manifold", False, facts
        return self._elsewhere("CONVERGED", limit, facts)

    def _at_saddle(self, limit: np.ndarray) -> tuple[str, bool, str]:
        if self.start.known in ("none", "side", "degenerate", "limit"):
            return f"AT_SADDLE against what is known: {self.start.known}", False, ""
        point = self._point(limit)
        if not point.found:
            return "AT_SADDLE at no critical point of constant rank", False, ""
        if point.index <= 0:
            return "AT_SADDLE without negative curvature", False, f"nullity {point.nullity}"
        if self.start.known == "saddle":
            return "", False, ""
        return self._elsewhere("AT_SADDLE", limit, f"index {point.index}")

    def _elsewhere(self, name: str, limit: np.ndarray, facts: str) -> tuple[str, bool, str]:
        """Whether the flow goes where it is said to."""
        known, place = self.start.known, self.start.place
        size = self._size(limit, 1.0)
        if known == "side":
            return ("", False, "") if place @ limit > _SIDE * size else (f"{name} on the other side", False, facts)
        target = place if known == "limit" else self.end
        gap = float(np.linalg.norm(target - limit) / size)
        if gap <= _PLACE:
            return "", False, ""
        facts = f"{facts}, gap {gap:.1e}"
        if known == "limit":
            return f"{name} elsewhere than known", False, facts
        if not self.rested or not self._confirmed() or self._starts_critical():
            return "", True, facts
        return f"{name} elsewhere", False, facts

    def _starts_critical(self) -> bool:
        """What then moves the reference is rounding alone."""
        point = critical_point(self.structure, self.draw.data, self.start.vector, self._size(self.start.vector, 1.0))
        return point.found and point.distance <= 1e-14

    def _regular(self) -> bool:
        known = self.start.known
        if known in ("none", "degenerate"):
            return False
        if known in ("limit", "saddle", "side"):
            return True
        return self.rested and self._point(self.end).regular

    def _point(self, place: np.ndarray) -> Point:
        if not np.all(np.isfinite(place)):
            return Point(False)
        return critical_point(self.structure, self.draw.data, place, self._size(place, 1e-3))

    def _size(self, place: np.ndarray, part: float) -> float:
        size = max(float(np.linalg.norm(place)), part * float(np.linalg.norm(self.start.vector)))
        return size if size > 0 else 1.0

    @cached_property
    def again(self) -> Ends:
        """The flow with a hundredth of the tolerance."""
        data = {k: np.asarray(v)[None] for k, v in self.draw.data.items()}
        return flow_ends(self.structure, data, self.start.vector[None], _TIGHT, 4000)

    def _confirmed(self) -> bool:
        """Both runs of the reference end alike."""
        size = self._size(self.end, 1.0)
        return bool(self.again.rested[0] and np.linalg.norm(self.again.vectors[0] - self.end) <= 0.1 * _PLACE * size)
