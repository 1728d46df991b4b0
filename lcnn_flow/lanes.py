"""Many flows to the gradient tolerance side by side, in lanes: a lane that ends takes up the next seed.

One Rosenbrock step of all lanes is a chain of small kernels over arrays with the lanes last; lanes share the matrices
of the data, keep their own time and step size, and wait for nobody. The steps, their sizes and the stopping rule are
those of `flow_search.integrate` (diffrax's PIDController with its default coefficients), so that a lane ends where
a single flow does, up to rounding. A lane that cannot go on (too many steps, no step accepted, filters beyond the norm
bound, numbers that are not finite) is given up as it is; what it means is for `flow_search` to find out.
"""

from typing import Any, NamedTuple, cast

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lcnn_flow.chain_rule import gradient, gradient_and_hessian
from lcnn_flow.flow_field import gradient_tolerance, safe_norm
from lcnn_flow.flow_settings import FlowSettings
from lcnn_flow.network import spread
from lcnn_flow.risk import EmpiricalRisk
from lcnn_flow.solvers.linear_algebra import invert_positive_definite
from lcnn_flow.solvers.rosenbrock import AbstractRosenbrock, mix, rosenbrock_stages

__all__ = ["LaneStart", "LanesEnd", "integrate_lanes"]

_STEPS_BETWEEN_REFILLS = 2
_SAFETY, _SLOWEST, _FASTEST = 0.9, 0.2, 10.0
_SMALLEST_STEP = 1e-12


class LaneStart(NamedTuple):
    """What every flow begins with, seeds last."""

    vector: Float[Array, "n seeds"]
    atol: Float[Array, "N seeds"]
    """A layer."""
    least_scale: Float[Array, " seeds"]
    norm_bound: Float[Array, " seeds"]
    max_time: Float[Array, " seeds"]
    first_step: Float[Array, " seeds"]


class LanesEnd(NamedTuple):
    """Where every flow was left, seeds last."""

    vector: Float[Array, "n seeds"]
    path_length: Float[Array, " seeds"]
    energy: Float[Array, " seeds"]
    time: Float[Array, " seeds"]
    steps: Int[Array, " seeds"]


class _Lanes(NamedTuple):
    seed: Int[Array, " lanes"]
    """The seed a lane serves; the number of seeds where it serves none."""
    ended: Bool[Array, " lanes"]
    vector: Float[Array, "n lanes"]
    lengths: Float[Array, "2 lanes"]
    """Path length and energy so far."""
    time: Float[Array, " lanes"]
    step: Float[Array, " lanes"]
    steps: Int[Array, " lanes"]
    start: LaneStart


class _Queue(NamedTuple):
    lanes: _Lanes
    next: Int[Array, ""]
    numbers: Float[Array, "n+3 seeds"]
    steps: Int[Array, " seeds"]


def integrate_lanes(
    risk: EmpiricalRisk,
    start: LaneStart,
    order: Int[Array, " seeds"],
    count: Int[Array, ""],
    width: int,
    settings: FlowSettings,
) -> LanesEnd:
    """Integrates the first `count` flows of `order`, `width` at a time, to the gradient tolerance.

    Args:
        risk: one risk for all.
        start: all initial filters with their tolerances.
        order: the seeds in the order in which lanes take them up.
        count: how many of them; the others stay at their start.
        width: number of lanes.
        settings: `FlowSettings` with a Rosenbrock solver.
    """
    n, seeds = start.vector.shape
    form = risk.driver(width)
    first = jnp.arange(width)
    blank = _Lanes(
        seed=jnp.full((width,), seeds),
        ended=jnp.ones((width,), bool),
        vector=jnp.zeros((n, width), start.vector.dtype),
        lengths=jnp.zeros((2, width), start.vector.dtype),
        time=jnp.zeros((width,), start.vector.dtype),
        step=jnp.ones((width,), start.vector.dtype),
        steps=jnp.zeros((width,), jnp.int32),
        start=_take(start, jnp.zeros_like(first)),
    )
    numbers = jnp.concatenate([start.vector, jnp.zeros((3, seeds), start.vector.dtype)])
    queue = _Queue(blank, jnp.asarray(0), numbers, jnp.zeros((seeds,), jnp.int32))

    def advance(queue: _Queue) -> _Queue:
        queue = _refill(queue, start, order, count)
        lanes = lax.fori_loop(0, _STEPS_BETWEEN_REFILLS, lambda _, x: _one_step(risk, form, x, settings), queue.lanes)
        return queue._replace(lanes=lanes)

    def going(queue: _Queue) -> Array:
        return (queue.next < count) | jnp.any(queue.lanes.seed < seeds)

    last = lax.while_loop(going, advance, queue)
    return LanesEnd(last.numbers[:n], last.numbers[n], last.numbers[n + 1], last.numbers[n + 2], last.steps)


def _take(start: LaneStart, seeds: Array) -> LaneStart:
    return LaneStart(*(x[..., seeds] for x in start))


def _refill(queue: _Queue, start: LaneStart, order: Array, count: Array) -> _Queue:
    """Writes out the lanes that have ended and gives each the next seed in order."""
    lanes, seeds = queue.lanes, queue.steps.size
    states = jnp.concatenate([lanes.vector, lanes.lengths, lanes.time[None]])
    where = jnp.where(lanes.ended, lanes.seed, seeds)
    numbers = queue.numbers.at[:, where].set(states, mode="drop")
    steps = queue.steps.at[where].set(lanes.steps, mode="drop")
    place = queue.next + jnp.cumsum(lanes.ended) - 1
    fresh = lanes.ended & (place < count)
    seed = order[jnp.where(fresh, place, 0)]
    given = _take(start, seed)

    def renew(new: Array, old: Array) -> Array:
        return jnp.where(fresh if new.ndim == 1 else fresh[None], new, old)

    lanes = _Lanes(
        seed=jnp.where(lanes.ended, jnp.where(fresh, seed, seeds), lanes.seed),
        ended=lanes.ended & ~fresh,
        vector=renew(given.vector, lanes.vector),
        lengths=renew(jnp.zeros_like(lanes.lengths), lanes.lengths),
        time=renew(jnp.zeros_like(lanes.time), lanes.time),
        step=renew(given.first_step, lanes.step),
        steps=renew(jnp.zeros_like(lanes.steps), lanes.steps),
        start=LaneStart(*(renew(new, old) for new, old in zip(given, lanes.start, strict=True))),
    )
    return _Queue(lanes, queue.next + jnp.sum(fresh), numbers, steps)


def _one_step(risk: EmpiricalRisk, form: Any, lanes: _Lanes, settings: FlowSettings) -> _Lanes:
    """Tests every lane, and tries a step of those that have not ended."""
    arch, start, solver = risk.arch, lanes.start, cast(AbstractRosenbrock, settings.solver)
    tableau = solver.tableau
    w, n = lanes.vector, lanes.vector.shape[0]
    slope, hessian = gradient_and_hessian(arch, form, w)
    norm = safe_norm(slope)
    tolerance = settings.gradient_atol
    if settings.relative:
        tolerance = gradient_tolerance(risk, w, start.least_scale, settings)
    small = norm <= tolerance
    given_up = ~(safe_norm(w) <= start.norm_bound) | (lanes.time >= start.max_time)
    given_up |= (lanes.steps >= settings.max_steps) | ~(lanes.step >= _SMALLEST_STEP * start.first_step)
    ended = lanes.ended | small | given_up

    h = jnp.minimum(lanes.step, start.max_time - lanes.time)
    identity = jnp.eye(n, dtype=w.dtype)[:, :, None] / tableau.gamma
    inverse = invert_positive_definite(identity + h[None, None] * hessian)
    turn = jnp.sum(hessian * slope[None], axis=1)
    bends = h[None, None] * jnp.stack([turn / jnp.where(norm > 0, norm, 1)[None], 2 * turn])

    def solve(rhs: Array) -> Array:
        u = inverse @ rhs[:n]
        lengths = tableau.gamma * (rhs[n:] + jnp.sum(bends * u[None], axis=1))
        return jnp.concatenate([u, lengths])

    def field(g: Array) -> Array:
        return h[None] * jnp.concatenate([-g, safe_norm(g)[None], jnp.sum(g**2, axis=0)[None]])

    def increment(alpha: Array, point: Array, gamma_sum: Array) -> Array:
        del alpha, gamma_sum  # the flow is autonomous
        return field(gradient(arch, form, point[:n]))

    y = jnp.concatenate([w, lanes.lengths])
    stages = rosenbrock_stages(tableau, y, increment, solve, known=field(slope))
    new, error = y + mix(tableau.b, stages), mix(tableau.e, stages[:, :n])
    w_new = new[:n]
    atol = spread(arch, start.atol)
    size = jnp.sqrt(jnp.mean((error / (atol + settings.rtol * jnp.maximum(jnp.abs(w), jnp.abs(w_new)))) ** 2, axis=0))
    size = jnp.where(inverse.definite & jnp.isfinite(size), size, jnp.inf)
    kept = size < 1
    factor = _SAFETY * size ** (-1 / cast(int, solver.error_order(None)))
    factor = jnp.clip(factor, jnp.where(kept, 1.0, _SLOWEST), jnp.where(kept, _FASTEST, _SAFETY))
    moves = kept & ~ended
    return _Lanes(
        seed=lanes.seed,
        ended=ended,
        vector=jnp.where(moves[None], w_new, w),
        lengths=jnp.where(moves[None], new[n:], lanes.lengths),
        time=jnp.where(moves, lanes.time + h, lanes.time),
        step=jnp.where(ended, lanes.step, h * factor),
        steps=lanes.steps + ~ended,
        start=start,
    )
