"""Linear algebra of one Rosenbrock step: the stages share the matrix I/gamma - h J.

For a gradient flow J = -Hess L, so the matrix I/gamma + h Hess L is symmetric, and a step is trustworthy only
while it is positive definite: past that the step is longer than the unstable modes allow.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float

from lcnn_flow.lapack import one_by_one

__all__ = ["Inverse", "StageSolver", "dense_stage_solver", "inverse_positive_definite", "invert_positive_definite"]

StageSolver = Callable[..., tuple[Callable[[Array], Array], Array]]
"""(terms, t, y, args, control, gamma) -> (right-hand side -> solution, matrix is fit for a step)."""


def dense_stage_solver(terms: Any, t: Any, y: Any, args: Any, control: Any, gamma: float):
    """Stage solver for any vector field: dense Jacobian by forward-mode differentiation, LU factors."""
    flat, unravel = ravel_pytree(y)

    def increment(x: Array) -> Array:
        return ravel_pytree(terms.vf_prod(t, unravel(x), args, control))[0]

    matrix = jnp.eye(flat.size, dtype=flat.dtype) / gamma - jax.jacfwd(increment)(flat)
    factors = jax.scipy.linalg.lu_factor(matrix)
    return lambda rhs: jax.scipy.linalg.lu_solve(factors, rhs), jnp.all(jnp.isfinite(factors[0]))


@jax.custom_jvp
def inverse_positive_definite(matrix: Float[Array, "n n"]) -> tuple[Float[Array, "n n"], Bool[Array, ""]]:
    """Inverse of a symmetric matrix by Cholesky factors, and whether it is positive definite.

    Elimination without factors (Gauss-Jordan) will not do: far along a slow valley the matrix has condition
    numbers of 1e11, and the inverse must still be small across the valley. Under jax.vmap it is one of
    `invert_positive_definite`; derivatives are those of Cholesky's method.
    """
    return _inverse(matrix)


@inverse_positive_definite.defjvp
def _inverse_jvp(primals: tuple, tangents: tuple) -> tuple:
    return jax.jvp(_by_cholesky, primals, tangents)


def _by_cholesky(matrix: Float[Array, "n n"]) -> tuple[Float[Array, "n n"], Bool[Array, ""]]:
    factor = jnp.linalg.cholesky(matrix)
    inverse = jax.scipy.linalg.cho_solve((factor, True), jnp.eye(matrix.shape[0], dtype=matrix.dtype))
    return inverse, jnp.all(jnp.isfinite(factor))


_inverse = jax.custom_batching.custom_vmap(_by_cholesky)


@_inverse.def_vmap
def _inverses(size: int, batched: Any, matrices: Float[Array, "b n n"]) -> tuple:
    del size, batched
    found = invert_positive_definite(jnp.moveaxis(matrices, 0, -1))
    return (jnp.moveaxis(found.matrix, -1, 0), found.definite), (True, True)


_one_by_cholesky = one_by_one(_by_cholesky)


class Inverse(NamedTuple):
    """A^{-1} of many symmetric matrices, in trailing axes."""

    matrix: Float[Array, "n n ..."]
    pivots: Float[Array, "n ..."]
    """D of A = L D L^T."""
    definite: Bool[Array, "..."]
    """All pivots are positive: A is positive definite."""

    def __matmul__(self, rhs: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
        """A^{-1} rhs."""
        return lax.fori_loop(
            0, len(rhs), lambda k, u: u + _row(self.matrix, k) * _row(rhs, k)[None], jnp.zeros_like(rhs)
        )

    @property
    def trace(self) -> Float[Array, "..."]:
        """Trace of A^{-1}: where A is positive definite at least its norm, and at most n times that."""
        return jnp.sum(jnp.stack([self.matrix[k, k] for k in range(len(self.matrix))]), axis=0)


_LARGEST_LOOP = 24
"""Up to this size elimination over all lanes at once beats Cholesky's method lane by lane (measured, CPU)."""


def invert_positive_definite(matrix: Float[Array, "n n ..."]) -> Inverse:
    """Inverses of symmetric matrices side by side; meaningful where `definite`.

    A^{-1} = M^T D^{-1} M with M = L^{-1}, A = L D L^T, is as accurate as substitution, which elimination without
    factors is not (see `inverse_positive_definite`). M fills the columns that A leaves, so that a pivot costs one pass
    over n^2 numbers a matrix. Sums are accumulated in loops: each pass is one kernel over all matrices.
    """
    n, trailing = matrix.shape[0], matrix.shape[2:]
    if n > _LARGEST_LOOP and len(trailing) == 1:
        inverse, definite = jax.vmap(_one_by_cholesky)(jnp.moveaxis(matrix, -1, 0))
        signs = jnp.where(definite, 1.0, -1.0).astype(matrix.dtype)
        return Inverse(jnp.moveaxis(inverse, 0, -1), jnp.broadcast_to(signs, matrix.shape[1:]), definite)
    rows = jnp.arange(n).reshape(n, *(1 for _ in trailing))

    def eliminate(k: Array, work: Array) -> Array:
        row, column = _row(work, k), lax.dynamic_index_in_dim(work, k, 1, keepdims=False)
        factor = jnp.where(rows > k, column / _row(row, k)[None], 0)
        row = jnp.where(rows == k, 1.0, row).astype(row.dtype)  # left of the pivot the row holds M, on it M = 1
        return jnp.where((rows > k)[:, None] & (rows == k)[None], 0, work) - factor[:, None] * row[None]

    work = lax.fori_loop(0, n, eliminate, matrix)
    diagonal = rows[:, None] == rows[None]
    pivots = jnp.sum(jnp.where(diagonal, work, 0), axis=1)
    lower = jnp.where(rows[:, None] > rows[None], work, diagonal.astype(work.dtype))
    scaled = lower / pivots[:, None]
    inverse = lax.fori_loop(
        0, n, lambda k, total: total + _row(lower, k)[:, None] * _row(scaled, k)[None], jnp.zeros_like(matrix)
    )
    return Inverse(inverse, pivots, jnp.all((pivots > 0) & jnp.isfinite(pivots), axis=0))


def _row(array: Array, k: Array) -> Array:
    return lax.dynamic_index_in_dim(array, k, 0, keepdims=False)
