"""Tracks solutions along a line of parameters, many paths at once in lanes that are refilled from a queue.

A step predicts with the classical Runge-Kutta method for dy/dt = -(dF/dy)^{-1} dF/dt and corrects by two Newton steps,
in charts around the unit filters at its start. The lengths of the corrections decide: the step counts if the first is
below a tolerance and the second a twentieth of it, and the next one is as long as the first correction allows. A path
ends where its step falls below 1e-14.
"""

from functools import cache, partial, reduce
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from lcnn_flow.landscape.elimination import solve
from lcnn_flow.landscape.planes import Planes, concatenate, select
from lcnn_flow.landscape.system import Line, TapSums, complements, linearise, moved
from lcnn_flow.numerics.compiling import quick_to_compile
from lcnn_flow.numerics.kernels import as_kernel

__all__ = ["Ends", "Parameters", "track"]

_TOLERANCE = 1e-5
"""Largest first correction of a step, in units of unit filters."""
_ROUNDING = 1e-10
"""A second correction of this size counts as none."""
_SMALLEST_STEP, _LEAST_NEXT, _FIRST_STEP = 1e-14, 1e-13, 0.02
_INNER = 20
"""Steps between two looks at the queue."""


class Parameters(NamedTuple):
    """End points of lines: d, u at both ends (entries,), complex, and C problems G (C, k_v, k_v), c (C, k_v)."""

    diagonal: np.ndarray
    load: np.ndarray
    last_diagonal: np.ndarray
    last_load: np.ndarray
    gram: np.ndarray
    moment: np.ndarray


class Ends(NamedTuple):
    """The ends of paths: entries of the unit filters, then mu, (sum k_l + 1, paths); t = 1 if they reached the end."""

    points: np.ndarray
    arrived: np.ndarray
    steps: int


class _State(NamedTuple):
    """The state of every lane: unit filters and mu, its t, its next step, and whether its path has not ended."""

    filters: list[Planes]
    mu: Planes
    t: Array
    step: Array
    alive: Array


def track(sums: TapSums, points: np.ndarray, parameters: Parameters, which: np.ndarray, lanes: int) -> Ends:
    """Tracks solutions from the start of their lines to the end.

    Args:
        sums: the architecture.
        points: (sum k_l + 1, paths): unit filters and mu of solutions at the start.
        parameters: the lines.
        which: problem of every path.
        lanes: how many are tracked side by side.
    """
    count = points.shape[1]
    ends, arrived = np.array(points, complex), np.zeros(count, bool)
    lane, following, steps = np.full(lanes, -1), 0, 0
    now = np.tile(points[:, :1], (1, lanes)).astype(complex)
    t, step, alive = np.ones(lanes), np.full(lanes, _FIRST_STEP), np.zeros(lanes, bool)
    fixed = [Planes.of(x[:, None]) for x in parameters[:4]]
    while True:
        done = (lane >= 0) & (~alive | (t >= 1))
        ends[:, lane[done]], arrived[lane[done]] = now[:, done], alive[done]
        lane[done] = -1
        free = np.flatnonzero(lane < 0)[: count - following]
        if free.size:
            new = np.arange(following, following + free.size)
            following += free.size
            lane[free], now[:, free], t[free], step[free] = new, points[:, new], 0.0, _FIRST_STEP
        alive = lane >= 0
        if not alive.any():
            return Ends(ends, arrived, steps)
        problem = which[np.maximum(lane, 0)]
        gram = np.ascontiguousarray(np.moveaxis(parameters.gram[problem], 0, -1))
        line = (*fixed, gram, np.ascontiguousarray(parameters.moment[problem].T))
        state = (Planes.of(now), t, step, alive)
        moved_to, *rest, taken = _block(sums)(*(_leaves(state) + _leaves(line)))
        now = np.asarray(moved_to[0]) + 1j * np.asarray(moved_to[1])
        t, step, alive = (np.array(x) for x in rest)
        steps += int(taken)


def _leaves(state: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(leaf for part in state for leaf in ((part.re, part.im) if isinstance(part, Planes) else (part,)))


@cache
def _block(sums: TapSums) -> Any:
    return partial(_advance, sums)


@quick_to_compile
def _advance(sums: TapSums, *leaves: Array) -> tuple[Any, ...]:
    """Several steps of all lanes."""
    point, (t, step, alive) = Planes(*leaves[:2]), leaves[2:5]
    start_d, start_u, end_d, end_u = (Planes(*leaves[i : i + 2]) for i in range(5, 13, 2))
    line = Line(start_d, start_u, end_d, end_u, *leaves[13:])
    first, filters = 0, []
    for size in sums.sizes:
        filters.append(point[first : first + size])
        first += size
    begin = _State(filters, point[first], t, step, alive)

    def going(state: _State) -> Array:
        return state.alive & (state.t < 1)

    def body(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        count, state, taken = carry
        return count + 1, _step(sums, state, line), taken + jnp.sum(going(state))

    def open_(carry: tuple[Any, ...]) -> Array:
        return (carry[0] < _INNER) & jnp.any(going(carry[1]))

    _, end, taken = lax.while_loop(open_, body, (jnp.asarray(0), begin, jnp.asarray(0)))
    whole = concatenate([*end.filters, end.mu[None]])
    return (whole.re, whole.im), end.t, end.step, end.alive, taken


def _step(sums: TapSums, state: _State, line: Line) -> _State:
    """One step of every lane whose path has not ended."""
    bases, n, lanes = complements(state.filters), sums.dimension, state.t.shape[0]
    acting = state.alive & (state.t < 1)
    h = jnp.where(acting, jnp.minimum(state.step, 1 - state.t), 0.0)
    zero = jnp.zeros((n, lanes), h.dtype)
    origin = concatenate([Planes(zero, zero), state.mu[None]])
    ahead, weight, until = jnp.asarray(_AHEAD), jnp.asarray(_WEIGHT), jnp.asarray(_UNTIL)

    def stage(i: Array, carry: tuple[Any, ...]) -> tuple[Any, ...]:
        y, sum_, first, second = carry
        filters = moved(state.filters, bases, y[:n])
        value, matrix, velocity = linearise(sums, filters, bases, y[n], state.t + until[i] * h, line)
        predicts = i < 4
        change = solve(_table(matrix, select(predicts, velocity, value)))
        return _advanced(i, origin, h, ahead[i], weight[i], change, y, sum_, first, second)

    blank = jnp.zeros((n + 1, lanes), h.dtype)
    nothing = jnp.zeros(lanes, h.dtype)
    y, _, first, second = lax.fori_loop(0, 6, stage, (origin, Planes(blank, blank), nothing, nothing))
    return _State(*_judged(state, acting, h, moved(state.filters, bases, y[:n]), y[n], first, second))


_AHEAD = (0.5, 0.5, 1.0, 0.0, 0.0, 0.0)
_WEIGHT = (1 / 6, 1 / 3, 1 / 3, 1 / 6, 0.0, 0.0)
_UNTIL = (0.0, 0.5, 0.5, 1.0, 1.0, 1.0)
"""The six stages: four slopes of the Runge-Kutta method, two corrections."""


@as_kernel
def _table(matrix: Planes, rhs: Planes) -> Planes:
    return concatenate([matrix, -rhs[:, None]], 1)


@as_kernel
def _advanced(
    i: Array,
    origin: Planes,
    h: Array,
    ahead: Array,
    weight: Array,
    change: Planes,
    y: Planes,
    sum_: Planes,
    first: Array,
    second: Array,
) -> tuple[Planes, Planes, Array, Array]:
    """The point at which the next stage is evaluated, and the lengths of the corrections."""
    sum_ = sum_ + change.scaled(weight * h[None])
    onward = origin + change.scaled(ahead * h[None])
    y = select(i < 3, onward, select(i == 3, origin + sum_, y + change))
    size = jnp.sqrt(reduce(jnp.add, [change[j].square for j in range(change.re.shape[0])]))
    return y, sum_, jnp.where(i == 4, size, first), jnp.where(i == 5, size, second)


def _judged(
    state: _State, acting: Array, h: Array, filters: list[Planes], mu: Planes, first: Array, second: Array
) -> tuple[Any, ...]:
    """The new state: accepts the step if its corrections are small, and chooses the length of the next one."""
    finite = jnp.isfinite(first + second)
    good = acting & finite & (first < _TOLERANCE) & (second < jnp.maximum(0.05 * first, _ROUNDING))
    norms = [jnp.sqrt(reduce(jnp.add, [w[j].square for j in range(w.re.shape[0])])) for w in filters]
    units = [w.scaled(1 / norm[None]) for w, norm in zip(filters, norms, strict=True)]
    chosen = [select(good[None], new, old) for new, old in zip(units, state.filters, strict=True)]
    mu = select(good, mu.scaled(1 / reduce(jnp.multiply, norms)), state.mu)
    t = jnp.where(good, jnp.where(state.step >= 1 - state.t, 1.0, state.t + h), state.t)
    factor = jnp.clip(0.8 * (_TOLERANCE / jnp.maximum(first, 1e-16)) ** 0.2, 0.2, 2.5)
    factor = jnp.where(good, factor, jnp.where(finite, jnp.minimum(factor, 0.5), 0.2))
    step = jnp.where(acting, h * factor, state.step)
    step = jnp.where(acting & good, jnp.maximum(step, _LEAST_NEXT), step)
    alive = state.alive & ((step > _SMALLEST_STEP) | (t >= 1))
    return chosen, mu, t, step, alive
