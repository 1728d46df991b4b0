"""The tests of the end of a flow: is there a critical point, of what kind, and does the flow stay there?

A small gradient answers none of these questions. Newton's method on the invariant leaf must converge to a critical
point nearby, with the gradient at its rounding error in every direction (`polish`). In addition, the curvature across
the symmetries must be positive there, or the local Polyak-Lojasiewicz test must pass (`polyak_lojasiewicz`), or, for a
risk known only through its values, the point must lie on a manifold of critical points (`kernel_probe`).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lcnn_flow.dynamics.field import FieldArguments, gradient_scale, gradient_tolerance
from lcnn_flow.dynamics.recording import Record
from lcnn_flow.limits.curvature import Curvature, curvature
from lcnn_flow.limits.kernel_probe import critical_manifold
from lcnn_flow.limits.newton import polish
from lcnn_flow.limits.polyak_lojasiewicz import local_pl
from lcnn_flow.numerics.norms import safe_norm
from lcnn_flow.risk.base import RiskLike, is_composite

__all__ = ["Judgement", "attracts_along_manifold", "judge"]


class Judgement(NamedTuple):
    """Results of the tests of the end of a flow."""

    gradient: Float[Array, " n"]
    norm: Float[Array, ""]
    """Norm of the gradient."""
    tolerance: Float[Array, ""]
    rounding: Float[Array, ""]
    """Rounding error of the gradient at the tested point."""
    finite: Bool[Array, ""]
    exact: Bool[Array, ""]
    """Whether `limit` is a critical point that is known to rounding."""
    limit: Float[Array, " n"]
    """Point to which Newton's method converged; the tested point if it did not converge."""
    distance: Float[Array, ""]
    nearby: Bool[Array, ""]
    """Whether a critical point, possibly a degenerate one, is nearby."""
    stays: Bool[Array, ""]
    """Whether the gradient at the tested point is at its rounding error along the unstable directions of the limit."""
    curvature: Curvature
    """Curvature at `limit`."""
    converged: Bool[Array, ""]
    """Whether the limit is exact and the flow converges to it exponentially."""
    isolated: Bool[Array, ""]


def judge(
    args: FieldArguments, vector: Float[Array, " n"], record: Record, start: Float[Array, " n"], levels: Array
) -> Judgement:
    """Tests the raveled filters `vector` of a flow from `start`, on the leaf with these `leaf_levels`."""
    risk = args.risk
    gradient = risk.gradient(vector)
    norm = safe_norm(gradient)
    found = polish(risk, vector, levels, start)
    exact, limit = found.converged, jnp.where(found.converged, found.vector, vector)
    scale = jnp.maximum(args.least_scale, gradient_scale(risk, vector, record))
    coarse = jnp.sqrt(norm / jnp.where(scale > 0, scale, 1))
    signature = curvature(risk, limit, exact, coarse, start)
    positive = (signature.index == 0) & (signature.nullity == 0)
    no_negative = exact & (signature.index == 0)
    asked = no_negative & ~positive
    attracts, place = attracts_along_manifold(risk, limit, vector, levels, start, exact, coarse, found.blur, asked)
    converged = no_negative & (positive | attracts)
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
        curvature=signature,
        converged=converged,
        isolated=converged & positive & found.nonsingular & risk.symmetry.isolates,
    )


def attracts_along_manifold(
    risk: RiskLike,
    limit: Float[Array, " n"],
    flow_end: Float[Array, " n"],
    levels: Float[Array, " m"],
    start: Float[Array, " n"] | None,
    exact: bool | Array,
    zero: float | Array,
    blur: float | Array,
    asked: Bool[Array, ""],
) -> tuple[Bool[Array, ""], Float[Array, " n"]]:
    """Whether flows converge exponentially to the critical points around a non-isolated one, and the limit among them.

    For a composite risk the local Polyak-Lojasiewicz test decides; otherwise walks along the kernel of the Hessian,
    which are computed only if `asked` is true.
    """
    if is_composite(risk):
        return local_pl(risk, limit, exact, zero, blur)
    found, place = critical_manifold(risk, limit, flow_end, levels, start, asked)
    return found, jnp.where(found, place, limit)
