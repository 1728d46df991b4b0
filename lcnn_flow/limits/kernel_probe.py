"""Whether a critical point that is not isolated lies on a manifold of critical points tangent to the kernel.

If the Hessian has constant rank along such a manifold and is positive definite across it (Morse-Bott), a
Polyak-Lojasiewicz inequality holds nearby, and a flow that comes near converges exponentially to a point of it. Seen by
walking: a step into the kernel, and Newton's method back at fixed rank, must come to a critical point nearby with the
same rank. Where the kernel holds a direction without curvature that is none of critical points, the walk in a direction
that is no special one ends where the gradient or the Hessian is above its rounding. One length of steps is not enough:
at 1e-3 the sixth power of a distance is below rounding. Derived; a numerical test, not a proof.
"""

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from lcnn_flow.limits.newton import Linearized, linearized, times
from lcnn_flow.risk.base import RiskLike

__all__ = ["critical_manifold"]

_STEPS = (3e-2, 3e-3)
"""In units of each layer's norm."""
_DIRECTIONS = 4
"""For each length: two, each of both signs."""
_NEWTON = 8
"""Iterations back to the manifold: the first error is of the order of the square of the step."""
_BACK = 0.1
"""Part of a step that the way back may take: the manifold is tangent to the step."""


def critical_manifold(
    risk: RiskLike,
    limit: Float[Array, " n"],
    flow_end: Float[Array, " n"],
    levels: Float[Array, " m"],
    initial: Any,
    asked: Bool[Array, ""],
) -> tuple[Bool[Array, ""], Float[Array, " n"]]:
    """Whether walks along the kernel of a critical point stay critical, and the place on the manifold of a flow's end.

    Newton's method at full rank may move a point along the manifold, for curvature along it that the distance from it
    makes, so the place is found anew, by Newton's method at the rank of the limit from where the flow ended.

    False where the Hessian has no curvature at all: nothing then holds a flow there. Work is done only where `asked`.
    """
    units, chain = risk.units(limit, initial), risk.symmetry.leaf_chain(limit)
    dtype, numbers = limit.dtype, jnp.arange(limit.size, dtype=limit.dtype)
    steps = jnp.repeat(jnp.asarray(_STEPS, dtype), _DIRECTIONS)
    turn = jnp.sum(jnp.cos(1e5 * (numbers + 1) * limit / units))  # no direction is foreseen

    def at(vector: Array) -> Linearized:
        return linearized(risk, vector, levels, units, chain)

    here = at(limit)
    rank = jnp.sum(here.used)

    def back(_: Any, state: tuple[Array, Array, Linearized]) -> tuple[Array, Array, Linearized]:
        vector = state[0]
        there = at(vector)
        sizes = jnp.abs(there.eigenvalues)
        kept = sizes >= jnp.sort(sizes)[limit.size - jnp.maximum(rank, 1)]
        inverse = jnp.where(kept, 1 / jnp.where(kept, there.eigenvalues, 1), 0)
        return vector - units * times(there.axes, inverse * times(there.axes.T, there.gradient)), vector, there

    def walk(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        number, _, place = state
        first, pair = number == 0, (number - 1) // 2
        mixture = jnp.where(here.used, 0, jnp.cos((1.7 + turn + pair.astype(dtype)) * (numbers + 0.3)))
        length = steps[jnp.maximum(number - 1, 0)] * jnp.where(number % 2 == 0, 1, -1)
        away = length * times(here.axes, mixture / jnp.linalg.norm(mixture))
        begin = jnp.where(first, flow_end, limit + units * away)
        _, end, there = lax.fori_loop(0, _NEWTON, back, (begin, begin, here))
        components, zero = there.along(there.gradient, there.changes)
        near = jnp.linalg.norm((end - begin) / units) <= _BACK * jnp.where(first, 1, jnp.abs(length))
        same = (jnp.sum(there.used) == rank) & jnp.all(~there.used | (there.eigenvalues > 0))
        passes = near & same & jnp.all(jnp.abs(components) <= zero) & jnp.all(jnp.isfinite(end))
        return number + 1, passes, jnp.where(first, end, place)

    def going(state: tuple[Array, Array, Array]) -> Array:
        number, passes, _ = state
        return passes & (number <= len(steps))

    needed = asked & (rank > 0) & (rank < limit.size)
    _, passes, place = lax.while_loop(going, walk, (jnp.asarray(0), needed, limit))
    return passes, place
