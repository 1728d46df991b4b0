"""Verdicts on flows, their explanations in words, and tables that count them."""

import html
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any

import numpy as np

__all__ = ["EXPLANATIONS", "REASONS", "WITH_LIMIT", "Reason", "Summary", "Verdict", "html_table"]


class Verdict(IntEnum):
    """How a flow ended. The codes are frozen: they are stored in files."""

    CONVERGED = 0
    AT_SADDLE = 1
    DEGENERATE = 2
    DIVERGED = 3
    TIME_LIMIT = 4
    STEP_LIMIT = 5
    NOT_FINITE = 6
    UNDECIDED = 7


WITH_LIMIT = (Verdict.CONVERGED, Verdict.AT_SADDLE, Verdict.DEGENERATE)
"""Verdicts of flows that have a limit."""

EXPLANATIONS = {
    Verdict.CONVERGED: "gradient at its rounding in every direction, and positive curvature across the symmetries, "
    "or a passed local Polyak-Lojasiewicz test",
    Verdict.AT_SADDLE: "gradient at its rounding in every direction, negative curvature, and no sign of leaving",
    Verdict.DEGENERATE: "gradient below a thousandth of the tolerance, but neither test of convergence "
    "passes (power-law tail)",
    Verdict.DIVERGED: "the filters left the norm bound, grow like a power of time, or separate the data",
    Verdict.TIME_LIMIT: "max_time reached before the tests of the end could be made: raise max_time",
    Verdict.STEP_LIMIT: "max_steps reached with the gradient above tolerance: raise max_steps or loosen rtol",
    Verdict.NOT_FINITE: "risk or gradient not finite, or no step of any size possible",
    Verdict.UNDECIDED: "gradient below tolerance, but a test could not decide what the end is, or a kink in the way",
}


class Reason(IntEnum):
    """The reason of a verdict, if the verdict does not determine it. The codes are frozen: they are stored in files."""

    NONE = 0
    START_NOT_FINITE = 1
    NO_STEP = 2
    BEYOND_NORM_BOUND = 3
    GROWS_LIKE_A_POWER = 4
    OUT_OF_STEPS_BELOW_TOLERANCE = 5
    LIMIT_NOT_RESOLVED = 6
    MAY_LEAVE_THE_SADDLE = 7
    PASSED_A_SADDLE = 8
    BEYOND_A_PRIORI_BOUND = 9
    SYMMETRY_NOT_KEPT = 10
    MINIBATCHES = 11
    STEPS_USED_UP = 12
    STILL_MOVING = 13
    UPDATE_NOT_FINITE = 14
    NEAR_A_KINK = 15
    SEPARATES = 16
    GROWS_SLOWLY = 17
    SLIDES_ALONG_A_KINK = 18
    STILL_GROWS = 19
    SATURATED = 20


REASONS = {
    Reason.START_NOT_FINITE: "the initial filters, or the risk or gradient there, are not finite: look for NaN in the "
    "filters and for numbers whose squares overflow",
    Reason.NO_STEP: "no step of any size was accepted: risk or gradient overflow nearby, or rtol is too small",
    Reason.BEYOND_NORM_BOUND: "the filters left the norm bound",
    Reason.GROWS_LIKE_A_POWER: "the filters grow like a power of time, with a steady exponent, and no bound is known",
    Reason.OUT_OF_STEPS_BELOW_TOLERANCE: "gradient below tolerance, but max_steps were used up before the tests of the "
    "end could decide more: raise max_steps",
    Reason.LIMIT_NOT_RESOLVED: "gradient below tolerance, but Newton's method converges to no critical point "
    "nearby: the data are too ill-conditioned for the precision, or the flow is still on its way",
    Reason.MAY_LEAVE_THE_SADDLE: "near a saddle, with a gradient along its unstable directions that is above rounding",
    Reason.PASSED_A_SADDLE: "the flow passed so close to a saddle that the tightest integration cannot decide on "
    "which side: lower rtol",
    Reason.BEYOND_A_PRIORI_BOUND: "the filters are larger than the data allow, so the integration is wrong: lower rtol",
    Reason.SYMMETRY_NOT_KEPT: "the declared symmetry is not one of this function: correct lf.symmetry.Declared, or "
    "leave it out",
    Reason.NEAR_A_KINK: "a hidden neuron switches on or off within rounding of the limit, where the Hessian does not "
    "exist",
    Reason.SEPARATES: "all margins are positive and the risk is below that of any critical point, so the parameters "
    "grow without bound, slower than any power of time: see lf.theory.margin, or add weight_decay",
    Reason.GROWS_SLOWLY: "gradient below tolerance, but the parameters still grow, slower than any power of time: part "
    "of the data can be separated, and weight_decay would give the risk a minimum",
    Reason.SLIDES_ALONG_A_KINK: "the flow slides along a kink, where a hidden neuron switches and the gradient jumps: "
    "methods for smooth equations do not advance there; a smooth activation does, such as softplus(b x)/b",
    Reason.STILL_GROWS: "max_steps reached while the parameters still grow: if outputs cancel better and better, there "
    "is no minimum, which weight_decay would give; otherwise raise max_steps",
    Reason.SATURATED: "a hidden neuron or the loss is saturated, so that some weights have no influence in this "
    "precision; in exact arithmetic they still move: begin with smaller parameters, or add weight_decay",
    Reason.MINIBATCHES: "the gradients were those of minibatches, whose noise allows no limit: continue from .final "
    "with batch_size=None",
    Reason.STEPS_USED_UP: "all steps were taken, with the gradient above tolerance: raise steps, or "
    "loosen gradient_rtol",
    Reason.STILL_MOVING: "gradient below tolerance, but the last update was not small: the optimiser only passes "
    "the point; raise steps",
    Reason.UPDATE_NOT_FINITE: "risk, gradient or update became NaN or infinite, within the norm bound",
}


class Summary:
    """Counts of verdicts of one flow or descent, or of a batch; prints as a table."""

    def __init__(self, flow: Any) -> None:
        codes, why = np.asarray(flow.verdict).ravel(), np.asarray(flow.reason).ravel()
        self.total = int(codes.size)
        self.noun = getattr(flow, "noun", "flow")
        counted = Counter(codes.tolist())
        self.counts = {verdict: counted[int(verdict)] for verdict in Verdict if counted[int(verdict)]}
        self.reasons = Counter((Verdict(v), Reason(r)) for v, r in zip(codes.tolist(), why.tolist(), strict=True))
        self.steps = int(np.sum(np.asarray(flow.steps)))
        converged = codes == Verdict.CONVERGED
        self.not_isolated = int(np.sum(converged & ~np.asarray(flow.limit_is_isolated).ravel()))

    def _repr_html_(self) -> str:
        rows = [
            (str(count), verdict.name, EXPLANATIONS[verdict] if reason == Reason.NONE else REASONS[reason])
            for (verdict, reason), count in sorted(self.reasons.items())
        ]
        return html_table((f"{self.noun}s", "verdict", "meaning"), rows)

    def __repr__(self) -> str:
        lines = [f"{self.total} {self.noun}{'s' * (self.total != 1)}, {self.steps} steps"]
        for (verdict, reason), count in sorted(self.reasons.items()):
            text = EXPLANATIONS[verdict] if reason == Reason.NONE else REASONS[reason]
            lines.append(f"  {count:6d}  {verdict.name:11s} {text}")
        if self.not_isolated:
            lines.append(f"  {self.not_isolated:6d}  of the converged have a limit that is not isolated")
        return "\n".join(lines)


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table for notebooks."""
    lines = [f"<tr>{''.join(f'<th>{html.escape(x)}</th>' for x in head)}</tr>"]
    lines += [f"<tr>{''.join(f'<td>{html.escape(x)}</td>' for x in row)}</tr>" for row in rows]
    return f"<table>{''.join(lines)}</table>"
