"""Many symmetric matrices stored as lower triangles: m_ij = m_ji is entry i(i+1)/2 + j, j <= i, of a list.

Sums over samples of products of two columns are such matrices; storing the triangle halves the work.
"""

import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from lcnn_flow.numerics.kernels import slice_of, unrolled_sum

__all__ = ["CurvatureProduct", "product_with", "symmetric"]

CurvatureProduct = Callable[[Float[Array, "c q n ..."]], Float[Array, "c q n ..."]]
"""Multiplies columns by one symmetric matrix per channel, the second derivative of the risk in the end-to-end filter.
"""


def symmetric(entries: Float[Array, "c k ..."]) -> Float[Array, "c q q ..."]:
    """The full matrices with these lower triangles of k = q(q+1)/2 entries, in the order of `np.tril_indices`."""
    size = (math.isqrt(8 * entries.shape[1] + 1) - 1) // 2
    low, high = np.tril_indices(size)
    place = np.zeros((size, size), int)
    place[low, high] = place[high, low] = np.arange(low.size)
    return entries[:, place]


def product_with(matrices: Float[Array, "c q q ..."]) -> CurvatureProduct:
    """Multiplication of columns by these symmetric matrices; no array larger than the columns is allocated."""

    def product(columns: Float[Array, "c q n ..."]) -> Float[Array, "c q n ..."]:
        if columns.ndim > 3:
            q = columns.shape[1]
            return unrolled_sum(q, lambda k: slice_of(matrices, k, 1)[:, :, None] * slice_of(columns, k, 1)[:, None])
        rows = jnp.moveaxis(matrices, 1, 0)
        return jnp.moveaxis(lax.map(lambda row: jnp.sum(row[:, :, None] * columns, axis=1), rows), 0, 1)

    return product
