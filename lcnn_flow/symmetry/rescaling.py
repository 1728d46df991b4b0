"""Conserved quantities of gradient flow, and the symmetry directions that they come from.

Single channel: rescaling two neighbouring filters leaves the network unchanged, so the balancedness
h_l = (|w_l|^2 - |w_{l+1}|^2)/2 is conserved, with gradient xi_l = (..., w_l, -w_{l+1}, ...). With channels the
symmetric matrices Q_l = sum_tau W_{l+1}(tau)^T W_{l+1}(tau) - sum_tau W_l(tau) W_l(tau)^T are conserved, and the
symmetry directions are W_l -> A W_l, W_{l+1} -> -W_{l+1} A for every square matrix A. Derived from the invariance
of the end-to-end filter; any dimension and strides.
"""

import itertools

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from lcnn_flow.arguments import check_kind
from lcnn_flow.errors import ArchitectureError
from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.parameters import Params, ParamsLike, as_params, ravel, squared_norms, unravel
from lcnn_flow.numerics.lapack import thin_svd

__all__ = [
    "balancedness",
    "conserved",
    "leaf_chain",
    "leaf_levels",
    "leaf_values",
    "symmetry_basis",
    "symmetry_directions",
]


def balancedness(
    arch: Architecture, params: ParamsLike
) -> Float[Array, " interfaces"] | tuple[Float[Array, "c c"], ...]:
    """Conserved quantities, one entry an inner layer, in units of a squared filter.

    Single channel: h_l = (|w_l|^2 - |w_{l+1}|^2)/2, shape (N-1,). With channels: the matrices (Q_1, ..., Q_{N-1}),
    Q_l of shape (c_l, c_l).

    Raises:
        ArchitectureError: shapes of params do not fit `arch`.
    """
    check_kind("balancedness", "arch", arch, Architecture, "the order is balancedness(arch, params)", ArchitectureError)
    arch.check_params(params)
    return conserved(arch, ravel(params)) if arch.channels is None else _matrices(as_params(params))


def conserved(arch: Architecture, vector: Float[Array, "n ..."]) -> Float[Array, "d ..."]:
    """All conserved quantities at the raveled filters, as one vector: h, or the upper triangles of the Q_l.

    Trailing axes for a single channel only.
    """
    if arch.channels is None:
        squares = lax.optimization_barrier(squared_norms(arch, vector))  # a fused multiply-subtract of equals is not 0
        return (squares[:-1] - squares[1:]) / 2
    triangles = [q[jnp.triu_indices(q.shape[0])] for q in _matrices(unravel(arch, vector))]
    return jnp.concatenate(triangles) if triangles else jnp.zeros((0,), vector.dtype)


def leaf_levels(arch: Architecture, vector: Float[Array, " n"]) -> Float[Array, " m"]:
    """What picks the invariant leaf through the raveled filters: |w_l|^2, with channels the conserved quantities."""
    return conserved(arch, vector) if arch.channels is not None else squared_norms(arch, vector)


def leaf_chain(arch: Architecture, vector: Float[Array, " n"]) -> Int[Array, " N"]:
    """The layers from the largest filter to the smallest: neighbours in this order make `leaf_values`."""
    return jnp.argsort(-squared_norms(arch, vector))


def leaf_values(arch: Architecture, levels: Float[Array, " m"], chain: Int[Array, " N"]) -> Float[Array, " d"]:
    """The conserved quantities of a leaf, or the offsets from it, from levels or their differences.

    Single channel: (|w_i|^2 - |w_j|^2)/2 for neighbours of the chain. Every filter but the smallest is then the larger
    one of a pair; from the h_l themselves two small filters around a large one are known to the rounding of the large
    one only.
    """
    if arch.channels is not None:
        return levels
    ordered = lax.optimization_barrier(levels)[chain]
    return (ordered[:-1] - ordered[1:]) / 2


def symmetry_directions(arch: Architecture, vector: Float[Array, " n"]) -> Float[Array, "n d"]:
    """Directions along which the end-to-end filter is constant, at the raveled filters; one a column.

    Single channel: xi_1, ..., xi_{N-1}. With channels: d = sum_l c_l^2 generators, which may be dependent.
    """
    params = unravel(arch, vector)
    columns = []
    for layer in range(arch.depth - 1):
        below, above = params[layer], params[layer + 1]
        if arch.channels is None:
            generators = [(below, -above)]
        else:
            basis = jnp.eye(below.shape[0] ** 2, dtype=vector.dtype).reshape(-1, below.shape[0], below.shape[0])
            generators = [(_on_outputs(g, below), -_on_inputs(g, above)) for g in basis]
        for move_below, move_above in generators:
            zeros = [jnp.zeros_like(w) for w in params]
            zeros[layer], zeros[layer + 1] = move_below, move_above
            columns.append(ravel(tuple(zeros)))
    return jnp.stack(columns, axis=1) if columns else jnp.zeros((vector.size, 0), vector.dtype)


def symmetry_basis(
    arch: Architecture, vector: Float[Array, " n"], sizes: Float[Array, " n"]
) -> tuple[Float[Array, "n d"], Float[Array, " d"]]:
    """Orthonormal directions that span `symmetry_directions` in the coordinates w / sizes, and a mask (1 or 0).

    The mask is 0 for directions that do not count: generators may be dependent.
    """
    directions = symmetry_directions(arch, vector) / sizes[:, None]
    if directions.shape[1] == 0:
        return directions, jnp.zeros((0,), vector.dtype)
    lengths = jnp.linalg.norm(directions, axis=0, keepdims=True)
    unit = directions / jnp.where(lengths > 0, lengths, 1)
    left, strengths, _ = thin_svd(unit)
    tiny = jnp.finfo(vector.dtype).eps ** 0.75
    return left, (strengths > tiny * jnp.max(strengths)).astype(vector.dtype)


def _matrices(params: Params) -> tuple[Array, ...]:
    matrices = []
    for below, above in itertools.pairwise(params):
        out = jnp.moveaxis(above, 1, 0).reshape(above.shape[1], -1)
        into = below.reshape(below.shape[0], -1)
        matrices.append(_gram(out) - _gram(into))
    return tuple(matrices)


def _gram(matrix: Array) -> Array:
    return jnp.matmul(matrix, matrix.T, precision=lax.Precision.HIGHEST)


def _on_outputs(generator: Array, filters: Array) -> Array:
    return jnp.tensordot(generator, filters, axes=1, precision=lax.Precision.HIGHEST)


def _on_inputs(generator: Array, filters: Array) -> Array:
    return jnp.moveaxis(jnp.tensordot(filters, generator, axes=(1, 0), precision=lax.Precision.HIGHEST), -1, 1)
