"""Whether what the library says of the end of a flow or a descent of a network is true."""

from typing import NamedTuple

import numpy as np
from flint import arb, ctx

import lcnn_flow as lf
from lcnn_flow.limits.verdict import Reason

from ..judge import Case, Judgement
from ..reference import Point, critical_point, in_balls
from ..reference_flow import flow_ends
from ..structure import Draw
from .cases import Condition
from .families import Family, net_of, objective_of, structure_of

__all__ = ["DescentCase", "FlowCase", "Said"]

_GROWTH = 1e-3
"""Relative growth of |w|, over a hundredfold of the time or of 1/L, that counts as going on."""
_EQUAL = 1e-4
_REACHED = 1e-3
"""Distance between the end of a descent and its limit, in units of the limit."""
_FOLLOWED = 1e-3
"""Distance between the ends of a descent of the library and of the same descent here."""
_BITS = 200
_ROUNDING = 1e-14


class Said(NamedTuple):
    """What the library said of one flow or descent."""

    verdict: int
    reason: int
    final: np.ndarray
    limit: np.ndarray
    isolated: bool
    index: int
    time: float


class _NetworkCase(Case):
    """What flows and descents share: facts about points."""

    def __init__(self, family: Family, condition: Condition, start: int, end: np.ndarray, rested: bool) -> None:
        draw = Draw(condition.data, (), condition.kind)
        super().__init__(structure_of(family), draw, condition.starts[start], end, rested)
        self.family = family

    def _point(self, place: np.ndarray) -> Point:
        """As for any function. Targets of interpolated data are outputs of a network, rounded: where these have no
        critical point, those that a network equal to `place` up to rounding fits exactly, if they differ by rounding.
        """
        found = super()._point(place)
        if found.found or self.draw.kind != "interpolated" or not np.all(np.isfinite(place)):
            return found
        size = self._size(place, 1e-3)
        near = np.where(np.abs(place) <= _ROUNDING * size, 0.0, place)
        bits, ctx.prec = ctx.prec, 2 * _BITS
        try:
            rows = {k: in_balls(np.asarray(v)[None]) for k, v in self.draw.data.items()}
            outputs = objective_of(self.family).outputs(in_balls(near[None]), rows)[0]
        finally:
            ctx.prec = bits
        targets = self.draw.data["targets"]
        if np.max(np.abs(outputs.astype(float) - targets)) > _ROUNDING * np.max(np.abs(targets)):
            return found
        return critical_point(self.structure, self.draw.data | {"targets": outputs}, near, size)

    def index_is_false(self, said: Said) -> str:
        """The claimed index against that in 120 digits, at a limit that is a critical point."""
        point = self._point(said.limit)
        if point.found and point.index != said.index:
            return f"index {said.index} instead of {point.index}"
        return ""

    def risk_is_above(self, vector: np.ndarray) -> bool:
        """Whether L(vector) is at least the risk that a single term at margin 0 contributes."""
        bits, ctx.prec = ctx.prec, _BITS
        try:
            rows = {k: in_balls(np.asarray(v)[None]) for k, v in self.draw.data.items()}
            value = objective_of(self.family).value(in_balls(vector[None]), rows)[0]
            at_zero = arb(2).log() if self.family.loss == "logistic" else arb(1)
            return not value * self.family.samples < at_zero
        finally:
            ctx.prec = bits

    def diverges_falsely(self, said: Said) -> str:
        """Why DIVERGED is false; empty if it is not."""
        if self.family.bounded:
            return "DIVERGED though weight decay bounds it"
        if not np.all(np.isfinite(said.final)):
            return ""
        if said.reason == Reason.SEPARATES:
            return "DIVERGED as separated, which it is not" if self.risk_is_above(said.final) else ""
        return ""


class FlowCase(_NetworkCase):
    """One flow."""

    def judge_flow(self, said: Said) -> Judgement:
        """The statement against the reference."""
        if said.verdict == lf.Verdict.DIVERGED:
            false = self.diverges_falsely(said) or self._stops_growing(said)
            regular = self.rested and self._point(self.end).regular
            if not false and regular and self._confirmed() and said.reason != Reason.SEPARATES:
                false = "DIVERGED though it converges"
            return Judgement(false, not false, False, not self.rested and not false)
        if said.verdict in (lf.Verdict.CONVERGED, lf.Verdict.AT_SADDLE):
            false = self._leaves_symmetry(said) or self.index_is_false(said)
            if false:
                return Judgement(false, False, False, False)
        if self.start.known == "equal" and said.verdict not in (lf.Verdict.CONVERGED, lf.Verdict.AT_SADDLE):
            return Judgement("", False, False, True)  # rounding moves the reference away
        judgement = self.judge(said.verdict, said.limit, said.isolated)
        if self.start.known == "equal" and judgement.false.endswith("elsewhere"):
            return judgement._replace(false="", unsure=True, decided=True, regular=True)
        if said.verdict == lf.Verdict.DEGENERATE and self._point(said.limit).regular:
            return judgement._replace(detail="at a regular minimum")
        return judgement

    def _leaves_symmetry(self, said: Said) -> str:
        """A flow keeps equal channels equal."""
        if self.start.known != "equal":
            return ""
        channels = net_of(self.family).channels
        gaps = [np.max(np.abs(said.limit[a] - said.limit[b])) for a, b in zip(*channels[:2], strict=True)]
        size = self._size(said.limit, 1e-3)
        return "equal channels became different" if max(gaps) > _EQUAL * size else ""

    def _stops_growing(self, said: Said) -> str:
        """From where the library stops: the parameters must grow, for a hundred times as long and longer."""
        if not np.all(np.isfinite(said.final)):
            return ""
        data = {k: np.asarray(v)[None] for k, v in self.draw.data.items()}
        after = flow_ends(self.structure, data, said.final[None], 1e-8, 300)
        before, norm = np.linalg.norm(said.final), np.linalg.norm(after.vectors[0])
        resting = after.rested[0] and self._point(after.vectors[0]).found
        if norm > (1 + _GROWTH) * before or not resting:
            return ""
        return f"DIVERGED though |w| ends at {norm / before:.3g} of where it stopped"


class DescentCase(_NetworkCase):
    """One descent; `end` is that of the same descent here, `later` that after as many steps again."""

    def judge_descent(self, said: Said, later: np.ndarray, determined: bool) -> Judgement:
        """The statement against the same descent and the critical point in 120 digits."""
        none = Judgement("", False, False, not determined)
        if self.family.batch is not None:
            allowed = (lf.Verdict.UNDECIDED, lf.Verdict.DIVERGED, lf.Verdict.NOT_FINITE)
            false = "" if said.verdict in allowed else "a verdict on minibatches"
            false = false or (said.verdict == lf.Verdict.DIVERGED and self.diverges_falsely(said)) or ""
            return none._replace(false=false if not self.family.bounded else "", unsure=False)
        size = self._size(self.end, 1.0) if np.all(np.isfinite(self.end)) else np.inf
        agrees = not determined or not np.isfinite(size) or np.linalg.norm(self.end - said.final) <= _FOLLOWED * size
        if np.all(np.isfinite(said.final)) and not agrees and said.verdict != lf.Verdict.DIVERGED:
            return none._replace(false="another descent", detail=f"{np.linalg.norm(self.end - said.final) / size:.1e}")
        if said.verdict == lf.Verdict.DIVERGED:
            return self._diverged(said, later, determined)
        if said.verdict not in (lf.Verdict.CONVERGED, lf.Verdict.AT_SADDLE):
            at_rest = bool(np.isfinite(size)) and np.linalg.norm(later - self.end) <= 1e-12 * size
            return none._replace(regular=bool(at_rest) and self._point(self.end).regular)
        point = self._point(said.limit)
        facts = f"index {point.index}, nullity {point.nullity}, distance {point.distance:.1e}"
        apart = float(np.linalg.norm(said.final - said.limit) / self._size(said.limit, 1.0))
        if not point.found or point.distance > 1e-7:
            return none._replace(false="at no critical point", detail=facts)
        if apart > _REACHED:
            return none._replace(false="far from the last iterate", detail=f"{apart:.1e}")
        false = self.index_is_false(said)
        if said.verdict == lf.Verdict.CONVERGED and (point.index > 0 or not point.on_manifold):
            false = "CONVERGED at a saddle or a degenerate point"
        if said.isolated and point.nullity > self.structure.most_conserved:
            false = "isolated limit on a manifold"
        stays = not np.all(np.isfinite(later)) or np.linalg.norm(later - said.limit) <= _REACHED * size
        leaves = "" if stays or not determined else "leaves it later"
        return Judgement(false, not false, not false, False, ", ".join(filter(None, [facts if false else "", leaves])))

    def _diverged(self, said: Said, later: np.ndarray, determined: bool) -> Judgement:
        if said.reason == Reason.SEPARATES:
            false = "separated, which it is not" if self.family.bounded or self.risk_is_above(said.final) else ""
            norm, after = np.linalg.norm(self.end), np.linalg.norm(later)
            if not false and determined and np.isfinite(after) and self.family.optimiser == "sgd" and after < norm:
                false = "DIVERGED though |w| shrinks"
            return Judgement(false, not false, not false, False)
        rest = np.all(np.isfinite(self.end)) and np.all(np.isfinite(later))
        quiet = rest and np.linalg.norm(later) <= 1e3 * (1 + np.linalg.norm(self.start.vector))
        false = "DIVERGED though the same descent stays bounded" if quiet and determined else ""
        return Judgement(false, not false, not false, False)
