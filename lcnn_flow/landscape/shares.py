"""`basins`: which critical orbit each start flows to, and how large a share each orbit gets.

The share p of an orbit that k of n starts reach has the interval of E. B. Wilson (J. Amer. Statist. Assoc. 22, 1927),

    (p + z^2/2n -+ z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n),   p = k/n,  z = 1.96,

which holds the true share of this distribution of starts in 95% of repetitions.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lcnn_flow.ensemble.many import gradient_flow_ensemble
from lcnn_flow.errors import RiskError
from lcnn_flow.landscape.computing import digest_of
from lcnn_flow.landscape.problem import check_countable, square_problem
from lcnn_flow.landscape.result import Census
from lcnn_flow.limits.verdict import Verdict
from lcnn_flow.risk.base import check_single
from lcnn_flow.risk.linear import LinearRisk

__all__ = ["Basins", "Share", "basins", "check_belongs", "wilson_interval"]

_Z = 1.959963984540054


@dataclass(frozen=True)
class Share:
    """k of n starts, with the Wilson interval of the share."""

    count: int
    total: int

    @property
    def value(self) -> float:
        """k/n."""
        return self.count / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval."""
        return wilson_interval(self.count, self.total)

    def __repr__(self) -> str:
        low, high = self.interval
        return f"{self.count} of {self.total}: {self.value:.3f} ({low:.3f} to {high:.3f})"


@dataclass(frozen=True, eq=False)
class Basins:
    """Result of `basins`; prints as a table."""

    census: Census
    labels: np.ndarray
    """(S,) the orbit that each flow converges to, -1 for none."""
    verdicts: np.ndarray
    """(S,) of the flows."""

    @property
    def shares(self) -> tuple[Share, ...]:
        """One per orbit of the census."""
        counts = np.bincount(self.labels[self.labels >= 0], minlength=len(self.census.orbits))
        return tuple(Share(int(count), len(self.labels)) for count in counts)

    @property
    def spurious(self) -> Share | None:
        """The share of starts that end in certified spurious minima; None unless the census is certified complete."""
        chosen = self.census.spurious_minima
        return None if chosen is None else Share(int(np.isin(self.labels, chosen).sum()), len(self.labels))

    @property
    def unmatched(self) -> int:
        """Starts whose flow has no limit in the census: not yet converged, degenerate, or at v = 0."""
        return int(np.sum(self.labels < 0))

    def __repr__(self) -> str:
        lines = [f"{len(self.labels)} starts, {self.unmatched} of them without a limit in the census"]
        if self.spurious is not None:
            lines.append(f"in certified spurious minima {self.spurious}")
        for number, (orbit, share) in enumerate(zip(self.census.orbits, self.shares, strict=True)):
            if share.count or orbit.hessian_index == 0:
                lines.append(f"  orbit {number}, index {orbit.hessian_index}, risk {orbit.risk:.8g}  {share}")
        return "\n".join(lines)


def basins(risk: Any, census: Census, params: Any, **options: Any) -> Basins:
    """Flows from many starts, each sorted to the critical orbit of the census at which it ends; host side.

    Args:
        risk: the risk of the census.
        census: of this risk.
        params: initial filters with a leading axis S.
        **options: as of `gradient_flow_ensemble`.

    Returns:
        `Basins`: the orbit and the verdict of every flow, and the share of each orbit with its 95% interval.

    Raises:
        RiskError: a census of another risk.
        FlowError: as `gradient_flow_ensemble`.
    """
    risk = check_belongs("basins", risk, census)
    flows = gradient_flow_ensemble(risk, params, **options)
    verdicts = np.asarray(flows.verdict)
    reached = np.isin(verdicts, (Verdict.CONVERGED, Verdict.AT_SADDLE))
    labels = np.full(len(verdicts), -1)
    if reached.any():
        labels[reached] = census.labels([np.asarray(w)[reached] for w in flows.limit])
    return Basins(census, labels, verdicts)


def check_belongs(function: str, risk: Any, census: Any) -> LinearRisk:
    """Returns the risk if the census is one of exactly these data; otherwise raises RiskError."""
    if not isinstance(census, Census):
        raise RiskError(f"{function}: the second argument is the census: write census = lf.census(risk) before")
    risk = check_countable(function, risk)
    check_single(function, risk, f"{function}(risk.condition(i), censuses[i], ...) for each i")
    census.check_digest(function, digest_of(square_problem(function, risk, census.expected_count)))
    return risk


def wilson_interval(count: int | float, total: int | float) -> tuple[float, float]:
    """95% interval of the share `count` of `total`; both may be fractional, as effective numbers of starts are."""
    p, n = count / total, total
    middle, half = p + _Z**2 / (2 * n), _Z * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    low, high = ((middle + sign * half) / (1 + _Z**2 / n) for sign in (-1, 1))
    return (0.0 if count == 0 else low), (1.0 if count == total else high)
