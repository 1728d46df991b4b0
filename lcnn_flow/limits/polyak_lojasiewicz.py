"""The local Polyak-Lojasiewicz test at a critical point.

If the Hessian is singular across the symmetry directions (rank-deficient data), convergence to a manifold of minimisers
may still be exponential. With J = dv/dw, grad L = J^T grad l(v). If l''(v) is positive definite on the row space of P,
then l satisfies a Polyak-Lojasiewicz inequality in the end-to-end filter; if in addition J^T is injective there, so
does L.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from lcnn_flow.limits.rounding import SAFETY
from lcnn_flow.numerics.lapack import eigh, singular_values
from lcnn_flow.risk.base import CompositeRisk
from lcnn_flow.risk.outer import PatchForm, QuadraticForm

__all__ = ["local_pl"]

_PLACE = 1e-6
"""Accuracy, in units of each layer's norm, with which non-isolated minimisers must be determined."""


def local_pl(
    risk: CompositeRisk,
    vector: Float[Array, " n"],
    exact: bool | Array = True,
    zero: float | Array = 0.0,
    blur: float | Array = 0.0,
) -> tuple[Bool[Array, ""], Float[Array, " n"]]:
    """Whether the local Polyak-Lojasiewicz test passes at a critical point, and the minimiser there. The test passes if
    rank(P J) = rank(P) and rho'' > 0.

    The point is then a global minimum over all end-to-end filters (grad l(v) = 0 for a convex loss), and the flow
    converges to it exponentially. The curvature l''(v) of every output channel must be positive definite on the row
    space of P: it must be positive semidefinite and have the rank of P, so that residuals with rho'' = 0 do not hide
    directions of P. J^T must be injective there. If a single filter vanishes and grad l(0) = 0, the risk is constant on
    {w_l = 0}, and only J_l must be injective: the flow then converges exponentially to that set, and the minimiser has
    this filter 0. Otherwise the minimiser is the critical point itself.

    Args:
        risk: the risk that is minimised.
        vector: raveled filters, at or near a critical point.
        exact: whether the point is known to rounding.
        zero: otherwise eigenvalues count as 0 up to `zero` times the largest one without cancellation in the residuals.
        blur: norm, in units of each layer's norm, up to which a gradient counts as 0. The curvature must be large
            enough that such a gradient determines the minimisers to a millionth of these units. Otherwise a flow whose
            gradient consists of rounding errors from the start would pass.
    """
    form = risk.outer
    V, eps = risk.image(vector), jnp.finfo(vector.dtype).eps
    eigenvalues, axes = jax.vmap(eigh)(form.hessian(V))

    def smallest(size: int) -> Array:
        return jnp.maximum(jnp.where(exact, 0, zero), SAFETY * size * eps)

    floor = smallest(V.shape[1]) * jnp.maximum(jnp.max(jnp.abs(eigenvalues)), form.largest_trace(V))
    seen, convex = eigenvalues > floor, jnp.all(eigenvalues > -floor)
    whole = convex & jnp.any(seen) & jnp.all(jnp.sum(seen, axis=1) == form.rank)
    units = risk.units(vector, None)
    jacobian = (risk.image_jacobian(vector) * units[None, :]).reshape(len(V), -1, vector.size)
    roots = jnp.sqrt(jnp.where(seen, eigenvalues, 0))
    moves = jnp.einsum("cq,cpq,cpn->cqn", roots, axes, jacobian, precision=lax.Precision.HIGHEST)
    moves = moves.reshape(-1, vector.size)
    finest = smallest(vector.size)
    injective = whole & _determines_minimisers(moves, jnp.sum(seen), finest, blur)
    vanishes, gone = _is_minimum_with_zero_filter(risk, form, vector, jacobian, moves, finest, blur)
    vanishes &= whole & ~injective
    return injective | vanishes, jnp.where(vanishes & gone, 0, vector)


def _is_minimum_with_zero_filter(
    risk: CompositeRisk,
    form: PatchForm | QuadraticForm,
    vector: Array,
    jacobian: Array,
    moves: Array,
    finest: Array,
    blur: float | Array,
) -> tuple[Bool[Array, ""], Bool[Array, " n"]]:
    """Whether exactly one filter vanishes, grad l(0) is zero to rounding, and P J_l is injective; and the entries of
    filters that vanish."""
    if not risk.symmetry.isolates:
        return jnp.asarray(False), jnp.zeros(vector.shape, bool)
    norms, units = risk.space.norms(vector), risk.units(vector, None)
    gone = norms <= jnp.sqrt(jnp.finfo(vector.dtype).eps) * jnp.max(units)
    origin = jnp.zeros(jacobian.shape[:2], vector.dtype)
    level = SAFETY * jnp.finfo(vector.dtype).eps * form.patch_size * form.rms_derivative(origin)
    best = jnp.linalg.norm(form.gradient(origin)) <= level
    layer = risk.space.per_entry(gone.astype(vector.dtype))
    own = _determines_minimisers(moves * layer[None], jnp.sum(layer > 0), finest, blur)
    return (jnp.sum(gone) == 1) & best & own, layer > 0


def _determines_minimisers(moves: Array, rank: Array, finest: Array, blur: float | Array) -> Bool[Array, ""]:
    """Whether the matrix has this rank, and its curvature determines the minimisers to the required accuracy."""
    values = singular_values(moves)
    counted = values > finest * jnp.max(values)
    smallest = jnp.min(jnp.where(counted, values, jnp.inf))
    return (jnp.sum(counted) == rank) & (blur <= _PLACE * smallest**2)
