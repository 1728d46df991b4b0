"""Many flows to the gradient tolerance side by side, in lanes: a lane that ends takes up the next seed.

Lanes share the matrices of the data, keep their own time and step size, and wait for nobody (`lane_step`). A lane that
cannot go on (too many steps, no step accepted, filters beyond the norm bound, numbers that are not finite) is given up
as it is; what it means is for `flow.search` to find out.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from lcnn_flow.dynamics.recording import Passage, no_passage
from lcnn_flow.dynamics.settings import FlowSettings
from lcnn_flow.ensemble.lane_step import Lanes, LaneStart, one_step
from lcnn_flow.numerics.kernels import unit
from lcnn_flow.risk.linear import LinearRisk

__all__ = ["LanesEnd", "integrate_lanes"]

_STEPS_BETWEEN_REFILLS = 2


class LanesEnd(NamedTuple):
    """Where every flow was left, seeds last."""

    vector: Float[Array, "n seeds"]
    path_length: Float[Array, " seeds"]
    dissipation: Float[Array, " seeds"]
    passage: Passage
    time: Float[Array, " seeds"]
    steps: Int[Array, " seeds"]


class _Queue(NamedTuple):
    lanes: Lanes
    next: Int[Array, ""]
    numbers: Float[Array, "n+6 seeds"]
    """What is left of the flows that have ended: filters, lengths, passage, time."""
    steps: Int[Array, " seeds"]


def integrate_lanes(
    risk: LinearRisk,
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
    blank = Lanes(
        seed=jnp.full((width,), seeds),
        ended=jnp.ones((width,), bool),
        vector=jnp.zeros((n, width), start.vector.dtype),
        lengths=jnp.zeros((2, width), start.vector.dtype),
        passage=no_passage(jnp.zeros((width,), start.vector.dtype)),
        time=jnp.zeros((width,), start.vector.dtype),
        step=jnp.ones((width,), start.vector.dtype),
        steps=jnp.zeros((width,), jnp.int32),
        start=_take(start, jnp.zeros_like(first)),
    )
    numbers = jnp.concatenate([start.vector, jnp.zeros((6, seeds), start.vector.dtype)])
    queue = _Queue(blank, jnp.asarray(0), numbers, jnp.zeros((seeds,), jnp.int32))

    def advance(queue: _Queue) -> _Queue:
        queue = unit(_refill)(queue, start, order, count)
        lanes = lax.fori_loop(0, _STEPS_BETWEEN_REFILLS, lambda _, x: one_step(risk, form, x, settings), queue.lanes)
        return queue._replace(lanes=lanes)

    def going(queue: _Queue) -> Array:
        return (queue.next < count) | jnp.any(queue.lanes.seed < seeds)

    last = lax.while_loop(going, advance, queue)
    path_length, dissipation, largest, smallest, rebound, time = last.numbers[n:]
    passage = Passage(largest, smallest, rebound)
    return LanesEnd(last.numbers[:n], path_length, dissipation, passage, time, last.steps)


def _take(start: LaneStart, seeds: Array) -> LaneStart:
    return LaneStart(*(x[..., seeds] for x in start))


def _refill(queue: _Queue, start: LaneStart, order: Array, count: Array) -> _Queue:
    """Writes out the lanes that have ended and gives each the next seed in order."""
    lanes, seeds = queue.lanes, queue.steps.size
    states = jnp.concatenate([lanes.vector, lanes.lengths, jnp.stack([*lanes.passage, lanes.time])])
    where = jnp.where(lanes.ended, lanes.seed, seeds)
    numbers = queue.numbers.at[:, where].set(states, mode="drop")
    steps = queue.steps.at[where].set(lanes.steps, mode="drop")
    place = queue.next + jnp.cumsum(lanes.ended) - 1
    fresh = lanes.ended & (place < count)
    seed = order[jnp.where(fresh, place, 0)]
    given = _take(start, seed)

    def renew(new: Array, old: Array) -> Array:
        return jnp.where(fresh if new.ndim == 1 else fresh[None], new, old)

    lanes = Lanes(
        seed=jnp.where(lanes.ended, jnp.where(fresh, seed, seeds), lanes.seed),
        ended=lanes.ended & ~fresh,
        vector=renew(given.vector, lanes.vector),
        lengths=renew(jnp.zeros_like(lanes.lengths), lanes.lengths),
        passage=Passage(*map(renew, no_passage(jnp.zeros_like(lanes.time)), lanes.passage)),
        time=renew(jnp.zeros_like(lanes.time), lanes.time),
        step=renew(given.first_step, lanes.step),
        steps=renew(jnp.zeros_like(lanes.steps), lanes.steps),
        start=LaneStart(*(renew(new, old) for new, old in zip(given, lanes.start, strict=True))),
    )
    return _Queue(lanes, queue.next + jnp.sum(fresh), numbers, steps)
