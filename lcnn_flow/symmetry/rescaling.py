"""Networks with a single channel: two neighbouring filters may be rescaled, w_l -> t w_l, w_{l+1} -> w_{l+1} / t.

So the balancedness h_l = (|w_l|^2 - |w_{l+1}|^2)/2 is conserved, with gradient xi_l = (..., w_l, -w_{l+1}, ...).
Derived from the invariance of the end-to-end filter; any dimension and strides. Layers that enter the end-to-end filter
alike may be exchanged besides.
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
    """The `Symmetry` of a network with a single channel."""

    arch: Architecture
    isolates = True

    def conserved(self, vector: Float[Array, "n ..."]) -> Float[Array, "d ..."]:
        """h_1, ..., h_{N-1}."""
        squares = squared_norms(self.arch, vector)
        squares = lax.optimization_barrier(squares)  # a fused multiply-subtract of equals is not 0
        return (squares[:-1] - squares[1:]) / 2

    def leaf_levels(self, vector: Float[Array, " n"]) -> Float[Array, " m"]:
        """|w_l|^2."""
        return squared_norms(self.arch, vector)

    def leaf_chain(self, vector: Float[Array, " n"]) -> Int[Array, " k"]:
        """The layers from the largest filter to the smallest."""
        return jnp.argsort(-squared_norms(self.arch, vector))

    def leaf_values(self, levels: Float[Array, " m"], chain: Int[Array, " k"]) -> Float[Array, " d"]:
        """(|w_i|^2 - |w_j|^2)/2 for neighbours of the chain.

        Every filter but the smallest is then the larger one of a pair; from the h_l themselves two small filters around
        a large one are known to the rounding of the large one only.
        """
        ordered = lax.optimization_barrier(levels)[chain]
        return (ordered[:-1] - ordered[1:]) / 2

    def directions(self, vector: Float[Array, " n"]) -> Float[Array, "n e"]:
        """xi_1, ..., xi_{N-1}."""
        params = unravel(self.arch, vector)
        columns = []
        for layer in range(self.arch.depth - 1):
            direction = {layer: params[layer], layer + 1: -params[layer + 1]}
            columns.append(ravel(tuple(direction.get(k, jnp.zeros_like(w)) for k, w in enumerate(params))))
        return jnp.stack(columns, axis=1) if columns else jnp.zeros((vector.size, 0), vector.dtype)

    def equal(self, vector: Float[Array, " n"]) -> Float[Array, "N N"]:
        """Layers that may be exchanged and are equal, or opposite."""
        return equal_filters(self.arch, vector)

    def keep(self, vector: Float[Array, " n"], equal: Float[Array, "N N"]) -> Float[Array, " n"]:
        """Those layers replaced by their mean, up to sign."""
        return keep_equal(self.arch, vector, equal)
