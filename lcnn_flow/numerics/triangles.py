"""Many symmetric matrices by their lower triangles: m_ij = m_ji is entry i(i+1)/2 + j of a list, j <= i.

Sums over samples of products of two columns have such matrices as values: the triangle is half of the work.
"""

import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from lcnn_flow.numerics.kernels import slice_of, total

__all__ = ["Curvature", "product_with", "symmetric"]

Curvature = Callable[[Float[Array, "c q n ..."]], Float[Array, "c q n ..."]]
"""The product of a symmetric matrix a channel, the second derivative in the end-to-end filter, with columns."""


def symmetric(entries: Float[Array, "c k ..."]) -> Float[Array, "c q q ..."]:
    """The matrices with these lower triangles, k = q(q+1)/2, in the order of `np.tril_indices`."""
    size = (math.isqrt(8 * entries.shape[1] + 1) - 1) // 2
    low, high = np.tril_indices(size)
    place = np.zeros((size, size), int)
    place[low, high] = place[high, low] = np.arange(low.size)
    return entries[:, place]


def product_with(matrices: Float[Array, "c q q ..."]) -> Curvature:
    """The product with symmetric matrices: nothing larger than the columns is held."""

    def product(columns: Float[Array, "c q n ..."]) -> Float[Array, "c q n ..."]:
        if columns.ndim > 3:
            q = columns.shape[1]
            return total(q, lambda k: slice_of(matrices, k, 1)[:, :, None] * slice_of(columns, k, 1)[:, None])
        rows = jnp.moveaxis(matrices, 1, 0)
        return jnp.moveaxis(lax.map(lambda row: jnp.sum(row[:, :, None] * columns, axis=1), rows), 0, 1)

    return product
