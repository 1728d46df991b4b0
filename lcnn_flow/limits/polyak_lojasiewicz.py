"""The local Polyak-Lojasiewicz test at a critical point.

Where the Hessian is singular across the symmetry directions (rank-deficient data), convergence may still be
exponential, to a manifold of minimisers: with J = dv/dw, grad L = J^T grad l(v), and l satisfies a Polyak-Lojasiewicz
inequality in the end-to-end filter when l''(v) is positive definite on the row space of P; if J^T is injective there,
so does L.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from lcnn_flow.limits.rounding import SAFETY
from lcnn_flow.numerics.lapack import eigh, singular_values
from lcnn_flow.risk.base import CompositeRisk

__all__ = ["satisfies_local_pl"]

_PLACE = 1e-6
"""In units of each layer's norm: how well minimisers that are not isolated must be placed."""


def satisfies_local_pl(
    risk: CompositeRisk, vector: Float[Array, " n"], exact: Any = True, zero: Any = 0.0, blur: Any = 0.0
) -> Bool[Array, ""]:
    """Whether the local Polyak-Lojasiewicz test passes at a critical point: rank(P J) = rank(P), rho'' > 0 enough.

    It then is a global minimum over all end-to-end filters (grad l(v) = 0 for a convex loss), and the flow converges
    to it exponentially. The curvature l''(v) of every output channel must be positive definite on the row space of P:
    positive semidefinite, and of the rank of P, so that residuals with rho'' = 0 do not hide directions of P. J^T must
    be injective there. Where a single filter vanishes and grad l(0) = 0, the risk is constant on {w_l = 0}, and J_l
    need be injective only: the flow converges exponentially to that set.

    Args:
        risk: what is minimised.
        vector: raveled filters, at or near a critical point.
        exact: whether the point is known to rounding.
        zero: otherwise eigenvalues up to `zero` times the largest that there would be if nothing cancelled in the
            residuals count as 0.
        blur: norm of a gradient in units of each layer's norm that counts as 0. The curvature must be large enough for
            such a gradient to leave open the place of the minimisers to a millionth of those units: a flow whose
            gradient is rounding from the start would otherwise rest there.
    """
    form = risk.outer
    V, eps = risk.image(vector), jnp.finfo(vector.dtype).eps
    eigenvalues, axes = jax.vmap(eigh)(form.hessian(V))

    def smallest(size: int) -> Array:
        return jnp.maximum(jnp.where(exact, 0, zero), SAFETY * size * eps)

    floor = smallest(V.shape[1]) * jnp.maximum(jnp.max(jnp.abs(eigenvalues)), form.steepness(V))
    seen, convex = eigenvalues > floor, jnp.all(eigenvalues > -floor)
    whole = convex & jnp.any(seen) & jnp.all(jnp.sum(seen, axis=1) == form.rank)
    units = risk.units(vector, None)
    jacobian = (risk.image_jacobian(vector) * units[None, :]).reshape(len(V), -1, vector.size)
    roots = jnp.sqrt(jnp.where(seen, eigenvalues, 0))
    moves = jnp.einsum("cq,cpq,cpn->cqn", roots, axes, jacobian, precision=lax.Precision.HIGHEST)
    moves = moves.reshape(-1, vector.size)
    finest = smallest(vector.size)
    injective = whole & _placed(moves, jnp.sum(seen), finest, blur)
    return injective | (whole & _rests_on_a_zero_filter(risk, form, vector, jacobian, moves, finest, blur))


def _rests_on_a_zero_filter(
    risk: CompositeRisk, form: Any, vector: Array, jacobian: Array, moves: Array, finest: Array, blur: Any
) -> Bool[Array, ""]:
    """Whether one filter alone vanishes, grad l(0) is zero to rounding, and P J_l is injective."""
    if not risk.symmetry.isolates:
        return jnp.asarray(False)
    norms, units = risk.space.norms(vector), risk.units(vector, None)
    gone = norms <= jnp.sqrt(jnp.finfo(vector.dtype).eps) * jnp.max(units)
    origin = jnp.zeros(jacobian.shape[:2], vector.dtype)
    level = SAFETY * jnp.finfo(vector.dtype).eps * form.patch_size * form.slope(origin)
    best = jnp.linalg.norm(form.gradient(origin)) <= level
    layer = risk.space.spread(gone.astype(vector.dtype))
    own = _placed(moves * layer[None], jnp.sum(layer > 0), finest, blur)
    return (jnp.sum(gone) == 1) & best & own


def _placed(moves: Array, rank: Array, finest: Array, blur: Any) -> Bool[Array, ""]:
    """Whether the matrix has this rank, and its curvature tells the place of the minimisers."""
    values = singular_values(moves)
    counted = values > finest * jnp.max(values)
    smallest = jnp.min(jnp.where(counted, values, jnp.inf))
    return (jnp.sum(counted) == rank) & (blur <= _PLACE * smallest**2)
