"""What a flow ended as, and the host-side summary that explains it."""

from collections import Counter
from enum import IntEnum
from typing import Any

import numpy as np

__all__ = ["EXPLANATIONS", "WITH_LIMIT", "Verdict", "summary"]


class Verdict(IntEnum):
    """How a flow ended. The codes are frozen: they are stored in files."""

    CONVERGED = 0
    AT_SADDLE = 1
    DEGENERATE = 2
    DIVERGED = 3
    TIME_LIMIT = 4
    STEP_LIMIT = 5
    NOT_FINITE = 6


WITH_LIMIT = (Verdict.CONVERGED, Verdict.AT_SADDLE, Verdict.DEGENERATE)
"""Verdicts of flows that have a limit."""

EXPLANATIONS = {
    Verdict.CONVERGED: "gradient below tolerance, and positive curvature across the symmetries, "
    "or a passed local Polyak-Lojasiewicz test",
    Verdict.AT_SADDLE: "gradient below a thousandth of the tolerance, and negative curvature",
    Verdict.DEGENERATE: "gradient below a thousandth of the tolerance, but neither test of convergence "
    "passes (power-law tail)",
    Verdict.DIVERGED: "the filters left the norm bound, or grow like a power of time",
    Verdict.TIME_LIMIT: "max_time reached with the gradient above tolerance: raise max_time",
    Verdict.STEP_LIMIT: "max_steps reached with the gradient above tolerance: raise max_steps or loosen rtol",
    Verdict.NOT_FINITE: "risk or gradient not finite, or no step of any size possible",
}


class Summary:
    """Counts of verdicts of one flow or a batch of flows; prints as a table."""

    def __init__(self, verdicts: Any, steps: Any, isolated: Any) -> None:
        codes = np.asarray(verdicts).ravel()
        self.total = int(codes.size)
        self.counts = {verdict: n for verdict in Verdict if (n := Counter(codes.tolist())[int(verdict)])}
        self.steps = int(np.sum(np.asarray(steps)))
        converged = codes == Verdict.CONVERGED
        self.not_isolated = int(np.sum(converged & ~np.asarray(isolated).ravel()))

    def __repr__(self) -> str:
        lines = [f"{self.total} flow{'s' * (self.total != 1)}, {self.steps} steps"]
        for verdict, count in self.counts.items():
            lines.append(f"  {count:6d}  {verdict.name:11s} {EXPLANATIONS[verdict]}")
        if self.not_isolated:
            lines.append(f"  {self.not_isolated:6d}  of the converged have a limit that is not isolated")
        return "\n".join(lines)


def summary(flow: Any) -> Summary:
    """Counts and explains the verdicts of a flow, or of a batch of flows; host side."""
    return Summary(flow.verdict, flow.steps, flow.limit_is_isolated)
