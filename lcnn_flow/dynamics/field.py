"""The vector field of gradient flow, its stopping conditions, and the linear solver of its stages.

The integrated state is a `Recorded`: the filters, and a record that the solver writes, whose derivative is set to 0.
The functions are defined at module level and receive the risk in `args`, so that a second flow with the same shapes is
not compiled again.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lcnn_flow.dynamics.recording import Record, Recorded
from lcnn_flow.dynamics.settings import FlowSettings
from lcnn_flow.dynamics.sliding import slides
from lcnn_flow.numerics.arrays import DType
from lcnn_flow.numerics.norms import safe_norm
from lcnn_flow.risk.base import RiskLike
from lcnn_flow.solvers import inverse_positive_definite

__all__ = [
    "FINEST_RTOL",
    "FieldArguments",
    "StartScales",
    "at_rest",
    "default_function_rtol",
    "gradient_scale",
    "gradient_tolerance",
    "keep_symmetry",
    "recorded_field",
    "root_mean_square",
    "start_scales",
    "stops",
    "symmetric_stage_solver",
    "vector_field",
]

_NORM_SPAN = 1e6
_UNKNOWN_NORM_SPAN = {8: 1e20, 4: 1e9}
"""By bytes of a number, where the size of limits is unknown: from a small start near a saddle it is not seen."""
_ABOVE_ROUNDING = 2.0
_ERROR_IN_MINIMUM = 0.1
"""Local error of the residuals that the default rtol allows, relative to the width of the minimum of the loss."""
FINEST_RTOL = 1e-9
_FUNCTION_RTOL = 1e-6


class StartScales(NamedTuple):
    """Units, tolerances and bounds of a flow, determined by the initial filters."""

    time_unit: Float[Array, "..."]
    """The longest of the times |w_l| / |grad_l L| in which a layer moves, with the gradient replaced by its scale; else
    1."""
    first_step: Float[Array, "..."]
    """A hundredth of the shortest of these times."""
    least_scale: Float[Array, "..."]
    """1e-4 of `gradient_scale` at the start: a floor for flows that tend to 0, whose scale tends to 0 too."""
    norm_bound: Float[Array, "..."]
    far: Float[Array, "..."]
    """Norm, at most `norm_bound`, beyond which filters that still grow at the end of a flow count as diverged."""
    rtol: Float[Array, "..."]
    """The rtol of the settings, or a smaller one if the curvature of the loss changes on a scale small against the
    residuals."""
    atol: Float[Array, "N ..."]
    """One tolerance per layer."""


class FieldArguments(NamedTuple):
    """Arguments of the vector field and its events besides the state."""

    risk: RiskLike
    gradient_atol: Float[Array, ""]
    gradient_rtol: Float[Array, ""]
    least_scale: Float[Array, ""]
    norm_bound: Float[Array, ""]
    far: Float[Array, ""]
    """As in `StartScales`."""
    bounded: Bool[Array, ""]
    """Whether `norm_bound` is at least the bound given by theory, so that growth is never a divergence."""
    rtol: Float[Array, ""]
    """Tolerance of the first round of integration."""
    equal: Float[Array, "N N"]
    """`exchange.equal_filters` of the initial filters."""
    stop: Array | None = None
    """Final time, relative to the start of one integration."""


def vector_field(t: Any, vector: Float[Array, " n"], args: FieldArguments) -> Float[Array, " n"]:
    """Right-hand side of the flow, -grad L."""
    del t
    return -args.risk.gradient(vector)


def recorded_field(t: Any, y: Recorded, args: FieldArguments) -> Recorded:
    """The vector field of filters and their record; the record has derivative 0, because the solver writes it."""
    return Recorded(vector_field(t, y.vector, args), jax.tree.map(jnp.zeros_like, y.record))


def start_scales(risk: RiskLike, vector: Float[Array, "n ..."], settings: FlowSettings) -> StartScales:
    """Units and tolerances of flows that start at the raveled filters `vector`."""
    norms, fitting = risk.space.norms(vector), risk.parameter_scale(vector)
    scales = risk.layer_scales(vector) if risk.knows_scales else risk.uncancelled(vector)
    if not risk.knows_scales:  # a start at 0 has no size
        norms = jnp.where(jnp.max(norms) > 0, norms, fitting)
    moving = (norms > 0) & (scales > 0)
    times = norms / jnp.where(moving, scales, 1)
    longest = jnp.max(jnp.where(moving, times, 0), axis=0)
    shortest = jnp.min(jnp.where(moving, times, jnp.inf), axis=0)
    rtol = jnp.broadcast_to(settings.rtol, longest.shape)
    if settings.adapts_rtol:
        rtol = jnp.minimum(rtol, jnp.maximum(_ERROR_IN_MINIMUM / risk.contrast(vector), FINEST_RTOL))
        rtol = rtol if risk.knows_scales else jnp.minimum(rtol, default_function_rtol(vector.dtype))
    if settings.norm_bound is not None:
        far = bound = settings.norm_bound
    else:
        size = jnp.maximum(safe_norm(norms), fitting)
        far = bound = _NORM_SPAN * size
        if not risk.knows_scales:
            bound = _UNKNOWN_NORM_SPAN.get(vector.dtype.itemsize, _NORM_SPAN) * size
    atol = settings.atol
    if atol is None:
        counts = jnp.asarray(risk.space.layer_sizes, vector.dtype)
        rms = norms / jnp.sqrt(counts.reshape(counts.shape + (1,) * (vector.ndim - 1)))
        largest = jnp.max(rms, axis=0)
        atol = 0.1 * rtol[None] * jnp.where(rms > 0, rms, jnp.where(largest > 0, largest, 1)[None])
    return StartScales(
        time_unit=jnp.where(longest > 0, longest, 1),
        first_step=0.01 * jnp.where(jnp.isfinite(shortest), shortest, 1),
        least_scale=1e-4 * gradient_scale(risk, vector) if risk.knows_scales else jnp.zeros_like(longest),
        norm_bound=jnp.broadcast_to(bound, longest.shape),
        far=jnp.broadcast_to(far, longest.shape),
        rtol=rtol,
        atol=jnp.broadcast_to(atol, norms.shape),
    )


def default_function_rtol(dtype: DType) -> float:
    """Default rtol for functions known only through their values, whose length scales are found by integration only."""
    return max(_FUNCTION_RTOL, 100 * float(jnp.finfo(dtype).eps))


def gradient_scale(risk: RiskLike, vector: Float[Array, "n ..."], record: Record | None = None) -> Float[Array, "..."]:
    """The smallest of `risk.layer_scales`, but at least 1e-8 of the largest: the layer with the smallest scale is
    decisive.

    If the risk does not know its scales, the energy lost by the flow divided by its path length, which is a mean of the
    norm of the gradient; before the first step, the norm of the gradient itself.
    """
    if not risk.knows_scales:
        norm = safe_norm(risk.gradient(vector))
        if record is None:
            return norm
        moved = record.path_length > 0
        return jnp.where(moved, record.dissipation / jnp.where(moved, record.path_length, 1), norm)
    scales = risk.layer_scales(vector)
    return jnp.maximum(jnp.min(scales, axis=0), 1e-8 * jnp.max(scales, axis=0))


def gradient_tolerance(
    risk: RiskLike,
    vector: Float[Array, "n ..."],
    least_scale: Float[Array, "..."],
    settings: FlowSettings | FieldArguments,
    record: Record | None = None,
) -> Float[Array, "..."]:
    """gradient_atol + gradient_rtol * scale, where scale is the larger of `gradient_scale` and `least_scale`.

    If the risk does not know its scales, the tolerance is at least twice the rounding error of the gradient.
    """
    scale = jnp.maximum(least_scale, gradient_scale(risk, vector, record))
    tolerance = settings.gradient_atol + settings.gradient_rtol * scale
    if risk.knows_scales:
        return tolerance
    rounding = jnp.finfo(vector.dtype).eps * safe_norm(risk.uncancelled(vector))
    return jnp.maximum(tolerance, _ABOVE_ROUNDING * rounding)


def stops(t: Any, y: Recorded, args: FieldArguments, **kwargs: Any) -> Bool[Array, ""]:
    """diffrax event that ends the integration: the final time is reached, or `at_rest` holds."""
    del kwargs
    assert args.stop is not None
    return at_rest(y.vector, y.record, args) | (t >= args.stop)


def at_rest(vector: Float[Array, " n"], record: Record, args: FieldArguments) -> Bool[Array, ""]:
    """Whether the gradient is small, or the filters are outside the norm bound, not finite or separate the data, or the
    flow slides along a kink.

    Small means below tolerance. With a `gradient_atol` below 0 the integration continues for any margins and kinks.
    """
    tolerance = gradient_tolerance(args.risk, vector, args.least_scale, args, record)
    small = safe_norm(args.risk.gradient(vector)) <= tolerance
    small |= (args.risk.is_separated(vector) | slides(record.switches)) & (args.gradient_atol >= 0)
    return small | ~(safe_norm(vector) <= args.norm_bound)


def symmetric_stage_solver(
    terms: diffrax.AbstractTerm[Any, Any],
    t: Any,
    y: Float[Array, " n"],
    args: FieldArguments,
    control: Array,
    gamma: float,
) -> tuple[Callable[[Array], Array], Array]:
    """Solves the linear systems of the stages of a Rosenbrock method, with the symmetric matrix I/gamma + h Hess L.

    Returns:
        A function that multiplies a right-hand side by the inverse of the matrix, and whether the matrix is positive
        definite; if not, the step must be rejected.
    """
    del terms, t
    matrix = jnp.eye(y.size, dtype=y.dtype) / gamma + control * args.risk.hessian(y)
    inverse, fit = inverse_positive_definite(matrix)
    return lambda rhs: jnp.matmul(inverse, rhs, precision=jax.lax.Precision.HIGHEST), fit


def keep_symmetry(y: Float[Array, " n"], args: FieldArguments) -> Float[Array, " n"]:
    """Keeps filters that were equal or opposite at the start equal or opposite, bit for bit."""
    return args.risk.symmetry.keep(y, args.equal)


def root_mean_square(vector: Float[Array, " n"]) -> Float[Array, ""]:
    """The norm of scaled errors that controls the step size."""
    return safe_norm(vector) / jnp.sqrt(vector.size)
