"""Linear systems with many symmetric positive definite matrices at once, stored in trailing axes.

A = L D L^T is computed by elimination: each pivot is one kernel over all matrices, and each kernel is smaller than the
one before. Solutions follow by substitution. Gauss-Jordan elimination is not accurate enough: far along a slow valley
the matrices have condition numbers of 1e11, and a solution must still be small across the valley.
"""

from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lcnn_flow.numerics.kernels import as_kernel, matrix_vector
from lcnn_flow.numerics.lapack import one_by_one

__all__ = ["Factors", "Inverse", "by_cholesky", "factor"]

_LARGEST_UNROLLED = 24
"""Up to this size elimination over all lanes at once is faster than one Cholesky factorisation per lane (measured,
CPU)."""


class Factors(NamedTuple):
    """Factors of A = L D L^T; meaningful where `definite` is true."""

    columns: tuple[Float[Array, "_ ..."], ...]
    """Columns of n, n - 1, ..., 1 entries: the pivot (an entry of D), then the entries below the diagonal of that
    column of L."""

    @property
    def definite(self) -> Bool[Array, "..."]:
        """Whether A is positive definite: all pivots are positive."""
        return _positive(self.columns)

    def solve(self, rhs: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
        """A^{-1} rhs, for one right-hand side per matrix or, with a second axis, for several."""
        columns = self.columns
        if rhs.ndim > columns[0].ndim:
            columns = tuple(c[:, None] for c in columns)
        rest = [rhs]
        for column in columns[:-1]:
            rest.append(_forward(rest[-1], column))
        x: list[Array] = []
        for y, column in zip(reversed(rest), reversed(columns), strict=True):
            x.insert(0, _backward(y, column, x))
        return as_kernel(jnp.stack)(x)

    @property
    def inverse(self) -> Float[Array, "n n ..."]:
        """The inverse matrices A^{-1}."""
        shape = self.columns[0].shape
        identity = jnp.eye(shape[0], dtype=self.columns[0].dtype).reshape(*shape[:1] * 2, *(1 for _ in shape[1:]))
        return self.solve(jnp.broadcast_to(identity, (shape[0], *shape)))


class Inverse(NamedTuple):
    """An explicit inverse A^{-1}, with the same interface as `Factors`."""

    inverse: Float[Array, "n n ..."]
    definite: Bool[Array, "..."]

    def solve(self, rhs: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
        """The solutions A^{-1} rhs."""
        return matrix_vector(self.inverse, rhs)


def factor(matrix: Float[Array, "n n ..."]) -> Factors | Inverse:
    """Factorises symmetric matrices for solving; large ones are inverted one at a time by Cholesky's method."""
    n = matrix.shape[0]
    if n > _LARGEST_UNROLLED and matrix.ndim == 3:
        inverse, definite = jax.vmap(one_by_one(by_cholesky))(jnp.moveaxis(matrix, -1, 0))
        return Inverse(jnp.moveaxis(inverse, 0, -1), definite)
    rest, columns = matrix, [_column(matrix)]
    for _ in range(n - 1):
        rest = _eliminate(rest, columns[-1])
        columns.append(_column(rest))
    return Factors(tuple(columns))


def by_cholesky(matrix: Float[Array, "n n"]) -> tuple[Float[Array, "n n"], Bool[Array, ""]]:
    """The inverse of a symmetric matrix, and whether it is positive definite."""
    lower = jnp.linalg.cholesky(matrix)
    inverse = jax.scipy.linalg.cho_solve((lower, True), jnp.eye(matrix.shape[0], dtype=matrix.dtype))
    return inverse, jnp.all(jnp.isfinite(lower))


@as_kernel
def _column(rest: Array) -> Array:
    first = jnp.arange(len(rest)).reshape(-1, *(1 for _ in rest.shape[2:])) == 0
    return rest[:, 0] / jnp.where(first, 1, rest[0, 0][None])


@as_kernel
def _eliminate(rest: Array, column: Array) -> Array:
    return rest[1:, 1:] - column[1:, None] * rest[0, 1:][None]


@as_kernel
def _positive(columns: tuple[Array, ...]) -> Array:
    return reduce(jnp.logical_and, [(c[0] > 0) & jnp.isfinite(c[0]) for c in columns])


@as_kernel
def _forward(rest: Array, column: Array) -> Array:
    return rest[1:] - column[1:] * rest[0][None]


@as_kernel
def _backward(rest: Array, column: Array, x: list[Array]) -> Array:
    return reduce(jnp.subtract, [c * entry for c, entry in zip(column[1:], x, strict=True)], rest[0] / column[0])
