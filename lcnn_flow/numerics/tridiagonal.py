"""The smallest eigenvalue of many symmetric matrices at once, stored in trailing axes.

Householder reflections bring a matrix to tridiagonal form, with a few kernels over all matrices per reflection.
Bisection then finds where T - x I ceases to be positive definite, by the signs of its pivots (Sturm): p_1 = d_1 - x,
p_i = d_i - x - e_{i-1}^2 / p_{i-1}. The error is that of rounding the entries of the matrix, as with LAPACK, which
would process the matrices one at a time (Golub and Van Loan, Matrix Computations, 8.3 and 8.4).
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from lcnn_flow.numerics.kernels import as_kernel, matrix_vector, slice_of, unrolled_sum
from lcnn_flow.numerics.lapack import eigvalsh

__all__ = ["smallest_eigenvalue"]

_LARGEST_UNROLLED = 24
"""Above this size programs become long, and LAPACK processes the matrices one at a time instead."""


def smallest_eigenvalue(matrix: Float[Array, "n n lanes"]) -> Float[Array, " lanes"]:
    """The smallest eigenvalue of every matrix; NaN if an entry is not finite."""
    n = matrix.shape[0]
    if n > _LARGEST_UNROLLED:
        return jax.vmap(eigvalsh, in_axes=-1)(matrix)[:, 0]
    size = as_kernel(_largest_entry)(matrix)
    rest, diagonal, squares = as_kernel(_divide)(matrix, size), [], []
    for _ in range(n - 1):
        diagonal.append(rest[0, 0])
        normal, weight, square = as_kernel(_reflection)(rest)
        squares.append(square)
        image = matrix_vector(rest[1:, 1:], normal)
        rest = as_kernel(_reflect)(rest, normal, image, weight)
    diagonal.append(rest[0, 0])
    return size * _bisect(jnp.stack(diagonal), squares)


def _largest_entry(matrix: Array) -> Array:
    return jnp.max(jnp.abs(matrix), axis=(0, 1))


def _divide(matrix: Array, size: Array) -> Float[Array, "n n lanes"]:
    return matrix / jnp.where(size > 0, size, 1)[None, None]


def _reflection(rest: Float[Array, "m m lanes"]) -> tuple[Array, Array, Array]:
    """The normal u and weight b of the reflection I - b u u^T that maps the rest of the first column to its first
    entry.

    Returns u, b and the square of the resulting entry.
    """
    column = rest[1:, 0]
    square = unrolled_sum(len(column), lambda k: slice_of(column, k) ** 2)
    length, first = jnp.sqrt(square), column[0]
    weight = jnp.where(square > 0, 1 / jnp.where(square > 0, square + jnp.abs(first) * length, 1), 0)
    return column.at[0].add(jnp.where(first < 0, -length, length)), weight, square


def _reflect(rest: Array, normal: Array, image: Array, weight: Array) -> Float[Array, "k k lanes"]:
    """The remaining matrix after a reflection, without its first row and column."""
    along = unrolled_sum(len(normal), lambda k: slice_of(normal, k) * slice_of(image, k))
    turn = weight[None] * (image - (weight * along / 2)[None] * normal)
    return rest[1:, 1:] - normal[:, None] * turn[None] - turn[:, None] * normal[None]


def _bisect(diagonal: Float[Array, "n lanes"], squares: list[Array]) -> Float[Array, " lanes"]:
    """The smallest eigenvalue of tridiagonal matrices with entries of order 1."""
    halvings = jnp.finfo(diagonal.dtype).nmant + 4
    highest = jnp.min(diagonal, axis=0)
    width = sum((jnp.sqrt(square) for square in squares), start=jnp.zeros_like(highest))

    def halve(_: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) / 2
        pivot = diagonal[0] - middle
        definite = pivot > 0
        for entry, square in zip(diagonal[1:], squares, strict=True):
            pivot = entry - middle - square / pivot
            definite &= pivot > 0
        return jnp.where(definite, middle, low), jnp.where(definite, high, middle)

    low, high = lax.fori_loop(0, halvings, as_kernel(halve), (highest - 2 * width - 1e-3, highest))
    return (low + high) / 2
