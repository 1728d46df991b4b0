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
from lcnn_flow.lapack import eigh, eigvalsh
from lcnn_flow.network import layer_norms, unravel
from lcnn_flow.risk import EmpiricalRisk

__all__ = ["Curvature", "curvature", "growth_rate", "satisfies_local_pl", "spectrum"]

_FLAT = 1e-3
"""A symmetry direction along which the Hessian is larger, relative to its norm, is none: the filters nearly vanish."""


class Curvature(NamedTuple):
    """Signature of the Hessian on the complement of the symmetry directions."""

    index: Int[Array, ""]
    """Number of negative eigenvalues."""
    nullity: Int[Array, ""]
    """Number of eigenvalues that count as zero."""
    smallest: Float[Array, ""]
    """Smallest eigenvalue."""


def curvature(risk: EmpiricalRisk, vector: Float[Array, " n"], zero: Any = None, rough: Any = False) -> Curvature:
    """Signature of the Hessian at the raveled filters, modulo the symmetry directions.

    Index and nullity are read off in units of each layer's norm, D H D with D = diag(|w_l|): by Sylvester's law
    they are the same, and thresholds do not depend on how norms are shared out between layers.

    Args:
        risk: the empirical risk.
        vector: raveled filters, at or near a critical point.
        zero: eigenvalues up to `zero` times the largest absolute one count as 0; eps^(2/3) by default, 4e-11 in
            float64, which is right for points known to rounding.
        rough: whether the point is known less well. Eigenvalues are then compared with the largest that there would be
            if nothing cancelled in the residuals too: near interpolation, what is left of them bends the Hessian.
    """
    threshold = jnp.finfo(vector.dtype).eps ** (2 / 3) if zero is None else zero
    hessian = risk.hessian(vector)
    sizes = layer_units(risk, vector)
    scaled, present = _across(risk, vector, hessian * jnp.outer(sizes, sizes), sizes)
    lengths = jnp.where(present, jnp.abs(scaled), 0)
    uncancelled = risk.steepness(vector) * jnp.prod(layer_norms(risk.arch, vector)) ** 2
    largest = jnp.maximum(jnp.max(lengths), jnp.where(rough, uncancelled, 0))
    null = present & (lengths <= threshold * largest)
    index = jnp.sum(present & ~null & (scaled < 0))
    smallest = _across(risk, vector, hessian, jnp.ones_like(sizes))[0][0]
    return Curvature(index.astype(jnp.int32), jnp.sum(null).astype(jnp.int32), smallest)


def spectrum(risk: EmpiricalRisk, vector: Float[Array, " n"]) -> Float[Array, " n"]:
    """Hessian eigenvalues across the symmetry directions, ascending; NaN in the last places, one a direction."""
    eigenvalues, present = _across(risk, vector, risk.hessian(vector), jnp.ones_like(vector))
    return jnp.where(present, eigenvalues, jnp.nan)


def _across(risk: EmpiricalRisk, vector: Array, hessian: Array, sizes: Array) -> tuple[Array, Array]:
    """Eigenvalues across the symmetry directions in units `sizes`, ascending, and a mask of those that are."""
    basis, counts = symmetry_basis(risk.arch, vector, sizes)
    bend = jnp.linalg.norm(jnp.matmul(hessian, basis, precision=lax.Precision.HIGHEST), axis=0)
    counts = jnp.where(bend <= _FLAT * jnp.linalg.norm(hessian), counts, 0)
    basis = basis * counts[None, :]
    along = jnp.matmul(basis, basis.T, precision=lax.Precision.HIGHEST)
    across = jnp.eye(vector.size, dtype=vector.dtype) - along
    projected = jnp.matmul(jnp.matmul(across, hessian), across, precision=lax.Precision.HIGHEST)
    projected = (projected + projected.T) / 2
    lift = jnp.linalg.norm(projected)  # bounds every eigenvalue, so the symmetry directions come last
    return eigvalsh(projected + 2 * lift * along), jnp.arange(vector.size) < vector.size - jnp.sum(counts)


def satisfies_local_pl(risk: EmpiricalRisk, vector: Float[Array, " n"], zero: Any = None) -> Bool[Array, ""]:
    """Whether the local Polyak-Lojasiewicz test passes at a critical point: rank(P J) = rank(P), rho'' > 0 enough.

    It then is a global minimum over all end-to-end filters (grad l(v) = 0 for a convex loss), and the flow converges
    to it exponentially. The curvature l''(v) of every output channel must be positive definite on the row space of P:
    positive semidefinite, and of the rank of P, so that residuals with rho'' = 0 do not hide directions of P. J^T must
    be injective there. False for `form="layers"`, which keeps no patch matrix.

    Args:
        risk: the empirical risk.
        vector: raveled filters, at or near a critical point.
        zero: eigenvalues up to `zero` times the largest count as 0, for l''(v) the largest that there would be if
            nothing cancelled in the residuals; eps^(2/3) by default, right for points known to rounding.
    """
    form = risk.filter_risk
    if form is None:
        return jnp.asarray(False)
    fine = jnp.finfo(vector.dtype).eps ** (2 / 3)
    zero = fine if zero is None else zero
    V = filter_rows(risk.arch, unravel(risk.arch, vector))
    eigenvalues, axes = jax.vmap(eigh)(form.hessian(V))
    floor = zero * jnp.maximum(jnp.max(jnp.abs(eigenvalues)), form.steepness(V))
    seen, convex = eigenvalues > floor, jnp.all(eigenvalues > -floor)
    data = eigvalsh(form.moments)
    whole = jnp.all(jnp.sum(seen, axis=1) == jnp.sum(data > fine * jnp.max(jnp.abs(data))))
    jacobian = risk.filter_jacobian(vector) * layer_units(risk, vector)[None, :]
    jacobian = jacobian.reshape(len(V), -1, vector.size)
    moves = jnp.einsum("cqp,cqn->cpn", axes, jacobian, precision=lax.Precision.HIGHEST).reshape(-1, vector.size)
    seen = seen.reshape(-1)
    moves = jnp.where(seen[:, None], moves, 0)
    gram = jnp.matmul(moves, moves.T, precision=lax.Precision.HIGHEST)
    size = jnp.max(jnp.abs(gram))
    weakest = jnp.min(eigvalsh(gram + jnp.diag(jnp.where(seen, 0, 2 * gram.shape[0] * size))))
    return convex & whole & jnp.any(seen) & (weakest > zero * size)


def growth_rate(vector: Float[Array, "n ..."], gradient: Float[Array, "n ..."], time: Float[Array, "..."]) -> Array:
    """s = -t <w, grad L> / |w|^2 = d log|w| / d log t: the exponent of a power law of growth; dimensionless.

    It tends to the exponent where the filters grow like a power of time, and to 0 where they converge.
    """
    square = jnp.sum(vector**2, axis=0)
    return jnp.where(square > 0, -time * jnp.sum(vector * gradient, axis=0) / jnp.where(square > 0, square, 1), 0)
