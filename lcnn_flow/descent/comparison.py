"""The distance of a descent from the gradient flow with the same start, at the same times."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from lcnn_flow.descent.course import DescentTrajectory
from lcnn_flow.dynamics.field import start_scales
from lcnn_flow.dynamics.settings import FlowSettings, flow_settings
from lcnn_flow.errors import DescentError
from lcnn_flow.flow.single import flow_arguments
from lcnn_flow.flow.trajectory import integrate_on_grid, span_at_start
from lcnn_flow.numerics.arrays import is_concrete
from lcnn_flow.numerics.compiling import quick_to_compile
from lcnn_flow.numerics.norms import safe_norm

__all__ = ["distance_between", "distance_to_flow"]

_LOCKSTEP = 64
"""Number of flows integrated in lockstep."""


def distance_between(one: DescentTrajectory, other: Any, risk: Any) -> Float[Array, "... T"]:
    """Euclidean distance of two trajectories at each of their times.

    Raises:
        DescentError: the second trajectory is missing or has other times.
    """
    if other is None:
        raise DescentError("this flow has no trajectory: integrate it with times=run.trajectory.time")
    if jnp.shape(one.time)[-1] != jnp.shape(other.time)[-1] or _differ(one.time, other.time):
        raise DescentError("this flow was recorded at other times: integrate it with times=run.trajectory.time")
    leading = jnp.shape(one.time)
    squares = [
        jnp.sum((jnp.asarray(a) - jnp.asarray(b)).reshape(*leading, -1) ** 2, axis=-1)
        for a, b in zip(risk.layers(one.params), risk.layers(other.params), strict=True)
    ]
    return jnp.sqrt(jnp.asarray(sum(squares)))


def _differ(one: Any, other: Any) -> bool:
    return is_concrete(one, other) and not np.allclose(one, other, rtol=1e-6, atol=0)


def distance_to_flow(risk: Any, start: Any, descent: DescentTrajectory, rtol: Any) -> Float[Array, "... T"]:
    """Distance of a descent from the flow from `start`, integrated at the times of the descent; the limit is not
    computed.

    Args:
        risk: one risk, or a batch of C risks.
        start: initial parameters, with axes (C, S) or (S,) for an ensemble.
        descent: trajectory with axes (R, C, S); axes that were not given are absent.
        rtol: relative local error tolerance.
    """
    space, leading = risk.space, jnp.shape(descent.time)[:-1]
    count = jnp.shape(descent.time)[-1]
    layers = [jnp.asarray(w) for w in risk.layers(descent.params)]
    dtype = layers[0].dtype
    rows = jnp.concatenate([w.reshape(*leading, count, -1) for w in layers], axis=-1)
    own = space.leading_axes(risk.layers(start)) or ()
    begin = jnp.concatenate([jnp.asarray(w, dtype).reshape(*own, -1) for w in risk.layers(start)], axis=-1)
    begin = jnp.broadcast_to(begin.reshape((1,) * (len(leading) - len(own)) + begin.shape), (*leading, begin.shape[-1]))
    times, double = jnp.asarray(descent.time, dtype), jnp.finfo(dtype).bits >= 64
    if is_concrete(times) and not np.all(np.diff(np.asarray(times), axis=-1) > 0):
        raise DescentError("the times of this descent do not increase, because a learning rate is not positive")
    settings = flow_settings(tuple(space.unravel(begin[(0,) * len(leading)])), rtol=rtol or (1e-9 if double else 1e-5))
    single = risk.num_conditions is None
    condition = jnp.zeros(leading, jnp.int32)
    if not single:
        condition = jnp.broadcast_to(jnp.arange(leading[-2], dtype=jnp.int32)[:, None], leading)
    total = int(np.prod(leading, dtype=int))
    flat = (
        condition.reshape(total),
        begin.reshape(total, -1),
        times.reshape(total, -1),
        rows.reshape(total, count, -1),
    )
    return _distances(risk.without_data(), flat, settings).reshape(*leading, count)


def _distances_of(risk: Any, flat: tuple[Any, ...], settings: FlowSettings) -> Float[Array, "flows T"]:
    many, (leaves, structure) = jax.tree.leaves(risk.batched()), jax.tree.flatten(risk)

    def one(given: tuple[Any, ...]) -> Array:
        number, start, times, rows = given
        mine = [leaf[number] if own else leaf for leaf, own in zip(leaves, many, strict=True)]
        return safe_norm((rows - _states(jax.tree.unflatten(structure, mine), start, times, settings)).T)

    return _one_or_many(one, flat)


def _one_or_many(function: Any, flat: tuple[Any, ...]) -> Array:
    """Applies `function` to every row, in lockstep; a single row is not batched."""
    if flat[0].shape[0] == 1:
        return function(jax.tree.map(lambda x: x[0], flat))[None]
    return lax.map(function, flat, batch_size=_LOCKSTEP)


def _states(risk: Any, start: Array, times: Array, settings: FlowSettings) -> Float[Array, "T n"]:
    """States of the flow from `start` at `times`; NaN at times that the integration did not reach."""
    scales = start_scales(risk, start, settings)
    args = flow_arguments(risk, risk, start, scales, settings)
    atol = risk.space.per_entry(scales.atol)
    end, saved = integrate_on_grid(args, span_at_start(start, times), atol, settings)
    return jnp.where((saved.times <= end.time)[:, None], saved.states, jnp.nan)


_distances = quick_to_compile(_distances_of)
