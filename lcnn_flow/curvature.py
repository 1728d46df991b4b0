"""Second-order tests at a point: the Hessian modulo symmetries, the local Polyak-Lojasiewicz test, growth.

At a critical point the Hessian vanishes along the symmetry directions, so its signature is read off on their
orthogonal complement. Where it is singular there (rank-deficient data), convergence may still be exponential, to a
manifold of minimisers: with J = dv/dw, grad L = J^T grad l(v), and l satisfies a Polyak-Lojasiewicz inequality in
the end-to-end filter when l''(v) is positive definite on the row space of P; if J^T is injective there, so does L.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lcnn_flow.chain_rule import filter_rows
from lcnn_flow.invariants import layer_units, symmetry_basis
from lcnn_flow.lapack import eigh, singular_values
from lcnn_flow.network import layer_norms, spread, unravel
from lcnn_flow.risk import EmpiricalRisk
from lcnn_flow.rounding import SAFETY, across_nudges, eigenvalue_rounding

__all__ = ["Curvature", "curvature", "growth_rate", "satisfies_local_pl", "spectrum"]

_FLAT = 1e-3
"""A symmetry direction along which the Hessian is larger, relative to its norm, is none: the filters nearly vanish."""
_PLACE = 1e-6
"""In units of each layer's norm: how well minimisers that are not isolated must be placed."""


class Curvature(NamedTuple):
    """Signature of the Hessian on the complement of the symmetry directions."""

    index: Int[Array, ""]
    """Number of negative eigenvalues."""
    nullity: Int[Array, ""]
    """Number of eigenvalues that count as zero."""
    smallest: Float[Array, ""]
    """Smallest eigenvalue."""


def curvature(risk: EmpiricalRisk, vector: Float[Array, " n"], exact: Any = True, zero: Any = 0.0) -> Curvature:
    """Signature of the Hessian at the raveled filters, modulo the symmetry directions.

    Index and nullity are read off in units of each layer's norm, D H D with D = diag(|w_l|): by Sylvester's law
    they are the same, and thresholds do not depend on how norms are shared out between layers.

    Args:
        risk: the empirical risk.
        vector: raveled filters, at or near a critical point.
        exact: whether the point is known to rounding. Eigenvalues then count as 0 up to their own rounding.
        zero: otherwise eigenvalues up to `zero` times the largest absolute one that there would be if nothing cancelled
            in the residuals count as 0: near interpolation, what is left of them bends the Hessian.
    """
    sizes = layer_units(risk, vector)

    def scaled_hessian(risk: EmpiricalRisk, vector: Array) -> Array:
        return risk.hessian(vector) * jnp.outer(sizes, sizes)

    hessian, changes = across_nudges(scaled_hessian, risk, vector, sizes)
    scaled, axes, present = _across(risk, vector, hessian, sizes)
    lengths = jnp.where(present, jnp.abs(scaled), 0)
    largest = jnp.max(lengths)
    rounding = eigenvalue_rounding(axes, changes, largest)
    uncancelled = risk.steepness(vector) * jnp.prod(layer_norms(risk.arch, vector)) ** 2
    rough = jnp.maximum(rounding, zero * jnp.maximum(largest, uncancelled))
    null = present & (lengths <= jnp.where(exact, rounding, rough))
    index = jnp.sum(present & ~null & (scaled < 0))
    smallest = _across(risk, vector, hessian / jnp.outer(sizes, sizes), jnp.ones_like(sizes))[0][0]
    return Curvature(index.astype(jnp.int32), jnp.sum(null).astype(jnp.int32), smallest)


def spectrum(risk: EmpiricalRisk, vector: Float[Array, " n"]) -> Float[Array, " n"]:
    """Hessian eigenvalues across the symmetry directions, ascending; NaN in the last places, one a direction."""
    eigenvalues, _, present = _across(risk, vector, risk.hessian(vector), jnp.ones_like(vector))
    return jnp.where(present, eigenvalues, jnp.nan)


def _across(risk: EmpiricalRisk, vector: Array, hessian: Array, sizes: Array) -> tuple[Array, Array, Array]:
    """Eigenvalues across the symmetry directions in units `sizes`, ascending, their axes, a mask of those that are."""
    basis, counts = symmetry_basis(risk.arch, vector, sizes)
    bend = jnp.linalg.norm(jnp.matmul(hessian, basis, precision=lax.Precision.HIGHEST), axis=0)
    counts = jnp.where(bend <= _FLAT * jnp.linalg.norm(hessian), counts, 0)
    basis = basis * counts[None, :]
    along = jnp.matmul(basis, basis.T, precision=lax.Precision.HIGHEST)
    across = jnp.eye(vector.size, dtype=vector.dtype) - along
    projected = jnp.matmul(jnp.matmul(across, hessian), across, precision=lax.Precision.HIGHEST)
    projected = (projected + projected.T) / 2
    lift = jnp.linalg.norm(projected)  # bounds every eigenvalue, so the symmetry directions come last
    eigenvalues, axes = eigh(projected + 2 * lift * along)
    return eigenvalues, axes, jnp.arange(vector.size) < vector.size - jnp.sum(counts != 0)


def satisfies_local_pl(
    risk: EmpiricalRisk, vector: Float[Array, " n"], exact: Any = True, zero: Any = 0.0, blur: Any = 0.0
) -> Bool[Array, ""]:
    """Whether the local Polyak-Lojasiewicz test passes at a critical point: rank(P J) = rank(P), rho'' > 0 enough.

    It then is a global minimum over all end-to-end filters (grad l(v) = 0 for a convex loss), and the flow converges
    to it exponentially. The curvature l''(v) of every output channel must be positive definite on the row space of P:
    positive semidefinite, and of the rank of P, so that residuals with rho'' = 0 do not hide directions of P. J^T must
    be injective there. Where a single filter vanishes and grad l(0) = 0, the risk is constant on {w_l = 0}, and J_l
    need be injective only: the flow converges exponentially to that set. False for `form="layers"`, which keeps no
    patch matrix.

    Args:
        risk: the empirical risk.
        vector: raveled filters, at or near a critical point.
        exact: whether the point is known to rounding.
        zero: otherwise eigenvalues up to `zero` times the largest that there would be if nothing cancelled in the
            residuals count as 0.
        blur: norm of a gradient in units of each layer's norm that counts as 0. The curvature must be large enough for
            such a gradient to leave open the place of the minimisers to a millionth of those units: a flow whose
            gradient is rounding from the start would otherwise rest there.
    """
    form = risk.filter_risk
    if form is None:
        return jnp.asarray(False)
    V, eps = filter_rows(risk.arch, unravel(risk.arch, vector)), jnp.finfo(vector.dtype).eps
    eigenvalues, axes = jax.vmap(eigh)(form.hessian(V))

    def smallest(size: int) -> Array:
        return jnp.maximum(jnp.where(exact, 0, zero), SAFETY * size * eps)

    floor = smallest(V.shape[1]) * jnp.maximum(jnp.max(jnp.abs(eigenvalues)), form.steepness(V))
    seen, convex = eigenvalues > floor, jnp.all(eigenvalues > -floor)
    whole = convex & jnp.any(seen) & jnp.all(jnp.sum(seen, axis=1) == form.rank)
    units = layer_units(risk, vector)
    jacobian = (risk.filter_jacobian(vector) * units[None, :]).reshape(len(V), -1, vector.size)
    roots = jnp.sqrt(jnp.where(seen, eigenvalues, 0))
    moves = jnp.einsum("cq,cpq,cpn->cqn", roots, axes, jacobian, precision=lax.Precision.HIGHEST)
    moves = moves.reshape(-1, vector.size)
    finest = smallest(vector.size)
    injective = whole & _placed(moves, jnp.sum(seen), finest, blur)
    return injective | (whole & _rests_on_a_zero_filter(risk, form, vector, jacobian, moves, finest, blur))


def _rests_on_a_zero_filter(
    risk: EmpiricalRisk, form: Any, vector: Array, jacobian: Array, moves: Array, finest: Array, blur: Any
) -> Bool[Array, ""]:
    """Whether one filter alone vanishes, grad l(0) is zero to rounding, and P J_l is injective."""
    if risk.arch.channels is not None:
        return jnp.asarray(False)
    norms, units = layer_norms(risk.arch, vector), layer_units(risk, vector)
    gone = norms <= jnp.sqrt(jnp.finfo(vector.dtype).eps) * jnp.max(units)
    origin = jnp.zeros(jacobian.shape[:2], vector.dtype)
    level = SAFETY * jnp.finfo(vector.dtype).eps * form.patch_size * form.slope(origin)
    best = jnp.linalg.norm(form.gradient(origin)) <= level
    layer = spread(risk.arch, gone.astype(vector.dtype))
    own = _placed(moves * layer[None], jnp.sum(layer > 0), finest, blur)
    return (jnp.sum(gone) == 1) & best & own


def _placed(moves: Array, rank: Array, finest: Array, blur: Any) -> Bool[Array, ""]:
    """Whether the matrix has this rank, and its curvature tells the place of the minimisers."""
    values = singular_values(moves)
    counted = values > finest * jnp.max(values)
    smallest = jnp.min(jnp.where(counted, values, jnp.inf))
    return (jnp.sum(counted) == rank) & (blur <= _PLACE * smallest**2)


def growth_rate(vector: Float[Array, "n ..."], gradient: Float[Array, "n ..."], time: Float[Array, "..."]) -> Array:
    """s = -t <w, grad L> / |w|^2 = d log|w| / d log t: the exponent of a power law of growth; dimensionless.

    It tends to the exponent where the filters grow like a power of time, and to 0 where they converge.
    """
    square = jnp.sum(vector**2, axis=0)
    return jnp.where(square > 0, -time * jnp.sum(vector * gradient, axis=0) / jnp.where(square > 0, square, 1), 0)
