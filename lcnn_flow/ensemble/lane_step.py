"""One Rosenbrock step of many flows at once, each with its own time and step size.

The steps, their sizes and the stopping rule are those of `flow.integration` (diffrax's PIDController with its default
coefficients), so that a lane ends where a single flow does, up to rounding. Arrays have the lanes in the last axis, and
the computation is divided into kernels, see `numerics.kernels`. Recording lanes (`lane_record`) also return the curve
of every step.
"""

from functools import partial
from typing import Any, NamedTuple, cast

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from lcnn_flow.dynamics.field import gradient_tolerance
from lcnn_flow.dynamics.recording import Passage, follow_passage
from lcnn_flow.dynamics.settings import FlowSettings
from lcnn_flow.ensemble.lane_record import Curve, GridLanes
from lcnn_flow.losses.classification import MarginLoss
from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.parameters import per_entry
from lcnn_flow.numerics.factors import Factors, Inverse, factor
from lcnn_flow.numerics.kernels import as_kernel, unrolled_sum
from lcnn_flow.numerics.norms import safe_norm
from lcnn_flow.numerics.quadrature import NODES, WEIGHTS
from lcnn_flow.risk.chain_rule import gradient, gradient_and_hessian
from lcnn_flow.risk.linear import LinearRisk
from lcnn_flow.risk.outer import FilterRisk
from lcnn_flow.solvers.rosenbrock import AbstractRosenbrock, RosenbrockTableau, mix, rosenbrock_stages

__all__ = ["LaneStart", "Lanes", "one_step", "speed_weights"]

_SAFETY, _SLOWEST, _FASTEST = 0.9, 0.2, 10.0
_SMALLEST_STEP = 1e-12


class LaneStart(NamedTuple):
    """Initial values and tolerances of every flow, with seeds in the last axis."""

    vector: Float[Array, "n seeds"]
    rtol: Float[Array, " seeds"]
    atol: Float[Array, "N seeds"]
    """One tolerance per layer."""
    least_scale: Float[Array, " seeds"]
    norm_bound: Float[Array, " seeds"]
    max_time: Float[Array, " seeds"]
    first_step: Float[Array, " seeds"]
    part: Float[Array, " seeds"]
    """Fraction of the gradient tolerance at which the integration ends."""


class Lanes(NamedTuple):
    """The current state of every lane."""

    seed: Int[Array, " lanes"]
    """The seed that a lane integrates; the number of seeds for an idle lane."""
    ended: Bool[Array, " lanes"]
    vector: Float[Array, "n lanes"]
    lengths: Float[Array, "2 lanes"]
    """Path length and dissipation up to the current time, see `quadrature`."""
    passage: Passage
    time: Float[Array, " lanes"]
    """Time on the clock of the current integration."""
    step: Float[Array, " lanes"]
    steps: Int[Array, " lanes"]
    """Steps of the current integration."""
    start: LaneStart
    grid: GridLanes | None = None
    """Progress on the grid of times; None if only limits are computed."""


class _Trial(NamedTuple):
    """The step that is tried next in every lane."""

    ended: Bool[Array, " lanes"]
    norm: Float[Array, " lanes"]
    """Norm of the gradient."""
    h: Float[Array, " lanes"]
    stop: Float[Array, " lanes"]
    """Final time of the integration."""


def one_step(risk: LinearRisk, form: FilterRisk, lanes: Lanes, settings: FlowSettings) -> tuple[Lanes, Curve | None]:
    """Tests every lane for its end and tries a step of the others; also returns the curves of the steps of recording
    lanes."""
    w = lanes.vector
    gradient_now, hessian = as_kernel(partial(gradient_and_hessian, risk.arch, form))(w)
    tolerance = jnp.broadcast_to(settings.gradient_atol, lanes.time.shape)
    if settings.relative:
        tolerance = as_kernel(partial(gradient_tolerance, risk, settings=settings))(w, lanes.start.least_scale)
    tolerance = tolerance * lanes.start.part
    if lanes.grid is not None:
        tolerance = jnp.where(lanes.grid.on_grid, -1, tolerance)
    small = as_kernel(safe_norm)(gradient_now) <= tolerance
    if isinstance(risk.loss, MarginLoss):
        small |= as_kernel(partial(type(risk).is_separated, risk))(w) & (tolerance >= 0)
    trial = as_kernel(partial(_begin, settings))(lanes, gradient_now, small)
    factors = as_kernel(partial(_linearize, settings))(hessian, trial)
    new, error, lengths, dense = as_kernel(partial(_try, risk.arch, form, settings))(
        lanes, gradient_now, trial, factors
    )
    vector, lengths, time, step, steps = as_kernel(partial(_judge, risk.arch, settings))(
        lanes, trial, factors.definite, new, error, lengths
    )
    passage = as_kernel(follow_passage)(lanes.passage, trial.norm)
    moved = Lanes(lanes.seed, trial.ended, vector, lengths, passage, time, step, steps, lanes.start, lanes.grid)
    if dense is None:
        return moved, None
    coefficients, squares = dense
    return moved, Curve(w, new, coefficients, squares, lanes.lengths, lanes.time, trial.h)


def _begin(settings: FlowSettings, lanes: Lanes, gradient_now: Array, small: Array) -> _Trial:
    start, norm = lanes.start, as_kernel(safe_norm)(gradient_now)
    stop = start.max_time
    if lanes.grid is not None and settings.times is not None:
        stop = jnp.where(lanes.grid.on_grid, settings.times[-1], stop - lanes.grid.begun)
    given_up = ~(as_kernel(safe_norm)(lanes.vector) <= start.norm_bound) | (lanes.time >= stop)
    given_up |= (lanes.steps >= settings.max_steps) | ~(lanes.step >= _SMALLEST_STEP * start.first_step)
    ended = lanes.ended | small | given_up
    return _Trial(ended, norm, jnp.minimum(lanes.step, stop - lanes.time), stop)


def _linearize(settings: FlowSettings, hessian: Array, trial: _Trial) -> Factors | Inverse:
    """Factors of I/gamma + h Hess L, for the solution of the stages."""
    gamma = _tableau(settings).gamma

    def matrix(hessian: Array, h: Array) -> Array:
        return jnp.eye(len(hessian), dtype=hessian.dtype)[:, :, None] / gamma + h[None, None] * hessian

    return as_kernel(factor)(as_kernel(matrix)(hessian, trial.h))


def _try(
    arch: Architecture,
    form: FilterRisk,
    settings: FlowSettings,
    lanes: Lanes,
    gradient_now: Array,
    trial: _Trial,
    factors: Factors | Inverse,
) -> tuple[Any, ...]:
    """The end of the step, its error estimate, and the path length and dissipation of its dense output.

    For recording lanes also the coefficients of the dense output and its squared speeds.
    """
    tableau, n = _tableau(settings), len(gradient_now)

    def field(g: Array) -> Array:
        return trial.h[None] * -g

    def increment(alpha: Array, point: Array, gamma_sum: Array) -> Array:
        del alpha, gamma_sum  # the flow is autonomous
        return as_kernel(field)(as_kernel(partial(gradient, arch, form))(point))

    def finish(y: Array, stages: Array) -> tuple[Array, Array]:
        return y + mix(tableau.b, stages), mix(tableau.e, stages)

    def squared_speeds(stages: Array) -> Array:
        curve = jnp.stack([mix(row, stages) for row in speed_weights(tableau)])
        return unrolled_sum(n, lambda k: curve[:, k] ** 2)

    def measure(squares: Array) -> Array:
        weights = WEIGHTS.tolist()
        path = unrolled_sum(len(weights), lambda k: weights[k] * jnp.sqrt(squares[k]))
        return jnp.stack([path, unrolled_sum(len(weights), lambda k: weights[k] * squares[k]) / trial.h])

    stages = rosenbrock_stages(
        tableau, lanes.vector, increment, as_kernel(factors.solve), known=as_kernel(field)(gradient_now)
    )
    squares = as_kernel(squared_speeds)(stages)
    found = *as_kernel(finish)(lanes.vector, stages), as_kernel(measure)(squares)
    if lanes.grid is None:
        return *found, None

    def coefficients(stages: Array) -> Array:
        return jnp.stack([mix(row, stages) for row in tableau.dense])

    return *found, (as_kernel(coefficients)(stages), squares)


def speed_weights(tableau: RosenbrockTableau) -> np.ndarray:
    """Weights (nodes, s) that give the derivative of the dense output in theta at the nodes of `quadrature` from the
    stages."""
    first, coefficients = tableau.b, list(tableau.dense)
    value, derivative = np.zeros((len(NODES), len(first))), np.zeros((len(NODES), len(first)))
    theta = NODES[:, None]
    for row in reversed(coefficients):  # d_1 + theta (d_2 + ...)
        value, derivative = row + theta * value, value + theta * derivative
    return first + (1 - 2 * theta) * value + theta * (1 - theta) * derivative


def _tableau(settings: FlowSettings) -> RosenbrockTableau:
    return cast(AbstractRosenbrock, settings.solver).tableau


def _judge(
    arch: Architecture,
    settings: FlowSettings,
    lanes: Lanes,
    trial: _Trial,
    definite: Array,
    new: Array,
    error: Array,
    lengths: Array,
) -> tuple[Any, ...]:
    """Accepts the step or shortens it."""
    order, n = cast(int, cast(AbstractRosenbrock, settings.solver).error_order(None)), len(lanes.vector)

    def measure(start: LaneStart, y: Array, new: Array, error: Array) -> Array:
        scale = per_entry(arch, start.atol) + start.rtol[None] * jnp.maximum(jnp.abs(y), jnp.abs(new))
        return (error / scale) ** 2

    def control(squares: Array, definite: Array, trial: _Trial, lanes: Lanes) -> tuple[Array, ...]:
        size = jnp.sqrt(unrolled_sum(n, lambda k: squares[k]) / n)
        size = jnp.where(definite & jnp.isfinite(size), size, jnp.inf)
        kept = size < 1
        factor = _SAFETY * size ** (-1 / order)
        factor = jnp.clip(factor, jnp.where(kept, 1.0, _SLOWEST), jnp.where(kept, _FASTEST, _SAFETY))
        return kept & ~trial.ended, factor

    def move(moves: Array, factor: Array, trial: _Trial, lanes: Lanes, new: Array, lengths: Array) -> tuple[Array, ...]:
        lands = lanes.step >= trial.stop - lanes.time  # the sum of time and step may be a digit off
        return (
            jnp.where(moves[None], new, lanes.vector),
            jnp.where(moves[None], lanes.lengths + lengths, lanes.lengths),
            jnp.where(moves, jnp.where(lands, trial.stop, lanes.time + trial.h), lanes.time),
            jnp.where(trial.ended, lanes.step, trial.h * factor),
            lanes.steps + (~trial.ended).astype(lanes.steps.dtype),
        )

    squares = as_kernel(measure)(lanes.start, lanes.vector, new, error)
    moves, factor = as_kernel(control)(squares, definite, trial, lanes)
    return as_kernel(move)(moves, factor, trial, lanes, new, lengths)
