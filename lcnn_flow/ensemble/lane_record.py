"""What lanes record on a grid of times, from the dense output of their steps.

A lane first runs through the grid, where no gradient is small enough to stop at, and then to the gradient tolerance:
two integrations, as those of `flow.single`, each with a clock, a first step and a number of steps of its own. On the
grid every lane has a cursor, the next time that it will pass. A step from t_0 to t_1 writes its curve at all times
with t_0 < t <= t_1 into the row of its seed, a few at a time, and moves the cursor on. A table has k = n + 2 columns:
the filters, path length and dissipation.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lcnn_flow.numerics.kernels import total, unit
from lcnn_flow.numerics.quadrature import partial_weights

__all__ = ["Curve", "GridLanes", "begin_on_grid", "blank_table", "off_grid", "record"]

_AT_ONCE = 4
"""Times that a lane writes in one pass."""


class GridLanes(NamedTuple):
    """How far every lane is, of lanes that record."""

    on_grid: Bool[Array, " lanes"]
    """The last of the times has not been reached."""
    cursor: Int[Array, " lanes"]
    begun: Float[Array, " lanes"]
    """When the present integration began: the zero of its clock."""
    spent: Int[Array, " lanes"]
    """Steps of the integration before."""


class Curve(NamedTuple):
    """The dense output of one step, as `RosenbrockInterpolation`."""

    start: Float[Array, "n lanes"]
    end: Float[Array, "n lanes"]
    bends: Float[Array, "r n lanes"]
    squared_speeds: Float[Array, "nodes lanes"]
    """|dw/dtheta|^2 at the nodes of `quadrature`."""
    lengths: Float[Array, "2 lanes"]
    """Path length and dissipation before it."""
    time: Float[Array, " lanes"]
    """When it begins."""
    h: Float[Array, " lanes"]


def begin_on_grid(times: Float[Array, " T"], lanes: int) -> GridLanes:
    """Lanes at time 0, which is passed already."""
    zero = jnp.zeros((lanes,), jnp.int32)
    passed = jnp.sum(times <= 0, dtype=jnp.int32)
    return GridLanes(jnp.ones((lanes,), bool), zero + passed, jnp.zeros((lanes,), times.dtype), zero)


def off_grid(grid: GridLanes, last: Float[Array, ""], steps: Int[Array, " lanes"]) -> GridLanes:
    """Lanes that have come to the last of the times after so many steps, and set a new clock there."""
    return GridLanes(jnp.zeros_like(grid.on_grid), grid.cursor, jnp.broadcast_to(last, grid.begun.shape), steps)


def blank_table(times: Float[Array, " T"], vectors: Float[Array, "n seeds"]) -> Float[Array, "seeds T k"]:
    """Filters, path length and dissipation at all times: NaN but at time 0."""
    begins = jnp.concatenate([vectors.T, jnp.zeros((vectors.shape[1], 2), vectors.dtype)], axis=1)
    return jnp.where((times <= 0)[None, :, None], begins[:, None], jnp.nan)


def record(
    table: Float[Array, "seeds T k"],
    times: Float[Array, " T"],
    curve: Curve,
    now: Float[Array, " lanes"],
    grid: GridLanes,
    seed: Int[Array, " lanes"],
) -> tuple[Float[Array, "seeds T k"], Int[Array, " lanes"]]:
    """Writes what every lane has passed on its way to `now`, and moves its cursor on.

    Args:
        table: of all seeds of the block.
        times: the grid.
        curve: the step of every lane.
        now: the time of every lane after it; that of `curve` where it was not taken.
        grid: the lanes.
        seed: whom a lane serves; past the last where it serves nobody.
    """
    padded = jnp.concatenate([times, jnp.full((_AT_ONCE,), jnp.inf, times.dtype)])
    end = jnp.where(grid.on_grid, now, -jnp.inf)
    ahead = jnp.arange(_AT_ONCE, dtype=grid.cursor.dtype)[:, None]

    def look(cursor: Array, end: Array) -> tuple[Array, Array]:
        index = cursor[None] + ahead
        time = padded[index]
        return time, time <= end[None]

    def more(state: Any) -> Array:
        return jnp.any(padded[state[1]] <= end)

    def write(state: Any) -> tuple[Array, Array]:
        table, cursor = state
        time, passed = unit(look)(cursor, end)
        rows = jnp.where(passed, cursor[None] + ahead, times.size)
        values = jnp.moveaxis(unit(_on_curve)(curve, time, passed), 1, 2)
        table = table.at[seed[None], rows].set(values, mode="drop")
        return table, cursor + jnp.sum(passed, axis=0, dtype=cursor.dtype)

    return lax.while_loop(more, write, (table, grid.cursor))


def _on_curve(curve: Curve, time: Float[Array, "times lanes"], passed: Bool[Array, "times lanes"]) -> Array:
    """Filters, path length and dissipation at times within the step, (times, n + 2, lanes); of no meaning elsewhere."""
    h = jnp.where(curve.h > 0, curve.h, 1)[None]
    theta = jnp.where(passed, (time - curve.time[None]) / h, 0)
    place = theta[:, None]
    bend = curve.bends[-1][None]
    for term in reversed(curve.bends[:-1]):
        bend = term[None] + place * bend
    states = (1 - place) * curve.start[None] + place * (curve.end[None] + (1 - place) * bend)
    squares, weights = curve.squared_speeds, partial_weights(theta)
    path = total(len(squares), lambda k: weights[:, :, k] * jnp.sqrt(squares[k])[None])
    dissipation = total(len(squares), lambda k: weights[:, :, k] * squares[k][None]) / h
    lengths = curve.lengths[None] + jnp.stack([path, dissipation], axis=1)
    return jnp.concatenate([states, lengths], axis=1)
