"""The results of a flow: its limit and verdict, and its trajectory."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from lcnn_flow.limits.verdict import EXPLANATIONS, REASONS, WITH_LIMIT, Reason, Summary, Verdict
from lcnn_flow.numerics.arrays import is_concrete
from lcnn_flow.numerics.stored_programs import storable

__all__ = ["Flow", "Trajectory", "shown", "verdict_lines"]

_MOST_SHOWN = 16
"""Largest number of entries of a limit that are printed."""


@storable
class Trajectory(NamedTuple):
    """The flow at the requested times; entries after `valid_until` are NaN."""

    time: Float[Array, " T"]
    params: PyTree
    """Parameters in the tree in which they were given, each with a leading axis T; for networks a tuple of filters."""
    risk: Float[Array, " T"]
    gradient_norm: Float[Array, " T"]
    end_to_end_filter: Float[Array, "T ..."] | None
    """The end-to-end filter; None if the risk is not that of a linear network."""
    squared_norms: Float[Array, "T N"]
    """Squared norm |w_l|^2 of each layer."""
    balancedness: Float[Array, "T d"]
    """Conserved quantities: h_l, with channels the upper triangles of all Q_l as one vector; for a `Risk` the declared
    ones."""
    path_length: Float[Array, " T"]
    """Integral of |grad L|, in units of filters, by `quadrature` on the dense output."""
    energy: Float[Array, " T"]
    """risk(0) - risk(t), in units of risk."""
    energy_defect: Float[Array, " T"]
    """`energy` minus the integral of |grad L|^2 by `quadrature`: 0 for an exact flow, so it measures the error."""
    valid_until: Float[Array, ""]
    """Last time reached: the last of `time`, or the time at which the flow diverged, ran out of steps or failed."""
    record: dict[str, Array] | None = None
    """Observables of the user by name, (T, ...); None unless `record` was given."""


@storable
class Flow(NamedTuple):
    """Result of `gradient_flow`; under vmap every field has leading batch axes."""

    verdict: Int[Array, ""]
    """Code of `Verdict`."""
    reason: Int[Array, ""]
    """Code of `verdict.Reason`: the reason, if the verdict does not determine it; `summary` prints it in words."""
    final: PyTree
    """Last integrated state, in the tree of the initial parameters."""
    limit: PyTree
    """Critical point to which the flow tends; NaN unless CONVERGED, AT_SADDLE or DEGENERATE (then equal to `final`).
    Exact to rounding if isolated; on a manifold of minimisers as accurate as the integration, rtol 1e-6."""
    risk: Float[Array, ""]
    """Risk at `final`."""
    gradient_norm: Float[Array, ""]
    """|grad L| at `final`."""
    gradient_tolerance: Float[Array, ""]
    """gradient_atol + gradient_rtol * scale at `final`."""
    time: Float[Array, ""]
    """Time of `final`, in units of squared filter / risk."""
    steps: Int[Array, ""]
    """Number of attempted steps in all rounds of integration."""
    path_length: Float[Array, ""]
    """Integral of |grad L| up to `final`, by `quadrature` on the dense output: relative accuracy 1e-3 if `times` were
    given; otherwise the steps to the limit determine the accuracy."""
    energy: Float[Array, ""]
    """risk(0) minus the risk at `final`."""
    energy_defect: Float[Array, ""]
    """`energy` minus the integral of |grad L|^2 by `quadrature`: the error of the integration, in units of risk."""
    invariant_drift: Float[Array, ""]
    """Largest change of a conserved quantity from start to `final`, in units of a squared filter."""
    polish_distance: Float[Array, ""]
    """|limit - final|; 0 if Newton's method was not used."""
    hessian_index: Int[Array, ""]
    """Number of negative Hessian eigenvalues across the symmetry directions, at the limit; -1 if unknown."""
    nullity: Int[Array, ""]
    """Number of zero Hessian eigenvalues across the symmetry directions, at the limit; -1 if unknown."""
    smallest_curvature: Float[Array, ""]
    """Smallest Hessian eigenvalue across the symmetry directions, at the limit."""
    growth_rate: Float[Array, ""]
    """d log|w| / d log t at `final`."""
    limit_is_isolated: Bool[Array, ""]
    """Whether the limit is an isolated critical point on its invariant leaf; always false with channels."""
    sound: Bool[Array, ""]
    """Whether the derivative of `limit` exists: the flow CONVERGED to an isolated, polished limit."""
    trajectory: Trajectory | None
    """None unless `times` were given."""

    def __repr__(self) -> str:
        if not is_concrete(self.verdict):
            return f"Flow(verdict={self.verdict!r}, ...)"
        if np.ndim(self.verdict):
            return f"Flow of shape {np.shape(self.verdict)}\n{Summary(self)}"
        lines = verdict_lines("Flow", self, f", growth rate {float(self.growth_rate):.3g}")
        small = f"|gradient| {float(self.gradient_norm):.2g}, tolerance {float(self.gradient_tolerance):.2g}"
        lines.append(
            f"  risk     {float(self.risk):.6g} at time {float(self.time):.3g}, {int(self.steps)} steps; {small}"
        )
        lines.append(f"  path     length {float(self.path_length):.4g}, risk lost {float(self.energy):.4g}")
        if self.trajectory is not None:
            lines.append(f"  recorded at {np.size(self.trajectory.time)} times in .trajectory")
        return "\n".join(lines) + ")"


def verdict_lines(name: str, run: Any, after_final: str = "") -> list[str]:
    """The first printed lines of a flow or descent: the verdict, and the limit or the final state."""
    verdict, reason = Verdict(int(run.verdict)), Reason(int(run.reason))
    lines = [f"{name}({verdict.name}: {EXPLANATIONS[verdict] if reason == Reason.NONE else REASONS[reason]}"]
    if verdict not in WITH_LIMIT:
        return [*lines, f"  final    {shown(run.final)}{after_final}"]
    where = "isolated" if run.limit_is_isolated else "not isolated"
    return [
        *lines,
        f"  limit    {shown(run.limit)} ({where})",
        f"           {int(run.hessian_index)} negative and {int(run.nullity)} zero curvatures, "
        f"smallest {float(run.smallest_curvature):.3g}",
    ]


def shown(params: PyTree) -> str:
    """Parameters with three digits, or their shapes if they are large."""
    arrays = [np.asarray(w) for w in jax.tree.leaves(params) if hasattr(w, "dtype")]
    if sum(w.size for w in arrays) > _MOST_SHOWN:
        return f"arrays of shapes {', '.join(str(w.shape) for w in arrays)}"
    return ", ".join(np.array2string(w, precision=3, suppress_small=False, separator=", ") for w in arrays)
