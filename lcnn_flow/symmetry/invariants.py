"""The symmetry of a network, its conserved quantities as users want them, and a basis of its directions."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from lcnn_flow.arguments import check_kind
from lcnn_flow.errors import ArchitectureError
from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.parameters import ParamsLike, as_params, ravel
from lcnn_flow.numerics.lapack import thin_svd
from lcnn_flow.symmetry.base import Symmetry
from lcnn_flow.symmetry.gauge import ChannelGauge
from lcnn_flow.symmetry.rescaling import LayerRescaling

__all__ = ["balancedness", "symmetry_basis", "symmetry_directions", "symmetry_of"]


def symmetry_of(arch: Architecture) -> LayerRescaling | ChannelGauge:
    """The symmetry of a linear convolutional network."""
    return LayerRescaling(arch) if arch.channels is None else ChannelGauge(arch)


def balancedness(
    arch: Architecture, params: ParamsLike
) -> Float[Array, " interfaces"] | tuple[Float[Array, "c c"], ...]:
    """Conserved quantities, one entry per inner layer, in units of a squared filter.

    Single channel: h_l = (|w_l|^2 - |w_{l+1}|^2)/2, shape (N-1,). With channels: the matrices (Q_1, ..., Q_{N-1}),
    Q_l of shape (c_l, c_l).

    Raises:
        ArchitectureError: shapes of params do not fit `arch`.
    """
    check_kind("balancedness", "arch", arch, Architecture, "the order is balancedness(arch, params)", ArchitectureError)
    arch.check_params(params)
    symmetry = symmetry_of(arch)
    if isinstance(symmetry, ChannelGauge):
        return symmetry.matrices(as_params(params))
    return symmetry.conserved(ravel(params))


def symmetry_directions(arch: Architecture, vector: Float[Array, " n"]) -> Float[Array, "n d"]:
    """Directions along which the end-to-end filter is constant, at the raveled filters; one per column.

    Single channel: xi_1, ..., xi_{N-1}. With channels: d = sum_l c_l^2 generators, which may be dependent.
    """
    return symmetry_of(arch).directions(vector)


def symmetry_basis(
    symmetry: Symmetry, vector: Float[Array, " n"], sizes: Float[Array, " n"]
) -> tuple[Float[Array, "n d"], Float[Array, " d"]]:
    """Orthonormal directions that span those of the symmetry in the coordinates w / sizes, and a mask (1 or 0).

    The mask is 0 for directions that do not count: generators may be dependent.
    """
    directions = symmetry.directions(vector) / sizes[:, None]
    if directions.shape[1] == 0:
        return directions, jnp.zeros((0,), vector.dtype)
    lengths = jnp.linalg.norm(directions, axis=0, keepdims=True)
    unit = directions / jnp.where(lengths > 0, lengths, 1)
    left, strengths, _ = thin_svd(unit)
    tiny = jnp.finfo(vector.dtype).eps ** 0.75
    return left, (strengths > tiny * jnp.max(strengths)).astype(vector.dtype)
