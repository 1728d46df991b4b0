"""Options of a flow: their defaults, and all checks that are possible before compilation."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any

import diffrax
import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lcnn_flow.dynamics.observing import check_record
from lcnn_flow.errors import FlowError
from lcnn_flow.network.parameters import ParamsLike
from lcnn_flow.numerics.arrays import DType, is_concrete, warn_where_narrowed
from lcnn_flow.numerics.pytrees import HashableTree
from lcnn_flow.solvers import Rodas4

__all__ = ["FlowOptions", "FlowSettings", "Number", "flow_settings", "log_times", "takes_options"]


Number = float | np.floating | np.ndarray | Array
"""A number of Python, numpy or JAX, which may be traced."""
_MAX_STEPS = 4096
_ORDINARY_RTOL = 1e-6


@dataclass(frozen=True)
class FlowOptions:
    """Options of `gradient_flow` and `gradient_flow_ensemble`, which accept them as keywords."""

    times: Array | np.ndarray | Sequence[Any] | None = None
    """Increasing times, for example `log_times(1e-3, 1e6, 200)`, at which the trajectory is recorded. Integration
    always reaches the last of them before it continues to the limit. None: only the limit is computed."""
    rtol: Number | None = None
    """Relative local error tolerance for the parameters: 1e-3 without `times` and 1e-6 with them (1e-4 in float32), and
    smaller where the curvature of the loss changes on a scale small against the residuals; 1e-6 (1e-5 in float32) for a
    function known only through its values."""
    atol: Number | None = None
    """Absolute local error tolerance in units of parameters; by default rtol times a tenth of the rms initial entry of
    the layer."""
    gradient_rtol: Number | None = None
    """Gradient norm, relative to its scale, below which a flow counts as at rest: 1e-8 in float64, 1e-4 in float32."""
    gradient_atol: Number = 0.0
    """Gradient norm below which a flow counts as at rest, in units of risk/parameter."""
    max_time: Number | None = None
    """Largest time; 1e16 times the largest |w_l|/|grad_l L| at the start by default, with the gradient replaced by its
    scale."""
    max_steps: int | None = None
    """Maximum number of steps in each round of integration; 4,096 by default, and more for rtol below 1e-6, in
    proportion to rtol^(-1/4)."""
    norm_bound: Number | None = None
    """Largest |w| before the flow counts as DIVERGED; by default 1e6 times the larger of |w(0)| and the size of filters
    that fit the targets; where that size is unknown (functions, networks with activations) 1e20 times |w(0)|, and 1e9
    times in float32. By default a flow that theory bounds (P of full column rank, coercive loss, single channel)
    never counts as DIVERGED."""
    solver: diffrax.AbstractSolver[Any] | None = None
    """Any diffrax solver; `Rodas4()` by default. Rosenbrock methods receive the exact symmetric Hessian."""
    polish: bool = True
    """Whether the limit is refined by Newton's method on the invariant leaf."""
    adjoint: diffrax.AbstractAdjoint | None = None
    """diffrax adjoint for the trajectory; `diffrax.ForwardMode()` for forward-mode differentiation."""
    unsound_derivative: str = "nan"
    """Value of the derivative of `limit` where the derivative does not exist: "nan" or "zero"."""
    record: Mapping[str, Callable[..., Any]] | None = None
    """Observables of the user at `times`, {"name": fn}, with fn(params), fn(risk, params) or fn(risk, params, start);
    the number of required arguments selects the call, see `lf.observables`. A function object is compiled once."""


class FlowSettings(eqx.Module):
    """Checked options of `gradient_flow`; numbers are leaves, so that other numbers need no new compilation."""

    times: Float[Array, " T"] | None
    rtol: Float[Array, ""]
    atol: Float[Array, ""] | None
    gradient_rtol: Float[Array, ""]
    gradient_atol: Float[Array, ""]
    max_time: Float[Array, ""] | None
    norm_bound: Float[Array, ""] | None
    record: HashableTree | None
    solver: diffrax.AbstractSolver[Any]
    adjoint: diffrax.AbstractAdjoint
    max_steps: int = eqx.field(static=True)
    polish: bool = eqx.field(static=True)
    unsound_derivative: str = eqx.field(static=True)
    adapts_rtol: bool = eqx.field(static=True)
    """Whether rtol is the default, which is reduced where the curvature of the loss changes rapidly."""
    relative: bool = eqx.field(static=True)
    """Whether gradient_rtol may be positive; otherwise the stopping rule does not need the scale of the gradient."""


def log_times(start: float, stop: float, count: int) -> Float[np.ndarray, " count"]:
    """`count` times spaced evenly on a logarithmic scale, from `start` > 0 to `stop`, both included.

    Args:
        start: the first time, above 0.
        stop: the last time, above `start`.
        count: number of times, at least 2.

    Returns:
        (count,) times, increasing.

    Raises:
        FlowError: not 0 < start < stop, or fewer than 2 times.
    """
    if not (0 < start < stop < np.inf) or count < 2:
        raise FlowError(f"log_times({start}, {stop}, {count}): needs 0 < start < stop and at least 2 times")
    times = np.geomspace(start, stop, count)
    times[0], times[-1] = start, stop
    return times


def flow_settings(layers: ParamsLike, **options: Any) -> FlowSettings:
    """Checks options and sets the defaults for the precision of the parameters.

    Raises:
        FlowError: options are unknown or contradictory, or a tolerance is below what the precision resolves.
    """
    names = [field.name for field in fields(FlowOptions)]
    for name in options:
        if name not in names:
            near = get_close_matches(name, names, 1)
            raise FlowError(f"unknown option {name!r}: " + (f"did you mean {near[0]}?" if near else ", ".join(names)))
    return _checked(layers, FlowOptions(**options))


def takes_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Shows the fields of `FlowOptions` in the signature of a function that takes them as **options."""
    signature = inspect.signature(function)
    keyword = inspect.Parameter.KEYWORD_ONLY
    shown = [p for p in signature.parameters.values() if p.kind != p.VAR_KEYWORD]
    shown += [inspect.Parameter(f.name, keyword, default=f.default, annotation=f.type) for f in fields(FlowOptions)]
    function.__signature__ = signature.replace(parameters=shown)  # pyright: ignore[reportFunctionMemberAccess]
    return function


def _checked(layers: ParamsLike, options: FlowOptions) -> FlowSettings:
    for w in layers:
        warn_where_narrowed(w)
    dtype = jnp.result_type(*layers)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise FlowError(f"params have dtype {dtype}: pass floating-point filters")
    double, times, rtol, gradient_rtol = jnp.finfo(dtype).bits >= 64, options.times, options.rtol, options.gradient_rtol
    if rtol is None:
        rtol = 1e-3 if times is None else (1e-6 if double else 1e-4)
    if gradient_rtol is None:
        gradient_rtol = 1e-8 if double else 1e-4
    _check_numbers(dtype, replace(options, rtol=rtol, gradient_rtol=gradient_rtol))
    max_steps = _default_max_steps(rtol) if options.max_steps is None else options.max_steps
    if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
        raise FlowError(f"max_steps = {max_steps!r}: write an integer of at least 1")
    if options.unsound_derivative not in ("nan", "zero"):
        raise FlowError(f"unsound_derivative = {options.unsound_derivative!r}: write 'nan' or 'zero'")

    def number(x: Number | None) -> Array | None:
        return None if x is None else jnp.asarray(x, dtype)

    return FlowSettings(
        times=_check_times(times, options.max_time, dtype),
        rtol=jnp.asarray(rtol, dtype),
        atol=number(options.atol),
        gradient_rtol=jnp.asarray(gradient_rtol, dtype),
        gradient_atol=jnp.asarray(options.gradient_atol, dtype),
        max_time=number(options.max_time),
        norm_bound=number(options.norm_bound),
        record=_checked_record(options.record, times),
        solver=Rodas4() if options.solver is None else options.solver,
        adjoint=diffrax.RecursiveCheckpointAdjoint() if options.adjoint is None else options.adjoint,
        max_steps=max_steps,
        polish=bool(options.polish),
        unsound_derivative=options.unsound_derivative,
        adapts_rtol=options.rtol is None,
        relative=not (is_concrete(gradient_rtol) and gradient_rtol == 0),
    )


def _checked_record(record: Any, times: Any) -> HashableTree | None:
    found = check_record(record, FlowError)
    if found is not None and times is None:
        raise FlowError("record is evaluated at times, but there are none: write times=lf.log_times(1e-3, 1e6, 200)")
    return found


def _default_max_steps(rtol: Number) -> int:
    """4,096, and more for rtol below 1e-6: the number of steps of a method of order 4 is proportional to
    rtol^(-1/4)."""
    if not is_concrete(rtol) or not 0 < float(rtol) < _ORDINARY_RTOL:
        return _MAX_STEPS
    return _MAX_STEPS * 2 ** math.ceil(math.log2(_ORDINARY_RTOL / float(rtol)) / 4)


def _check_times(times: Any, max_time: Any, dtype: DType) -> Array | None:
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


def _check_numbers(dtype: DType, options: FlowOptions) -> None:
    """Raises FlowError for numbers out of range; tracers are not checked."""
    finest = 10 * float(jnp.finfo(dtype).eps)
    gradient_rtol, gradient_atol = options.gradient_rtol, options.gradient_atol
    for name, least, allowed in (
        ("rtol", finest, f"at least {finest:.1e} in {jnp.dtype(dtype).name}"),
        ("atol", 0.0, "at least 0"),
        ("gradient_rtol", 0.0, "at least 0"),
        ("gradient_atol", 0.0, "at least 0"),
        ("max_time", np.finfo(float).tiny, "above 0"),
        ("norm_bound", np.finfo(float).tiny, "above 0"),
    ):
        value = getattr(options, name)
        if value is not None and is_concrete(value) and not (least <= float(value) < np.inf):
            raise FlowError(f"{name} = {value}: write a number {allowed}")
    if not (is_concrete(gradient_rtol) and is_concrete(gradient_atol)):
        return
    if gradient_atol == 0 and gradient_rtol is not None and gradient_rtol < 10 * finest:
        raise FlowError(
            f"gradient_rtol = {gradient_rtol} with gradient_atol = 0 cannot be resolved in {jnp.dtype(dtype).name}: "
            f"write at least {10 * finest:.1e}, or switch on float64"
        )
