"""Gradient flow dw/dt = -grad L(w) of the empirical risk, from initial filters to its limit, with a verdict.

diffrax integrates; the end is then tested. A small gradient is not convergence, so a flow counts as CONVERGED only
when Newton's method on the invariant leaf contracts (`polish`) and the curvature across the symmetries is positive,
or the local Polyak-Lojasiewicz test passes (`curvature`).
"""

from typing import Any, NamedTuple

import diffrax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lcnn_flow.compiling import quick_to_compile
from lcnn_flow.exchange import equal_filters
from lcnn_flow.flow_field import FieldArguments, StartScales, start_scales
from lcnn_flow.flow_search import find_limit
from lcnn_flow.flow_settings import FlowSettings, flow_settings
from lcnn_flow.integration import Span, integrate
from lcnn_flow.invariants import conserved
from lcnn_flow.network import Params, end_to_end_filter, ravel, spread, unravel
from lcnn_flow.norms import safe_norm
from lcnn_flow.polish import implicit_derivative
from lcnn_flow.recording import Saved, blank_record
from lcnn_flow.risk import EmpiricalRisk
from lcnn_flow.theory.bounds import largest_norm
from lcnn_flow.verdict import WITH_LIMIT

__all__ = ["Flow", "Trajectory", "end_of_time", "gradient_flow", "run_flow"]

_TIME_SPAN = 1e16


class Trajectory(NamedTuple):
    """The flow at the requested times; entries after `valid_until` are NaN."""

    time: Float[Array, " T"]
    params: Params
    """Filters, each with a leading axis T."""
    risk: Float[Array, " T"]
    gradient_norm: Float[Array, " T"]
    end_to_end_filter: Float[Array, "T ..."]
    squared_norms: Float[Array, "T N"]
    """|w_l|^2."""
    balancedness: Float[Array, "T d"]
    """Conserved quantities: h_l, with channels the upper triangles of all Q_l in a row."""
    path_length: Float[Array, " T"]
    """Integral of |grad L|, in units of filters, by `quadrature` on the dense output."""
    energy: Float[Array, " T"]
    """risk(0) - risk(t), in units of risk."""
    energy_defect: Float[Array, " T"]
    """`energy` less the integral of |grad L|^2 by `quadrature`: 0 for an exact flow, so what is left is error."""
    valid_until: Float[Array, ""]
    """Last time reached: the last of `time`, or where the flow diverged, ran out of steps or broke."""


class Flow(NamedTuple):
    """Result of `gradient_flow`; under vmap every field has the batch axes in front."""

    verdict: Int[Array, ""]
    """Code of `Verdict`."""
    reason: Int[Array, ""]
    """Code of `verdict.Reason`: why, where the verdict leaves it open; `summary` has the words."""
    final: Params
    """Last integrated state."""
    limit: Params
    """Critical point that the flow tends to; NaN unless CONVERGED, AT_SADDLE or DEGENERATE (there: `final`). Exact to
    rounding where it is isolated; on a manifold of minimisers its place is as good as the integration, rtol 1e-6."""
    risk: Float[Array, ""]
    """Risk at `final`."""
    gradient_norm: Float[Array, ""]
    """|grad L| at `final`."""
    gradient_tolerance: Float[Array, ""]
    """gradient_atol + gradient_rtol * scale at `final`."""
    time: Float[Array, ""]
    """Time of `final`, in units of squared filter / risk."""
    steps: Int[Array, ""]
    """Steps tried, all rounds together."""
    path_length: Float[Array, ""]
    """Integral of |grad L| up to `final`, by `quadrature` on the dense output: good to 1e-3 of itself where `times`
    were given, without them as good as the steps to the limit happen to be."""
    energy: Float[Array, ""]
    """risk(0) less the risk at `final`."""
    energy_defect: Float[Array, ""]
    """`energy` less the integral of |grad L|^2 by `quadrature`: the error of the integration, in units of risk."""
    invariant_drift: Float[Array, ""]
    """Largest change of a conserved quantity from start to `final`, in units of a squared filter."""
    polish_distance: Float[Array, ""]
    """|limit - final|, 0 where nothing was polished."""
    hessian_index: Int[Array, ""]
    """Number of negative Hessian eigenvalues across the symmetry directions, at the limit; -1 if not known."""
    nullity: Int[Array, ""]
    """Number of zero Hessian eigenvalues across the symmetry directions, at the limit; -1 if not known."""
    smallest_curvature: Float[Array, ""]
    """Smallest Hessian eigenvalue across the symmetry directions, at the limit."""
    growth_rate: Float[Array, ""]
    """d log|w| / d log t at `final`."""
    limit_is_isolated: Bool[Array, ""]
    """The limit is an isolated critical point on its invariant leaf; never so with channels."""
    sound: Bool[Array, ""]
    """The derivative of `limit` exists: CONVERGED to an isolated, polished limit."""
    trajectory: Trajectory | None
    """None unless `times` were given."""


def gradient_flow(
    risk: EmpiricalRisk,
    params: Params,
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


def run_flow(risk: EmpiricalRisk, params: Params, settings: FlowSettings, reached: Span | None = None) -> Flow:
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
        equal=equal_filters(risk.arch, initial),
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
    drift = jnp.abs(conserved(risk.arch, vector) - conserved(risk.arch, initial))
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
        return params, risk(params), safe_norm(risk.gradient(vector)), v, squares, conserved(risk.arch, vector)

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
