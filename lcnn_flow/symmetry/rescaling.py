"""The symmetry of single-channel networks: neighbouring filters can be rescaled, w_l -> t w_l, w_{l+1} -> w_{l+1} / t.

The balancedness h_l = (|w_l|^2 - |w_{l+1}|^2)/2, with gradient xi_l = (..., w_l, -w_{l+1}, ...), is therefore
conserved. Derived from the invariance of the end-to-end filter; valid in any dimension and for all strides. In
addition, layers that enter the end-to-end filter in the same way can be exchanged.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.parameters import ravel, squared_norms, unravel
from lcnn_flow.symmetry.exchange import equal_filters, keep_equal

__all__ = ["LayerRescaling"]


@dataclass(frozen=True)
class LayerRescaling:
    """The `Symmetry` of a linear network with a single channel."""

    arch: Architecture
    isolates = True

    def conserved(self, vector: Float[Array, "n ..."]) -> Float[Array, "d ..."]:
        """The balancedness h_1, ..., h_{N-1}."""
        squares = squared_norms(self.arch, vector)
        squares = lax.optimization_barrier(squares)  # a fused multiply-subtract of equal numbers is not 0
        return (squares[:-1] - squares[1:]) / 2

    def leaf_levels(self, vector: Float[Array, " n"]) -> Float[Array, " m"]:
        """The squared norms |w_l|^2, whose differences are conserved."""
        return squared_norms(self.arch, vector)

    def leaf_chain(self, vector: Float[Array, " n"]) -> Int[Array, " k"]:
        """The layers in order of decreasing norm."""
        return jnp.argsort(-squared_norms(self.arch, vector))

    def leaf_values(self, levels: Float[Array, " m"], chain: Int[Array, " k"]) -> Float[Array, " d"]:
        """(|w_i|^2 - |w_j|^2)/2 for neighbours i, j in the chain.

        In this order each difference is known to the relative precision of its larger filter, and each filter except
        the smallest is the larger one of a pair. The h_l themselves would give two small filters on either side of a
        large one with the absolute error of the large one.
        """
        ordered = lax.optimization_barrier(levels)[chain]
        return (ordered[:-1] - ordered[1:]) / 2

    def directions(self, vector: Float[Array, " n"]) -> Float[Array, "n e"]:
        """The directions xi_1, ..., xi_{N-1}."""
        params = unravel(self.arch, vector)
        columns = []
        for layer in range(self.arch.depth - 1):
            direction = {layer: params[layer], layer + 1: -params[layer + 1]}
            columns.append(ravel(tuple(direction.get(k, jnp.zeros_like(w)) for k, w in enumerate(params))))
        return jnp.stack(columns, axis=1) if columns else jnp.zeros((vector.size, 0), vector.dtype)

    def equal(self, vector: Float[Array, " n"]) -> Float[Array, "N N"]:
        """Which exchangeable layers are equal or opposite, see `Symmetry.equal`."""
        return equal_filters(self.arch, vector)

    def keep(self, vector: Float[Array, " n"], equal: Float[Array, "N N"]) -> Float[Array, " n"]:
        """The point with equal layers replaced by their mean, up to sign."""
        return keep_equal(self.arch, vector, equal)
