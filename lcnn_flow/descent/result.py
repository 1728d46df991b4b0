"""The result of a descent: its trajectory, its end with a verdict, and its distance from the gradient flow."""

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from lcnn_flow.descent.comparison import distance_between, distance_to_flow
from lcnn_flow.descent.course import Course, DescentTrajectory
from lcnn_flow.descent.ending import Ending
from lcnn_flow.errors import DescentError
from lcnn_flow.flow.result import verdict_lines
from lcnn_flow.limits.verdict import Summary
from lcnn_flow.numerics.arrays import is_concrete
from lcnn_flow.numerics.pytrees import Pytree

__all__ = ["Descent", "as_descent"]

Arrays = Array | np.ndarray


class Descent(Pytree):
    """Result of `gradient_descent`; for an ensemble, and under vmap, every field has leading batch axes."""

    noun = "descent"

    verdict: Int[Arrays, "..."]
    """Code of `Verdict`, as for a flow; STEP_LIMIT if the gradient is above tolerance after all steps."""
    reason: Int[Arrays, "..."]
    """Code of `verdict.Reason`; `summary` prints it in words."""
    final: PyTree
    """Last iterate; if the run DIVERGED or is NOT_FINITE, the last recorded iterate that is finite and within the norm
    bound."""
    limit: PyTree
    """Critical point near `final`, on the leaf of `final`: exact to rounding if isolated; NaN unless CONVERGED,
    AT_SADDLE or DEGENERATE (then equal to `final`). Its derivative is that of `final`."""
    risk: Float[Arrays, "..."]
    """Risk of all samples at `final`."""
    gradient_norm: Float[Arrays, "..."]
    """|grad L| at `final`."""
    gradient_tolerance: Float[Arrays, "..."]
    """gradient_atol + gradient_rtol * scale at `final`."""
    time: Float[Arrays, "..."]
    """Time of `final`, see `time_unit`."""
    steps: Int[Arrays, "..."]
    """Number of steps up to `final`."""
    energy: Float[Arrays, "..."]
    """Risk at the start minus the risk at `final`."""
    invariant_drift: Float[Arrays, "..."]
    """Largest change, from the start to `final`, of a quantity that a flow conserves."""
    polish_distance: Float[Arrays, "..."]
    """|limit - final|; 0 without a limit."""
    hessian_index: Int[Arrays, "..."]
    """Number of negative Hessian eigenvalues across the symmetry directions, at the limit; -1 if unknown."""
    nullity: Int[Arrays, "..."]
    """Number of zero Hessian eigenvalues across the symmetry directions, at the limit; -1 if unknown."""
    smallest_curvature: Float[Arrays, "..."]
    """Smallest Hessian eigenvalue across the symmetry directions, at the limit; NaN if no tests were made."""
    limit_is_isolated: Bool[Arrays, "..."]
    """Whether the limit is an isolated critical point on its leaf; always false with channels."""
    trajectory: DescentTrajectory
    objective: Any
    """The minimised risk."""
    start: PyTree
    """Initial parameters."""
    time_unit: str = eqx.field(static=True)
    """ "learning_rate" where time is the sum of learning rates, "steps" where it counts steps."""

    def distance_to_flow(self, flow: Any = None, rtol: float | None = None) -> Float[Array, "... T"]:
        """|w_k - w(t_k)| at the recorded times t_k: Euclidean norm over all parameters, w is the gradient flow.

        For gradient descent the distance is of the order of the learning rate. Descent with momentum m moves 1/(1 - m)
        times as fast as its sum of learning rates, and steps of Adam do not scale with the gradient; for these
        optimisers the distance mainly shows the difference in speed.

        Args:
            flow: `gradient_flow(risk, params, times=run.trajectory.time)`; if None, the flow is integrated here.
            rtol: relative local error tolerance of this integration; 1e-9 in float64, 1e-5 in float32.

        Returns:
            (T,), for an ensemble with its axes in front; NaN after `valid_until`.

        Raises:
            DescentError: time counts steps and no flow is given, or the flow was recorded at other times.
        """
        if flow is not None:
            return distance_between(self.trajectory, flow.trajectory, self.objective)
        if self.time_unit == "steps":
            raise DescentError(
                "this descent counts steps, which are not times of a flow: give the learning rate by name, optax.sgd "
                "and {'learning_rate': 1e-3}, or pass a flow with times=run.trajectory.time"
            )
        return distance_to_flow(self.objective, self.start, self.trajectory, rtol)

    def __repr__(self) -> str:
        if not is_concrete(self.verdict):
            return f"Descent(verdict={self.verdict!r}, ...)"
        if np.ndim(self.verdict):
            return f"Descent of shape {np.shape(self.verdict)}\n{Summary(self)}"
        lines = verdict_lines("Descent", self)
        small = f"|gradient| {float(self.gradient_norm):.2g}, tolerance {float(self.gradient_tolerance):.2g}"
        unit = "" if self.time_unit == "steps" else f" (sum of learning rates {float(self.time):.4g})"
        lines.append(f"  risk     {float(self.risk):.6g} after {int(self.steps)} steps{unit}; {small}")
        lines.append(f"  lost     risk {float(self.energy):.4g}; conserved by a flow {float(self.invariant_drift):.2g}")
        lines.append(f"  recorded at {np.size(self.trajectory.step)} steps in .trajectory")
        return "\n".join(lines) + ")"


def as_descent(risk: Any, start: Any, course: Course, end: Ending, time_unit: str) -> Descent:
    """Descents in the user's tree; arrays are JAX or numpy arrays and may have leading axes."""
    space, trajectory = risk.space, course.trajectory

    def tree(vectors: Any) -> Any:
        ends = np.cumsum(space.layer_sizes).tolist()
        parts = zip([0, *ends[:-1]], ends, space.layer_shapes, strict=True)
        return space.tree(tuple(vectors[..., a:b].reshape(*vectors.shape[:-1], *shape) for a, b, shape in parts))

    return Descent(
        verdict=end.verdict,
        reason=end.reason,
        final=tree(course.vector),
        limit=tree(end.limit),
        risk=end.risk,
        gradient_norm=end.gradient_norm,
        gradient_tolerance=end.tolerance,
        time=course.time,
        steps=trajectory.valid_until,
        energy=end.energy,
        invariant_drift=end.drift,
        polish_distance=end.polish_distance,
        hessian_index=end.index,
        nullity=end.nullity,
        smallest_curvature=end.smallest,
        limit_is_isolated=end.isolated,
        trajectory=trajectory._replace(params=space.tree(trajectory.params)),
        objective=risk,
        start=start,
        time_unit=time_unit,
    )
