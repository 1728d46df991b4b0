"""The tests of where a flow has come to: is there a critical point, what kind, and is the flow staying there?

A small gradient shows none of this. Newton's method on the invariant leaf must come to rest at a critical point nearby,
with the gradient at its rounding in every direction (`polish`); the curvature across the symmetries must be positive
there, or the local Polyak-Lojasiewicz test pass (`polyak_lojasiewicz`), or, for a risk that is only a function of its
parameters, the point lie on a manifold of critical points (`kernel_probe`).
"""

from typing import Any, NamedTuple, cast

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lcnn_flow.dynamics.field import FieldArguments, gradient_scale, gradient_tolerance
from lcnn_flow.dynamics.recording import Record
from lcnn_flow.limits.curvature import Curvature, curvature
from lcnn_flow.limits.kernel_probe import critical_manifold
from lcnn_flow.limits.newton import polish
from lcnn_flow.limits.polyak_lojasiewicz import satisfies_local_pl
from lcnn_flow.numerics.norms import safe_norm
from lcnn_flow.risk.base import CompositeRisk, RiskLike, is_composite

__all__ = ["Judgement", "attracts_along_manifold", "judge"]


class Judgement(NamedTuple):
    """What the tests found."""

    gradient: Float[Array, " n"]
    norm: Float[Array, ""]
    """Of the gradient."""
    tolerance: Float[Array, ""]
    rounding: Float[Array, ""]
    """Of the gradient at the vector."""
    finite: Bool[Array, ""]
    exact: Bool[Array, ""]
    """`limit` is a critical point, known to rounding."""
    limit: Float[Array, " n"]
    """Where Newton's method came to rest; the vector itself if it did not."""
    distance: Float[Array, ""]
    nearby: Bool[Array, ""]
    """A critical point is near, be it degenerate."""
    stays: Bool[Array, ""]
    """The gradient at the vector is at its rounding along the unstable directions of the limit."""
    curvature: Curvature
    """At `limit`."""
    converged: Bool[Array, ""]
    """Exact, and the flow converges to it exponentially."""
    isolated: Bool[Array, ""]


def judge(
    args: FieldArguments, vector: Float[Array, " n"], record: Record, start: Float[Array, " n"], levels: Array
) -> Judgement:
    """The tests at the raveled filters `vector` of a flow from `start`, on the leaf with these `leaf_levels`."""
    risk = args.risk
    gradient = risk.gradient(vector)
    norm = safe_norm(gradient)
    found = polish(risk, vector, levels, start)
    exact, limit = found.converged, jnp.where(found.converged, found.vector, vector)
    scale = jnp.maximum(args.least_scale, gradient_scale(risk, vector, record))
    coarse = jnp.sqrt(norm / jnp.where(scale > 0, scale, 1))
    bend = curvature(risk, limit, exact, coarse, start)
    positive = (bend.index == 0) & (bend.nullity == 0)
    bottom = exact & (bend.index == 0)
    asked = bottom & ~positive
    attracts, place = attracts_along_manifold(risk, limit, vector, levels, start, exact, coarse, found.blur, asked)
    converged = bottom & (positive | attracts)
    distance = jnp.where(exact, found.distance, 0)
    if not is_composite(risk):
        distance = jnp.where(exact, safe_norm(place - vector), 0)
    return Judgement(
        gradient=gradient,
        norm=norm,
        tolerance=gradient_tolerance(risk, vector, args.least_scale, args, record),
        rounding=found.rounding,
        finite=jnp.isfinite(norm) & jnp.isfinite(risk.value(vector)),
        exact=exact,
        limit=place,
        distance=distance,
        nearby=found.nearby,
        stays=found.stays,
        curvature=bend,
        converged=converged,
        isolated=converged & positive & found.nonsingular & risk.symmetry.isolates,
    )


def attracts_along_manifold(
    risk: RiskLike,
    limit: Float[Array, " n"],
    flow_end: Float[Array, " n"],
    levels: Float[Array, " m"],
    start: Any,
    exact: Any,
    zero: Any,
    blur: Any,
    asked: Bool[Array, ""],
) -> tuple[Bool[Array, ""], Float[Array, " n"]]:
    """Whether flows converge exponentially to the critical points around one that is not isolated, and where to.

    By what the risk is composed of where that is known, else by walks along the kernel, which are taken where `asked`.
    """
    if is_composite(risk):
        return satisfies_local_pl(cast(CompositeRisk, risk), limit, exact, zero, blur), limit
    found, place = critical_manifold(risk, limit, flow_end, levels, start, asked)
    return found, jnp.where(found, place, limit)
