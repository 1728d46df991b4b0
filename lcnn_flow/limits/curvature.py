"""Curvature at a point: index and nullity of the Hessian modulo symmetries.

At a critical point the Hessian vanishes along the symmetry directions, so its eigenvalues are counted on their
orthogonal complement.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from lcnn_flow.limits.rounding import across_nudges, eigenvalue_rounding
from lcnn_flow.numerics.lapack import eigh
from lcnn_flow.risk.base import RiskLike
from lcnn_flow.symmetry.invariants import symmetry_basis

__all__ = ["Curvature", "curvature", "spectrum"]

_FLAT = 1e-3
"""A symmetry direction is ignored if the Hessian along it exceeds this fraction of its norm; the filters then nearly
vanish."""


class Curvature(NamedTuple):
    """Index, nullity and smallest eigenvalue of the Hessian on the complement of the symmetry directions."""

    index: Int[Array, ""]
    """Number of negative eigenvalues."""
    nullity: Int[Array, ""]
    """Number of eigenvalues that count as zero."""
    smallest: Float[Array, ""]
    """Smallest eigenvalue."""


def curvature(
    risk: RiskLike,
    vector: Float[Array, " n"],
    exact: bool | Array = True,
    zero: float | Array = 0.0,
    start: Float[Array, "n ..."] | None = None,
) -> Curvature:
    """Index, nullity and smallest eigenvalue of the Hessian at the raveled filters, modulo the symmetry directions.

    Index and nullity are determined in units of each layer's norm, from D H D with D = diag(|w_l|). By Sylvester's law
    they are the same, and thresholds do not depend on the distribution of norms over layers (`risk.units`).

    Args:
        risk: the empirical risk.
        vector: raveled filters, at or near a critical point.
        exact: whether the point is known to rounding. If so, eigenvalues up to their own rounding error count as 0.
        zero: otherwise eigenvalues count as 0 up to `zero` times the largest absolute eigenvalue, or up to `zero` times
            the Hessian's size without cancellation if that is larger: near interpolation the remaining residuals
            contribute to the Hessian.
        start: raveled start of the flow, from which the units may be determined.
    """
    sizes = risk.units(vector, start)

    def scaled_hessian(risk: RiskLike, vector: Array) -> Array:
        return risk.hessian(vector) * jnp.outer(sizes, sizes)

    hessian, changes = across_nudges(scaled_hessian, risk, vector, sizes)
    scaled, axes, present = _across(risk, vector, hessian, sizes)
    lengths = jnp.where(present, jnp.abs(scaled), 0)
    largest = jnp.max(lengths)
    rounding = eigenvalue_rounding(axes, changes, largest)
    uncancelled = risk.curvature_scale(vector)
    rough = jnp.maximum(rounding, zero * jnp.maximum(largest, uncancelled))
    null = present & (lengths <= jnp.where(exact, rounding, rough))
    index = jnp.sum(present & ~null & (scaled < 0))
    smallest = _across(risk, vector, hessian / jnp.outer(sizes, sizes), jnp.ones_like(sizes))[0][0]
    return Curvature(index.astype(jnp.int32), jnp.sum(null).astype(jnp.int32), smallest)


def spectrum(risk: RiskLike, vector: Float[Array, " n"]) -> Float[Array, " n"]:
    """Hessian eigenvalues across the symmetry directions, ascending; the last entries, one per direction, are NaN."""
    eigenvalues, _, present = _across(risk, vector, risk.hessian(vector), jnp.ones_like(vector))
    return jnp.where(present, eigenvalues, jnp.nan)


def _across(risk: RiskLike, vector: Array, hessian: Array, sizes: Array) -> tuple[Array, Array, Array]:
    """Eigenvalues across the symmetry directions in units `sizes`, ascending, their eigenvectors, and a mask of valid
    ones."""
    basis, counts = symmetry_basis(risk.symmetry, vector, sizes)
    along_basis = jnp.linalg.norm(jnp.matmul(hessian, basis, precision=lax.Precision.HIGHEST), axis=0)
    counts = jnp.where(along_basis <= _FLAT * jnp.linalg.norm(hessian), counts, 0)
    basis = basis * counts[None, :]
    along = jnp.matmul(basis, basis.T, precision=lax.Precision.HIGHEST)
    across = jnp.eye(vector.size, dtype=vector.dtype) - along
    projected = jnp.matmul(jnp.matmul(across, hessian), across, precision=lax.Precision.HIGHEST)
    projected = (projected + projected.T) / 2
    lift = jnp.linalg.norm(projected)  # exceeds every eigenvalue, so the symmetry directions are last
    eigenvalues, axes = eigh(projected + 2 * lift * along)
    return eigenvalues, axes, jnp.arange(vector.size) < vector.size - jnp.sum(counts != 0)
