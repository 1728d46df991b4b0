"""The symmetry of a network, its conserved quantities in the user's terms, and a basis of its directions."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from lcnn_flow.arguments import check_kind
from lcnn_flow.errors import ArchitectureError
from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.dense import Dense, Network
from lcnn_flow.network.parameters import as_filters, as_params, ravel
from lcnn_flow.numerics.lapack import thin_svd
from lcnn_flow.symmetry.base import Symmetry
from lcnn_flow.symmetry.gauge import ChannelGauge
from lcnn_flow.symmetry.homogeneous import Homogeneous
from lcnn_flow.symmetry.rescaling import LayerRescaling

__all__ = ["balancedness", "symmetry_basis", "symmetry_directions", "symmetry_of"]


def symmetry_of(arch: Architecture) -> LayerRescaling | ChannelGauge:
    """The symmetry of a linear convolutional network."""
    return LayerRescaling(arch) if arch.channels is None else ChannelGauge(arch)


def balancedness(
    arch: Network, params: PyTree
) -> Float[Array, " interfaces"] | tuple[Float[Array, "c c"], ...] | Float[Array, " channels"]:
    """Conserved quantities of the gradient flow of a network, in units of a squared filter.

    Linear networks with a single channel: h_l = (|w_l|^2 - |w_{l+1}|^2)/2 for each pair of neighbouring layers, shape
    (N-1,). Linear networks with channels, and linear `Dense`: the matrices (Q_1, ..., Q_{N-1}), Q_l of shape (c_l,
    c_l). Networks with an activation or biases: |W_in|^2 + b^2 - p |W_out|^2 for each hidden channel, where p is the
    activation's degree of homogeneity. An activation that is not homogeneous, such as tanh, conserves nothing, and the
    same expression with p = 1 is returned.

    Args:
        arch: an `Architecture` or `Dense`.
        params: its filters, one array per layer.

    Returns:
        (N-1,), or N-1 matrices (c_l, c_l), or one number per hidden channel, (channels,).

    Raises:
        ArchitectureError: shapes of params do not fit `arch`.
    """
    order = "the order is balancedness(arch, params)"
    check_kind("balancedness", "arch", arch, (Architecture, Dense), order, ArchitectureError)
    arch.check_params(params)
    layers = as_params(jax.tree.leaves(params))
    if not arch.is_linear:
        degree = 1.0 if arch.activation is None else arch.activation.degree
        return Homogeneous(arch, 1.0 if degree is None else degree).conserved(ravel(layers))
    symmetry = symmetry_of(arch.convolution())
    if isinstance(symmetry, ChannelGauge):
        return symmetry.matrices(as_filters(arch, layers))
    return symmetry.conserved(ravel(layers))


def symmetry_directions(arch: Architecture, vector: Float[Array, " n"]) -> Float[Array, "n d"]:
    """Directions at the raveled filters along which the end-to-end filter is constant, one per column.

    Single channel: xi_1, ..., xi_{N-1}. With channels: d = sum_l c_l^2 generators, which may be linearly dependent.

    Args:
        arch: a linear network.
        vector: (n,) its filters, raveled.

    Returns:
        (n, d), one direction per column; d = N - 1 for single channels.
    """
    return symmetry_of(arch).directions(vector)


def symmetry_basis(
    symmetry: Symmetry, vector: Float[Array, " n"], sizes: Float[Array, " n"]
) -> tuple[Float[Array, "n d"], Float[Array, " d"]]:
    """An orthonormal basis of the symmetry directions in the coordinates w / sizes, and a mask of 1 or 0.

    The mask is 0 for surplus columns, which occur because generators may be linearly dependent.
    """
    directions = symmetry.directions(vector) / sizes[:, None]
    if directions.shape[1] == 0:
        return directions, jnp.zeros((0,), vector.dtype)
    lengths = jnp.linalg.norm(directions, axis=0, keepdims=True)
    normalised = directions / jnp.where(lengths > 0, lengths, 1)
    left, strengths, _ = thin_svd(normalised)
    tiny = jnp.finfo(vector.dtype).eps ** 0.75
    return left, (strengths > tiny * jnp.max(strengths)).astype(vector.dtype)
