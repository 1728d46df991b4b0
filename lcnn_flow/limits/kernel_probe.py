"""Whether a non-isolated critical point lies on a manifold of critical points tangent to the kernel of the Hessian.

If the Hessian has constant rank along such a manifold and is positive definite across it (Morse-Bott), then a
Polyak-Lojasiewicz inequality holds nearby, and a flow that comes near converges exponentially to one of its points. The
test takes steps into the kernel and returns by Newton's method at fixed rank; it must reach a nearby critical point at
which the Hessian has the same rank. If the kernel contains a direction along which the curvature vanishes but the
points are not critical, a walk in a generic direction ends where the gradient or the Hessian exceeds its rounding
error. Steps of a single length do not suffice: at 1e-3 the sixth power of a distance is below rounding. Derived; a
numerical test, not a proof.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from lcnn_flow.limits.newton import Linearized, linearized, times
from lcnn_flow.numerics.loops import while_loop
from lcnn_flow.risk.base import RiskLike

__all__ = ["critical_manifold"]

_STEPS = (3e-2, 3e-3)
"""Lengths of the steps in units of each layer's norm."""
_DIRECTIONS = 4
"""Number of walks per length: two directions, each with both signs."""
_NEWTON = 8
"""Newton iterations back to the manifold: the initial error is of the order of the square of the step."""
_BACK = 0.1
"""Largest length of the way back, relative to the step: the manifold is tangent to the step."""


def critical_manifold(
    risk: RiskLike,
    limit: Float[Array, " n"],
    flow_end: Float[Array, " n"],
    levels: Float[Array, " m"],
    initial: Float[Array, " n"] | None,
    asked: Bool[Array, ""],
) -> tuple[Bool[Array, ""], Float[Array, " n"]]:
    """Whether walks along the kernel at a critical point stay critical, and the point on the manifold that the flow
    reaches.

    Newton's method at full rank may move a point along the manifold, because the distance from the manifold creates
    curvature along it. The point is therefore computed again from the end of the flow, by Newton's method at the rank
    of the limit. The result is False if the Hessian vanishes, because nothing then attracts a flow. The computation is
    skipped unless `asked` is true.
    """
    units, chain = risk.units(limit, initial), risk.symmetry.leaf_chain(limit)
    dtype, numbers = limit.dtype, jnp.arange(limit.size, dtype=limit.dtype)
    steps = jnp.repeat(jnp.asarray(_STEPS, dtype), _DIRECTIONS)
    turn = jnp.sum(jnp.cos(1e5 * (numbers + 1) * limit / units))  # a phase without relation to the symmetries

    def at(vector: Array) -> Linearized:
        return linearized(risk, vector, levels, units, chain)

    here = at(limit)
    rank = jnp.sum(here.used)

    def back(_: Array, state: tuple[Array, Array, Linearized]) -> tuple[Array, Array, Linearized]:
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

    def continues(state: tuple[Array, Array, Array]) -> Array:
        number, passes, _ = state
        return passes & (number <= len(steps))

    needed = asked & (rank > 0) & (rank < limit.size)
    _, passes, place = while_loop(continues, walk, (jnp.asarray(0), needed, limit), limit)
    return passes, place
