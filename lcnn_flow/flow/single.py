"""Gradient flow dw/dt = -grad L(w) of the empirical risk, from initial filters to its limit, with a verdict.

diffrax integrates; the end is then tested. A small gradient is not convergence, so a flow counts as CONVERGED only
when Newton's method on the invariant leaf contracts (`polish`) and the curvature across the symmetries is positive,
or the local Polyak-Lojasiewicz test passes (`polyak_lojasiewicz`).
"""

from typing import Any

import diffrax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from lcnn_flow.dynamics.field import FieldArguments, StartScales, start_scales
from lcnn_flow.dynamics.recording import Saved, blank_record
from lcnn_flow.dynamics.settings import FlowSettings, flow_settings
from lcnn_flow.flow.integration import Span, integrate
from lcnn_flow.flow.result import Flow, Trajectory
from lcnn_flow.flow.search import find_limit
from lcnn_flow.limits.newton import implicit_derivative
from lcnn_flow.limits.verdict import WITH_LIMIT
from lcnn_flow.network.filters import end_to_end_filter
from lcnn_flow.network.parameters import ParamsLike, ravel, spread, unravel
from lcnn_flow.numerics.compiling import quick_to_compile
from lcnn_flow.numerics.norms import safe_norm
from lcnn_flow.risk.bounds import largest_norm
from lcnn_flow.risk.empirical import EmpiricalRisk, check_risk

__all__ = ["end_of_time", "gradient_flow", "run_flow"]

_TIME_SPAN = 1e16


def gradient_flow(
    risk: EmpiricalRisk,
    params: ParamsLike,
    *,
    times: Any = None,
    rtol: float | None = None,
    atol: float | None = None,
    gradient_rtol: float | None = None,
    gradient_atol: float = 0.0,
    max_time: float | None = None,
    max_steps: int | None = None,
    norm_bound: float | None = None,
    solver: diffrax.AbstractSolver | None = None,
    polish: bool = True,
    adjoint: diffrax.AbstractAdjoint | None = None,
    unsound_derivative: str = "nan",
) -> Flow:
    """Integrates dw/dt = -grad L(w) from `params` to its limit; works under jit, vmap and differentiation.

    Stops when |grad L| <= gradient_atol + gradient_rtol * scale. The scale is the smallest over layers of
    `risk.layer_scales`, the size the gradient in a layer would have if nothing cancelled, now or 1e-4 times the
    start's, whichever is larger: so units of data, and of one layer against another, change no verdict. The end is
    polished and tested; where the tests do not pass, the flow is integrated again at a tighter tolerance and goes on,
    up to a thousandth of the gradient tolerance.

    Time is in units of (squared filter)/risk. Only `limit` (where `sound`) and `trajectory` are differentiable;
    every other field has derivative 0.

    Args:
        risk: what is minimised.
        params: initial filters, as in `Architecture.layer_shapes`.
        times: increasing times, for example `log_times(1e-3, 1e6, 200)`: the trajectory is wanted too. Integration
            always reaches the last of them, then goes on to the limit. None: only the limit is wanted.
        rtol, atol: local error tolerances for the filters; rtol is 1e-3 without `times` and 1e-6 with them (1e-4 in
            float32), and tighter where the loss bends on a scale that is small against the residuals; atol, in units of
            filters, is rtol times a tenth of the rms initial entry of the layer.
        gradient_rtol: 1e-8 in float64, 1e-4 in float32.
        gradient_atol: in units of risk/filter.
        max_time: 1e16 times the largest |w_l|/|grad_l L| (by scale) at the start.
        max_steps: steps in each round of integration; 4,096, for rtol below 1e-6 more, in proportion to rtol^(-1/4).
        norm_bound: largest |w| before the flow counts as DIVERGED; 1e6 times the larger of |w(0)| and the filter
            size that fits the targets. Without it a flow that theory bounds (P of full column rank, coercive loss,
            single channel) never counts as DIVERGED.
        solver: any diffrax solver; `Rodas4()` by default. Rosenbrock methods are given the exact symmetric Hessian.
        polish: Newton's method on the invariant leaf.
        adjoint: diffrax adjoint for the trajectory; `diffrax.ForwardMode()` for forward-mode differentiation.
        unsound_derivative: derivative of `limit` where it does not exist: "nan" or "zero".

    Raises:
        ArchitectureError: shapes of params do not fit.
        FlowError: contradictory options, or a tolerance below what the precision resolves.
    """
    check_risk("gradient_flow", risk, "jax.vmap(gradient_flow)(risk, params), or gradient_flow_ensemble(risk, params)")
    risk.arch.check_params(params)
    settings = flow_settings(
        params,
        times=times,
        rtol=rtol,
        atol=atol,
        gradient_rtol=gradient_rtol,
        gradient_atol=gradient_atol,
        max_time=max_time,
        max_steps=max_steps,
        norm_bound=norm_bound,
        solver=solver,
        polish=polish,
        adjoint=adjoint,
        unsound_derivative=unsound_derivative,
    )
    return _compiled_flow(risk, params, settings)


def run_flow(risk: EmpiricalRisk, params: ParamsLike, settings: FlowSettings, reached: Span | None = None) -> Flow:
    """`gradient_flow` with checked settings, compiled by the caller; without `times` it may go on from `reached`."""
    start = ravel(params)
    held, initial = lax.stop_gradient((risk, start))
    scales = start_scales(held, initial, settings)
    norm_bound, bounded = scales.norm_bound, jnp.asarray(False)
    if settings.norm_bound is None:
        largest = 1.001 * largest_norm(held, unravel(risk.arch, initial))  # what rounding adds is less
        bounded = jnp.isfinite(largest)
        norm_bound = jnp.where(bounded, jnp.maximum(norm_bound, largest), norm_bound)
    args = FieldArguments(
        risk=risk,
        gradient_atol=settings.gradient_atol,
        gradient_rtol=settings.gradient_rtol,
        least_scale=scales.least_scale,
        norm_bound=norm_bound,
        bounded=bounded,
        rtol=scales.rtol,
        equal=risk.symmetry.equal(initial),
    )
    atol = spread(risk.arch, scales.atol)
    zero, no = jnp.zeros((), start.dtype), jnp.asarray(False)
    span = Span(start, blank_record(start, zero, None), zero, jnp.asarray(0, jnp.int32), no, no)
    intact, trajectory = ~no, None
    if (times := settings.times) is not None:
        never = args._replace(gradient_atol=zero - 1, gradient_rtol=zero)
        span, record = integrate(never, span, times[-1], settings, scales.rtol, atol, times)
        assert record.saved is not None
        trajectory = _trajectory(risk, start, record.saved, span.time)
        intact = span.time >= times[-1]
    max_time = end_of_time(scales, settings)
    search = lax.stop_gradient((args, start, span, intact, max_time, atol))
    end = lax.stop_gradient(find_limit(*search, settings, reached))
    held = search[0]
    limit = end.limit
    if settings.polish:
        unsound = jnp.nan if settings.unsound_derivative == "nan" else 0.0
        factor = jnp.where(end.sound, 1.0, unsound).astype(start.dtype)
        limit = implicit_derivative(limit, start, risk, factor)
    vector, record = end.vector, end.record
    energy = held.risk(unravel(risk.arch, initial)) - held.risk(unravel(risk.arch, vector))
    has_limit = jnp.isin(end.verdict, jnp.asarray(WITH_LIMIT, end.verdict.dtype))
    drift = jnp.abs(risk.symmetry.conserved(vector) - risk.symmetry.conserved(initial))
    return Flow(
        verdict=end.verdict,
        reason=end.reason,
        final=unravel(risk.arch, vector),
        limit=unravel(risk.arch, jnp.where(has_limit, limit, jnp.nan)),
        risk=held.risk(unravel(risk.arch, vector)),
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


_compiled_flow = quick_to_compile(run_flow)


def end_of_time(scales: StartScales, settings: FlowSettings) -> Float[Array, "..."]:
    """When a flow counts as not settling: `max_time`, or 1e16 time units."""
    if settings.max_time is None:
        return _TIME_SPAN * scales.time_unit
    return jnp.broadcast_to(settings.max_time, scales.time_unit.shape)


def _trajectory(risk: EmpiricalRisk, start: Array, saved: Saved, reached: Array) -> Trajectory:
    """Everything that is recorded along a flow."""
    valid = saved.times <= reached

    def only_valid(x: Array) -> Array:
        return jnp.where(valid.reshape(-1, *(1 for _ in x.shape[1:])), x, jnp.nan)

    def measured(vector: Array) -> tuple:
        params = unravel(risk.arch, vector)
        squares = jnp.stack([jnp.sum(w**2) for w in params])
        v = end_to_end_filter(risk.arch, params)
        return params, risk(params), safe_norm(risk.gradient(vector)), v, squares, risk.symmetry.conserved(vector)

    params, value, norm, v, squares, balance = lax.map(measured, only_valid(saved.states))
    path_length, dissipation = only_valid(saved.lengths).T
    energy = risk(unravel(risk.arch, start)) - value
    return Trajectory(
        time=saved.times,
        params=params,
        risk=value,
        gradient_norm=only_valid(norm),
        end_to_end_filter=v,
        squared_norms=squares,
        balancedness=balance,
        path_length=path_length,
        energy=energy,
        energy_defect=energy - dissipation,
        valid_until=reached,
    )
