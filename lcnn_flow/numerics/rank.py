"""The numerical rank of a matrix, from the singular values of the matrix itself and not of its Gram matrix.

A singular value counts as zero up to max(shape) * eps times the largest one, which is the rounding error of the
factorisation.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from lcnn_flow.numerics.lapack import singular_values

__all__ = ["above_rounding", "smallest_singular_value", "values_above_rounding"]


def above_rounding(values: Array | np.ndarray, longest: int | Array) -> Any:
    """Which singular values (largest first) are above rounding, for a matrix whose longer side is `longest`; JAX or
    numpy."""
    return values > longest * jnp.finfo(values.dtype).eps * values[0]


def values_above_rounding(
    triangle: Float[Array, "k q"], rows: int | Array
) -> tuple[Float[Array, " k"], Bool[Array, " k"]]:
    """Singular values of a matrix with `rows` rows, largest first, and a mask of those above rounding.

    `triangle` is the triangular factor of its QR decomposition or the matrix itself. The mask counts the rank.
    """
    values = singular_values(triangle)
    return values, above_rounding(values, jnp.maximum(rows, triangle.shape[1]))


def smallest_singular_value(triangle: Float[Array, "k q"], rows: int | Array) -> Float[Array, ""]:
    """min |A v|/|v|; 0 where the columns are linearly dependent up to rounding."""
    values, counts = values_above_rounding(triangle, rows)
    full = jnp.sum(counts) == triangle.shape[1]
    return jnp.where(full, values[-1], 0)
