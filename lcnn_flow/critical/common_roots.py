"""The distance of the filters of two layers from having a common root.

Layer l of a one-dimensional single-channel network is the polynomial w_l(z^{S_l}) with S_l the cumulative stride. Two
polynomials have a common root, zero and infinity included, if and only if their Sylvester matrix is singular. At stride
1 the rank of the Jacobian of the end-to-end filter is reduced exactly where layers share a root. Derived.
"""

import itertools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.parameters import unravel
from lcnn_flow.numerics.lapack import singular_values

__all__ = ["common_root_gap"]


def common_root_gap(arch: Architecture, vector: Float[Array, " n"]) -> Float[Array, ""]:
    """Smallest singular value, over pairs of layers, of the Sylvester matrix of the filters scaled to norm 1.

    0 if two layers have a common root or a filter vanishes; dimensionless, at most 1. NaN in two dimensions and with
    channels, where roots are not points, and for a single layer.

    Args:
        arch: the network.
        vector: raveled filters.
    """
    if arch.channels is not None or arch.dimension != 1 or arch.depth == 1:
        return jnp.asarray(jnp.nan, vector.dtype)
    filters, gaps = unravel(arch, vector), []
    strides = [stride[0] for stride in arch.cumulative_strides]
    for i, j in itertools.combinations(range(arch.depth), 2):
        spacing = strides[j] // strides[i]  # in u = z^{S_i}: S_i divides S_j
        matrix = _sylvester(_normalised(filters[i]), _with_spacing(_normalised(filters[j]), spacing))
        gaps.append(singular_values(matrix)[-1] if matrix.size else jnp.ones((), vector.dtype))
    vanishes = jnp.any(jnp.stack([jnp.all(w == 0) for w in filters]))
    return jnp.where(vanishes, 0, jnp.min(jnp.stack(gaps)))


def _sylvester(p: Array, q: Array) -> Array:
    """Rows p, shifted deg q times, and q, shifted deg p times; singular if and only if p and q have a common root."""
    size = p.shape[0] + q.shape[0] - 2
    matrix = jnp.zeros((size, size), p.dtype)
    for rows, filters in ((np.arange(q.shape[0] - 1), p), (np.arange(p.shape[0] - 1), q)):
        first = 0 if filters is p else q.shape[0] - 1
        columns = rows[:, None] + np.arange(filters.shape[0])[None, :]
        matrix = matrix.at[first + rows[:, None], columns].set(filters[None, :])
    return matrix


def _normalised(w: Array) -> Array:
    norm = jnp.linalg.norm(w)
    return w / jnp.where(norm > 0, norm, 1)


def _with_spacing(w: Array, spacing: int) -> Array:
    """The coefficients of w(u^spacing)."""
    return jnp.zeros(((w.shape[0] - 1) * spacing + 1,), w.dtype).at[::spacing].set(w)
