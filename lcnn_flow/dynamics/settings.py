"""Options of a flow: defaults, and the checks that can be made before anything is compiled."""

import math
from typing import Any

import diffrax
import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lcnn_flow.errors import FlowError
from lcnn_flow.network.parameters import ParamsLike
from lcnn_flow.numerics.arrays import is_concrete, warn_where_narrowed
from lcnn_flow.solvers import Rodas4

__all__ = ["FlowSettings", "flow_settings", "log_times"]


_MAX_STEPS = 4096
_ORDINARY_RTOL = 1e-6


class FlowSettings(eqx.Module):
    """Checked options of `gradient_flow`; numbers are leaves, so that other numbers compile nothing."""

    times: Float[Array, " T"] | None
    rtol: Float[Array, ""]
    atol: Float[Array, ""] | None
    gradient_rtol: Float[Array, ""]
    gradient_atol: Float[Array, ""]
    max_time: Float[Array, ""] | None
    norm_bound: Float[Array, ""] | None
    solver: diffrax.AbstractSolver
    adjoint: diffrax.AbstractAdjoint
    max_steps: int = eqx.field(static=True)
    polish: bool = eqx.field(static=True)
    unsound_derivative: str = eqx.field(static=True)
    adapts_rtol: bool = eqx.field(static=True)
    """rtol is the default, which is tightened where the loss bends sharply."""
    relative: bool = eqx.field(static=True)
    """Whether gradient_rtol may be above 0: if not, the scale of the gradient is not needed to stop."""


def log_times(start: float, stop: float, count: int) -> Float[np.ndarray, " count"]:
    """`count` times spaced evenly in the logarithm, from `start` > 0 to `stop`, both included.

    Raises:
        FlowError: not 0 < start < stop, or fewer than 2 times.
    """
    if not (0 < start < stop < np.inf) or count < 2:
        raise FlowError(f"log_times({start}, {stop}, {count}): needs 0 < start < stop and at least 2 times")
    times = np.geomspace(start, stop, count)
    times[0], times[-1] = start, stop
    return times


def flow_settings(
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
) -> FlowSettings:
    """Options of `gradient_flow`, see there, with defaults for the precision of `params`.

    Raises:
        FlowError: contradictory options, or a tolerance below what the precision resolves.
    """
    for w in params:
        warn_where_narrowed(w)
    dtype = jnp.result_type(*params)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise FlowError(f"params have dtype {dtype}: pass floating-point filters")
    double, adapts = jnp.finfo(dtype).bits >= 64, rtol is None
    if rtol is None:
        rtol = 1e-3 if times is None else (1e-6 if double else 1e-4)
    if gradient_rtol is None:
        gradient_rtol = 1e-8 if double else 1e-4
    _check_numbers(dtype, rtol, atol, gradient_rtol, gradient_atol, max_time, norm_bound)
    if max_steps is None:
        max_steps = _default_max_steps(rtol)
    if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
        raise FlowError(f"max_steps = {max_steps!r}: write an integer of at least 1")
    if unsound_derivative not in ("nan", "zero"):
        raise FlowError(f"unsound_derivative = {unsound_derivative!r}: write 'nan' or 'zero'")

    def number(x: Any) -> Array | None:
        return None if x is None else jnp.asarray(x, dtype)

    return FlowSettings(
        times=_check_times(times, max_time, dtype),
        rtol=jnp.asarray(rtol, dtype),
        atol=number(atol),
        gradient_rtol=jnp.asarray(gradient_rtol, dtype),
        gradient_atol=jnp.asarray(gradient_atol, dtype),
        max_time=number(max_time),
        norm_bound=number(norm_bound),
        solver=Rodas4() if solver is None else solver,
        adjoint=diffrax.RecursiveCheckpointAdjoint() if adjoint is None else adjoint,
        max_steps=max_steps,
        polish=bool(polish),
        unsound_derivative=unsound_derivative,
        adapts_rtol=adapts,
        relative=not (is_concrete(gradient_rtol) and gradient_rtol == 0),
    )


def _default_max_steps(rtol: Any) -> int:
    """4,096, and for a tighter rtol than 1e-6 more: methods of order 4 take steps in proportion to rtol^(-1/4)."""
    if not is_concrete(rtol) or not 0 < float(rtol) < _ORDINARY_RTOL:
        return _MAX_STEPS
    return _MAX_STEPS * 2 ** math.ceil(math.log2(_ORDINARY_RTOL / float(rtol)) / 4)


def _check_times(times: Any, max_time: Any, dtype: Any) -> Array | None:
    if times is None:
        return None
    array = jnp.asarray(times, dtype)
    if array.ndim != 1 or array.size == 0:
        raise FlowError(f"times has shape {array.shape}: pass a vector of increasing times, or None")
    if is_concrete(array):
        values = np.asarray(array)
        if not np.all(np.isfinite(values)) or values[0] < 0 or np.any(np.diff(values) <= 0) or values[-1] == 0:
            raise FlowError("times must be finite, not negative and strictly increasing; see lf.log_times")
        if max_time is not None and is_concrete(max_time) and max_time < values[-1]:
            raise FlowError(f"max_time = {max_time} is before the last of times, {values[-1]}: raise max_time")
    return array


def _check_numbers(dtype, rtol, atol, gradient_rtol, gradient_atol, max_time, norm_bound) -> None:
    """Raises FlowError for numbers out of range; tracers pass."""
    finest = 10 * float(jnp.finfo(dtype).eps)
    for name, value, least, allowed in (
        ("rtol", rtol, finest, f"at least {finest:.1e} in {jnp.dtype(dtype).name}"),
        ("atol", atol, 0.0, "at least 0"),
        ("gradient_rtol", gradient_rtol, 0.0, "at least 0"),
        ("gradient_atol", gradient_atol, 0.0, "at least 0"),
        ("max_time", max_time, np.finfo(float).tiny, "above 0"),
        ("norm_bound", norm_bound, np.finfo(float).tiny, "above 0"),
    ):
        if value is not None and is_concrete(value) and not (least <= float(value) < np.inf):
            raise FlowError(f"{name} = {value}: write a number {allowed}")
    if not (is_concrete(gradient_rtol) and is_concrete(gradient_atol)):
        return
    if gradient_atol == 0 and gradient_rtol < 10 * finest:
        raise FlowError(
            f"gradient_rtol = {gradient_rtol} with gradient_atol = 0 cannot be resolved in {jnp.dtype(dtype).name}: "
            f"write at least {10 * finest:.1e}, or switch on float64"
        )
