"""Integration of many flows at once to the gradient tolerance, in lanes: a lane that ends continues with the next seed.

Lanes share the matrices of the data, have their own time and step size, and do not wait for each other (`lane_step`). A
lane that cannot continue (too many steps, no accepted step, filters beyond the norm bound, numbers that are not finite)
is ended as it is, and `flow.search` determines the cause. If times are given, a lane records its flow up to the last of
them (`lane_record`) before it continues to the gradient tolerance.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from lcnn_flow.dynamics.field import start_scales
from lcnn_flow.dynamics.recording import Passage, no_passage
from lcnn_flow.dynamics.settings import FlowSettings
from lcnn_flow.ensemble.lane_record import GridLanes, begin_on_grid, blank_table, off_grid, record
from lcnn_flow.ensemble.lane_step import Lanes, LaneStart, one_step
from lcnn_flow.numerics.kernels import as_kernel
from lcnn_flow.risk.linear import LinearRisk

__all__ = ["LanesEnd", "integrate_lanes"]

_STEPS_BETWEEN_REFILLS = 2
_STEPS_WITH_TIMES = 8
"""Steps between refills with times, where flows are much longer: a refill costs a quarter of a step (measured, CPU)."""


class LanesEnd(NamedTuple):
    """The final state of every flow, with seeds in the last axis."""

    vector: Float[Array, "n seeds"]
    path_length: Float[Array, " seeds"]
    dissipation: Float[Array, " seeds"]
    passage: Passage
    time: Float[Array, " seeds"]
    steps: Int[Array, " seeds"]


class _Ended(NamedTuple):
    """The final states of flows that have ended."""

    numbers: Float[Array, "n+6 seeds"]
    """Filters, lengths, passage and time."""
    steps: Int[Array, " seeds"]

    def end(self) -> LanesEnd:
        n = len(self.numbers) - 6
        path_length, dissipation, largest, smallest, rebound, time = self.numbers[n:]
        passage = Passage(largest, smallest, rebound)
        return LanesEnd(self.numbers[:n], path_length, dissipation, passage, time, self.steps)


class _Queue(NamedTuple):
    lanes: Lanes
    next: Int[Array, ""]
    ends: _Ended
    on_grid: _Ended | None
    """States at the last of the times; the start if it was not reached. None without times."""


def integrate_lanes(
    risk: LinearRisk,
    start: LaneStart,
    order: Int[Array, " seeds"],
    count: Int[Array, ""],
    width: int,
    settings: FlowSettings,
) -> tuple[LanesEnd, LanesEnd | None, Float[Array, "seeds T k"] | None]:
    """Integrates the first `count` flows of `order`, `width` at a time, to the gradient tolerance.

    Args:
        risk: one risk for all flows.
        start: all initial filters with their tolerances.
        order: the seeds in the order in which lanes integrate them.
        count: how many of them; the others stay at their start.
        width: number of lanes.
        settings: `FlowSettings` with a Rosenbrock solver.

    Returns:
        The final states; with `times` also the states at the last of the times (the start if it was not reached), and
        the filters, path length and dissipation at all times, NaN where not reached.
    """
    n, seeds = start.vector.shape
    form, times = risk.driver(width), settings.times
    dtype = start.vector.dtype
    grid = None if times is None else begin_on_grid(times, width)
    blank = Lanes(
        seed=jnp.full((width,), seeds),
        ended=jnp.ones((width,), bool),
        vector=jnp.zeros((n, width), dtype),
        lengths=jnp.zeros((2, width), dtype),
        passage=no_passage(jnp.zeros((width,), dtype)),
        time=jnp.zeros((width,), dtype),
        step=jnp.ones((width,), dtype),
        steps=jnp.zeros((width,), jnp.int32),
        start=_take(start, jnp.zeros((width,), int)),
        grid=None if grid is None else grid._replace(on_grid=jnp.zeros((width,), bool)),
    )
    nothing = _Ended(jnp.concatenate([start.vector, jnp.zeros((6, seeds), dtype)]), jnp.zeros((seeds,), jnp.int32))
    table = None if times is None else blank_table(times, start.vector)
    queue = _Queue(blank, jnp.asarray(0), nothing, None if times is None else nothing)

    between = _STEPS_BETWEEN_REFILLS if times is None else _STEPS_WITH_TIMES

    def step(state: tuple[Any, ...]) -> tuple[Any, ...]:
        lanes, table = state
        lanes, curve = one_step(risk, form, lanes, settings)
        if curve is not None and lanes.grid is not None and times is not None:
            table, cursor = record(table, times, curve, lanes.time, lanes.grid, lanes.seed)
            lanes = lanes._replace(grid=lanes.grid._replace(cursor=cursor))
        return lanes, table

    def advance(state: tuple[Any, ...]) -> tuple[Any, ...]:
        queue, table = state
        if times is not None:
            queue = as_kernel(lambda queue: _leave_grid(risk, queue, settings))(queue)
        queue = as_kernel(_refill)(queue, start, grid, order, count)
        lanes, table = lax.fori_loop(0, between, lambda _, x: step(x), (queue.lanes, table))
        return queue._replace(lanes=lanes), table

    def going(state: tuple[Any, ...]) -> Array:
        queue = state[0]
        return (queue.next < count) | jnp.any(queue.lanes.seed < seeds)

    last, table = lax.while_loop(going, advance, (queue, table))
    return last.ends.end(), None if last.on_grid is None else last.on_grid.end(), table


def _take(start: LaneStart, seeds: Array) -> LaneStart:
    return LaneStart(*(x[..., seeds] for x in start))


def _write(left: _Ended, lanes: Lanes, which: Array) -> _Ended:
    """Stores the final states of the lanes selected by `which`."""
    time, steps = lanes.time, lanes.steps
    if lanes.grid is not None:
        time, steps = lanes.grid.begun + time, lanes.grid.spent + steps
    states = jnp.concatenate([lanes.vector, lanes.lengths, jnp.stack([*lanes.passage, time])])
    where = jnp.where(which, lanes.seed, left.steps.size)
    numbers = left.numbers.at[:, where].set(states, mode="drop")
    return _Ended(numbers, left.steps.at[where].set(steps, mode="drop"))


def _renewed(fresh: Array, new: Array, old: Array) -> Array:
    return jnp.where(fresh if new.ndim == 1 else fresh[None], new, old)


def _leave_grid(risk: LinearRisk, queue: _Queue, settings: FlowSettings) -> _Queue:
    """Starts the integration to the gradient tolerance in the lanes that have reached the last of the times."""
    lanes, times = queue.lanes, settings.times
    assert lanes.grid is not None
    assert queue.on_grid is not None
    assert times is not None
    leaves = lanes.ended & lanes.grid.on_grid & (lanes.time >= times[-1])
    on_grid = _write(queue.on_grid, lanes, leaves)
    first = start_scales(risk, lanes.vector, settings).first_step
    first = jnp.where(leaves, first, lanes.start.first_step)
    gone = off_grid(lanes.grid, times[-1], lanes.steps)
    lanes = lanes._replace(
        ended=lanes.ended & ~leaves,
        time=jnp.where(leaves, 0, lanes.time),
        step=jnp.where(leaves, first, lanes.step),
        steps=jnp.where(leaves, 0, lanes.steps),
        start=lanes.start._replace(first_step=first),
        grid=GridLanes(*(_renewed(leaves, new, old) for new, old in zip(gone, lanes.grid, strict=True))),
    )
    return queue._replace(lanes=lanes, on_grid=on_grid)


def _refill(queue: _Queue, start: LaneStart, grid: GridLanes | None, order: Array, count: Array) -> _Queue:
    """Stores the lanes that have ended and gives each of them the next seed in order."""
    lanes, seeds = queue.lanes, queue.ends.steps.size
    ends = _write(queue.ends, lanes, lanes.ended)
    place = queue.next + jnp.cumsum(lanes.ended) - 1
    fresh = lanes.ended & (place < count)
    seed = order[jnp.where(fresh, place, 0)]
    given = _take(start, seed)

    def renew(new: Array, old: Array) -> Array:
        return _renewed(fresh, new, old)

    idle = lanes.ended & ~fresh
    if grid is not None and lanes.grid is not None:
        grid = GridLanes(*(renew(new, old) for new, old in zip(grid, lanes.grid, strict=True)))
        grid = grid._replace(on_grid=grid.on_grid & ~idle)
    lanes = Lanes(
        seed=jnp.where(lanes.ended, jnp.where(fresh, seed, seeds), lanes.seed),
        ended=idle,
        vector=renew(given.vector, lanes.vector),
        lengths=renew(jnp.zeros_like(lanes.lengths), lanes.lengths),
        passage=Passage(*map(renew, no_passage(jnp.zeros_like(lanes.time)), lanes.passage)),
        time=renew(jnp.zeros_like(lanes.time), lanes.time),
        step=renew(given.first_step, lanes.step),
        steps=renew(jnp.zeros_like(lanes.steps), lanes.steps),
        start=LaneStart(*(renew(new, old) for new, old in zip(given, lanes.start, strict=True))),
        grid=grid,
    )
    return queue._replace(lanes=lanes, next=queue.next + jnp.sum(fresh), ends=ends)
