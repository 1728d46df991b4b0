"""Recording of lanes on a grid of times, from the dense output of their steps.

A lane first integrates through the grid, without stopping at small gradients, and then continues to the gradient
tolerance. These are two integrations, as in `flow.single`, each with its own clock, first step and step count. On the
grid every lane has a cursor, the index of the next time to be passed. A step from t_0 to t_1 writes its curve at all
times with t_0 < t <= t_1 to the row of its seed, a few at a time, and advances the cursor. A table has k = n + 2
columns: the filters, path length and dissipation.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lcnn_flow.numerics.kernels import as_kernel, unrolled_sum
from lcnn_flow.numerics.quadrature import partial_weights

__all__ = ["Curve", "GridLanes", "begin_on_grid", "blank_table", "off_grid", "record"]

_AT_ONCE = 4
"""Number of times that a lane writes in one pass."""


class GridLanes(NamedTuple):
    """The progress of every recording lane on the grid."""

    on_grid: Bool[Array, " lanes"]
    """Whether the last of the times is still ahead."""
    cursor: Int[Array, " lanes"]
    begun: Float[Array, " lanes"]
    """Time at which the current integration began, the zero of its clock."""
    spent: Int[Array, " lanes"]
    """Steps of the previous integration."""


class Curve(NamedTuple):
    """The dense output of one step, as in `RosenbrockInterpolation`."""

    start: Float[Array, "n lanes"]
    end: Float[Array, "n lanes"]
    coefficients: Float[Array, "r n lanes"]
    squared_speeds: Float[Array, "nodes lanes"]
    """|dw/dtheta|^2 at the nodes of `quadrature`."""
    lengths: Float[Array, "2 lanes"]
    """Path length and dissipation before the step."""
    time: Float[Array, " lanes"]
    """Time at the start of the step."""
    h: Float[Array, " lanes"]


def begin_on_grid(times: Float[Array, " T"], lanes: int) -> GridLanes:
    """Lanes at time 0, which counts as passed."""
    zero = jnp.zeros((lanes,), jnp.int32)
    passed = jnp.sum(times <= 0, dtype=jnp.int32)
    return GridLanes(jnp.ones((lanes,), bool), zero + passed, jnp.zeros((lanes,), times.dtype), zero)


def off_grid(grid: GridLanes, last: Float[Array, ""], steps: Int[Array, " lanes"]) -> GridLanes:
    """Lanes that have reached the last of the times after `steps` steps, with a new clock that starts there."""
    return GridLanes(jnp.zeros_like(grid.on_grid), grid.cursor, jnp.broadcast_to(last, grid.begun.shape), steps)


def blank_table(times: Float[Array, " T"], vectors: Float[Array, "n seeds"]) -> Float[Array, "seeds T k"]:
    """Filters, path length and dissipation at all times: NaN except at time 0."""
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
    """Writes the states at all times that a lane passes before `now`, and advances its cursor.

    Args:
        table: table of all seeds of the block.
        times: the grid.
        curve: the step of every lane.
        now: the time of every lane after the step; the time of `curve` if the step was not accepted.
        grid: progress of the lanes.
        seed: the seed of every lane; the number of seeds for an idle lane.
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
        time, passed = as_kernel(look)(cursor, end)
        rows = jnp.where(passed, cursor[None] + ahead, times.size)
        values = jnp.moveaxis(as_kernel(_on_curve)(curve, time, passed), 1, 2)
        table = table.at[seed[None], rows].set(values, mode="drop")
        return table, cursor + jnp.sum(passed, axis=0, dtype=cursor.dtype)

    return lax.while_loop(more, write, (table, grid.cursor))


def _on_curve(curve: Curve, time: Float[Array, "times lanes"], passed: Bool[Array, "times lanes"]) -> Array:
    """Filters, path length and dissipation at times within the step, (times, n + 2, lanes); meaningless at other
    times."""
    h = jnp.where(curve.h > 0, curve.h, 1)[None]
    theta = jnp.where(passed, (time - curve.time[None]) / h, 0)
    place = theta[:, None]
    value = curve.coefficients[-1][None]
    for term in reversed(curve.coefficients[:-1]):
        value = term[None] + place * value
    states = (1 - place) * curve.start[None] + place * (curve.end[None] + (1 - place) * value)
    squares, weights = curve.squared_speeds, partial_weights(theta)
    path = unrolled_sum(len(squares), lambda k: weights[:, :, k] * jnp.sqrt(squares[k])[None])
    dissipation = unrolled_sum(len(squares), lambda k: weights[:, :, k] * squares[k][None]) / h
    lengths = curve.lengths[None] + jnp.stack([path, dissipation], axis=1)
    return jnp.concatenate([states, lengths], axis=1)
