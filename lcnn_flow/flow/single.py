"""Gradient flow dw/dt = -grad L(w) of a risk, from initial parameters to its limit, with a verdict.

diffrax integrates the flow; then its end is tested. A small gradient alone is not convergence: a flow counts as
CONVERGED only if Newton's method on the invariant leaf converges (`polish`) and either the curvature across the
symmetries is positive or a test of exponential convergence passes (`polyak_lojasiewicz`, `kernel_probe`).
"""

from collections.abc import Callable
from typing import Any

import diffrax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PyTree

from lcnn_flow.dynamics.field import FieldArguments, StartScales, start_scales
from lcnn_flow.dynamics.observing import without_unused_data
from lcnn_flow.dynamics.settings import FlowSettings, flow_settings, takes_options
from lcnn_flow.dynamics.sliding import no_switches
from lcnn_flow.errors import FlowError
from lcnn_flow.flow.integration import Span
from lcnn_flow.flow.result import Flow, Trajectory
from lcnn_flow.flow.search import find_limit
from lcnn_flow.flow.state import End, withhold_unless
from lcnn_flow.flow.trajectory import differentiable, integrate_on_grid, measured, span_at_start
from lcnn_flow.flow.twins import is_insensitive
from lcnn_flow.limits.declaration import keeps_symmetry
from lcnn_flow.limits.kinks import is_clear_of_kinks
from lcnn_flow.limits.newton import implicit_derivative
from lcnn_flow.limits.saturation import is_clear_of_saturation
from lcnn_flow.limits.verdict import WITH_LIMIT, Reason, Verdict
from lcnn_flow.network.parameters import ParamsLike, as_params, ravel
from lcnn_flow.numerics.arrays import is_concrete
from lcnn_flow.numerics.compiling import quick_to_compile
from lcnn_flow.numerics.memory import check_memory
from lcnn_flow.numerics.parameter_space import ParameterSpace
from lcnn_flow.risk.base import RiskLike, check_single
from lcnn_flow.risk.function import as_risk
from lcnn_flow.symmetry.declared import Declared

__all__ = ["STEPS", "end_of_time", "flow_arguments", "gradient_flow", "in_tree", "refuse_false_symmetry", "run_flow"]

STEPS = 200
"""Assumed number of steps of a flow."""
_CALLS = 20
"""Assumed number of calls of `gradient_flow` with one program: whoever calls it more often waits for the runs."""
_TIME_SPAN = 1e16


@takes_options
def gradient_flow(risk: RiskLike | Callable[..., Any], params: PyTree, **options: Any) -> Flow:
    """Integrates dw/dt = -grad L(w) from `params` to its limit; works under jit, vmap and differentiation.

    Integration stops when |grad L| <= gradient_atol + gradient_rtol * scale. The scale is the smallest over layers of
    `risk.layer_scales`, the size that the gradient in a layer would have without cancellation, but at least 1e-4 times
    its value at the start. Units of data, and of one layer relative to another, therefore do not influence verdicts.
    For a function known only through its values the scale is the lost energy divided by the path length, and tolerances
    are not below the rounding error of the gradient.

    The end is then refined by Newton's method and tested. If the tests do not pass, the flow is integrated again with a
    smaller tolerance and continued, down to a thousandth of the gradient tolerance. For a function known only through
    its values, flows from both sides of the start must reach the limit too (`flow.twins`); otherwise the verdict is
    UNDECIDED.

    Time is in units of (squared parameter)/risk. Only `limit` (where `sound`) and `trajectory` are differentiable;
    every other field has derivative 0.

    Args:
        risk: the risk to minimise: an `EmpiricalRisk`, a `Risk`, or any differentiable function of params. A function
            object is compiled once; writing the same lambda again is a new program.
        params: initial parameters: filters with shapes `Architecture.layer_shapes`, or the tree of parameters that the
            function takes. Results have the same tree.
        **options: fields of `FlowOptions`.

    Returns:
        `Flow`: the verdict, the last integrated state, the limit and what was measured there, scalars of one flow; its
        `trajectory` is None without `times`.

    Raises:
        ArchitectureError: shapes of params do not fit.
        RiskError: the function does not return one real number.
        FlowError: options contradict each other, a tolerance is below what the precision resolves, the function cannot
            be differentiated in params, a declared symmetry is false, or the Hessian does not fit into memory.
    """
    objective = as_risk("gradient_flow", risk, params)
    many = "jax.vmap(gradient_flow)(risk, params), or gradient_flow_ensemble(risk, params)"
    check_single("gradient_flow", objective, many)
    objective.check_params(params)
    layers, space = objective.layers(params), objective.space
    check_memory(space.num_parameters, jnp.result_type(*layers))
    settings = flow_settings(layers, **options)
    seen = without_unused_data(objective, settings.record)
    flow = _compiled_flow(seen, as_params(layers), settings)
    refuse_false_symmetry(flow)
    return in_tree(space, flow)


def in_tree(space: ParameterSpace, flow: Flow) -> Flow:
    """A flow with its parameters in the user's tree instead of a tuple of layers."""
    trajectory = flow.trajectory
    if trajectory is not None:
        trajectory = trajectory._replace(params=space.tree(trajectory.params))
    return flow._replace(final=space.tree(flow.final), limit=space.tree(flow.limit), trajectory=trajectory)


def refuse_false_symmetry(flow: Any) -> None:
    """Raises FlowError if a declared symmetry was found to be false and the result is not traced."""
    if is_concrete(flow.reason) and np.any(np.asarray(flow.reason) == Reason.SYMMETRY_NOT_KEPT):
        raise FlowError(
            "the declared symmetry is not one of this function: <grad c, grad L> at the start, or the Hessian times a "
            "direction at the limit, is above rounding; correct lf.symmetry.Declared, or leave it out"
        )


def run_flow(
    risk: RiskLike,
    params: ParamsLike,
    settings: FlowSettings,
    reached: Span | None = None,
    on_grid: Span | None = None,
) -> Flow:
    """`gradient_flow` with checked settings and parameters as layers, compiled by the caller.

    Integration can continue from `reached`. With `times`, it can continue from `on_grid`, the state at the last of
    them; the trajectory is then None.
    """
    start = ravel(params)
    held, initial = lax.stop_gradient((risk, start))
    scales = start_scales(held, initial, settings)
    args = flow_arguments(risk, held, initial, scales, settings)
    atol = risk.space.per_entry(scales.atol)
    times = settings.times if on_grid is None else None
    span, saved, intact = span_at_start(start, times), None, jnp.asarray(True)
    if risk.has_kinks:
        span = span._replace(record=span.record._replace(switches=no_switches(held.activation_signs(initial))))
    problem = (args, span, atol)
    if on_grid is not None:
        span = on_grid
    elif times is not None and not isinstance(settings.adjoint, diffrax.RecursiveCheckpointAdjoint):
        span, saved = integrate_on_grid(*problem, settings)
        intact = span.time >= times[-1]
    search = lax.stop_gradient((args, start, span, intact, end_of_time(scales, settings), atol))
    found = lax.stop_gradient(find_limit(*search, settings, reached))
    end, span = found.end, found.earlier
    if span.record.saved is not None:
        saved = differentiable(problem, span.record.saved, lax.stop_gradient(settings))
    trajectory = None if saved is None else measured(risk, start, saved, span.time, settings)
    held, limit = search[0].risk, end.limit
    if isinstance(risk.symmetry, Declared):
        end = withhold_unless(keeps_symmetry(held, initial, end), end, Reason.SYMMETRY_NOT_KEPT)
    if not risk.knows_scales:
        insensitive = is_insensitive(search[0], span.vector, end, found.twin_ends)
        end = withhold_unless(insensitive, end, Reason.PASSED_A_SADDLE)
    if risk.has_kinks:
        claimed = jnp.isin(end.verdict, jnp.asarray(WITH_LIMIT, end.verdict.dtype))
        clear = is_clear_of_kinks(held, limit, end.polish_distance)
        end = withhold_unless(~claimed | clear, end, Reason.NEAR_A_KINK)
    if risk.can_saturate:
        critical = (end.verdict == int(Verdict.CONVERGED)) | (end.verdict == int(Verdict.AT_SADDLE))
        clear = is_clear_of_saturation(held, limit, end.curvature.nullity)
        end = withhold_unless(~critical | clear, end, Reason.SATURATED)
    if settings.polish:
        unsound = jnp.nan if settings.unsound_derivative == "nan" else 0.0
        factor = jnp.where(end.sound, 1.0, unsound).astype(start.dtype)
        limit = implicit_derivative(limit, start, risk, factor)
    return _result(held, initial, end, limit, trajectory)


def flow_arguments(
    risk: RiskLike, held: RiskLike, initial: Array, scales: StartScales, settings: FlowSettings
) -> FieldArguments:
    norm_bound, bounded = scales.norm_bound, jnp.asarray(False)
    if settings.norm_bound is None:
        largest = 1.001 * held.largest_norm(initial)  # the factor exceeds the effect of rounding
        bounded = jnp.isfinite(largest)
        norm_bound = jnp.where(bounded, jnp.maximum(norm_bound, largest), norm_bound)
    return FieldArguments(
        risk=risk,
        gradient_atol=settings.gradient_atol,
        gradient_rtol=settings.gradient_rtol,
        least_scale=scales.least_scale,
        norm_bound=norm_bound,
        far=scales.far,
        bounded=bounded,
        rtol=scales.rtol,
        equal=risk.symmetry.equal(initial),
    )


def _result(held: RiskLike, initial: Array, end: End, limit: Array, trajectory: Trajectory | None) -> Flow:
    """The fields of a `Flow`; only the limit and the trajectory have derivatives."""
    space, vector, record = held.space, end.vector, end.record
    energy = held.value(initial) - held.value(vector)
    has_limit = jnp.isin(end.verdict, jnp.asarray(WITH_LIMIT, end.verdict.dtype))
    drift = jnp.abs(held.symmetry.conserved(vector) - held.symmetry.conserved(initial))
    return Flow(
        verdict=end.verdict,
        reason=end.reason,
        final=space.unravel(vector),
        limit=space.unravel(jnp.where(has_limit, limit, jnp.nan)),
        risk=held.value(vector),
        gradient_norm=end.gradient_norm,
        gradient_tolerance=end.tolerance,
        time=end.time,
        steps=end.steps,
        path_length=record.path_length,
        energy=energy,
        energy_defect=energy - record.dissipation,
        invariant_drift=jnp.max(drift, initial=0.0),
        polish_distance=end.polish_distance,
        hessian_index=end.curvature.index,
        nullity=end.curvature.nullity,
        smallest_curvature=end.curvature.smallest,
        growth_rate=end.growth_rate,
        limit_is_isolated=end.isolated,
        sound=end.sound,
        trajectory=trajectory,
    )


def _work_of_a_flow(risk: RiskLike, *_: Any) -> float:
    return _CALLS * STEPS * risk.step_cost


_compiled_flow = quick_to_compile(run_flow, work=_work_of_a_flow)


def end_of_time(scales: StartScales, settings: FlowSettings) -> Float[Array, "..."]:
    """The largest time: `max_time`, or 1e16 time units."""
    if settings.max_time is None:
        return _TIME_SPAN * scales.time_unit
    return jnp.broadcast_to(settings.max_time, scales.time_unit.shape)
