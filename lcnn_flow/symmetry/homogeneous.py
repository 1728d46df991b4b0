"""The symmetry of networks with a positively homogeneous activation of degree p: hidden channels can be rescaled.

With t > 0, (W_in, b) -> t (W_in, b) and W_out -> t^{-p} W_out leave the network unchanged, for every hidden channel:
W_in are the weights that enter the channel, b its bias and W_out the weights that leave it. Gradient flow therefore
conserves |W_in|^2 + b^2 - p |W_out|^2 for each hidden channel. Source for p = 1: Du, Hu and Lee 2018 (Algorithmic
regularization in learning deep homogeneous models); for other p derived from the same invariance.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lcnn_flow.network.dense import Network
from lcnn_flow.network.parameters import parameter_space
from lcnn_flow.symmetry.none import NoSymmetry

__all__ = ["Homogeneous"]


@dataclass(frozen=True)
class Homogeneous(NoSymmetry):
    """The `Symmetry` of a network whose activation is positively homogeneous of the given degree."""

    network: Network
    degree: float

    def conserved(self, vector: Float[Array, " n"]) -> Float[Array, " d"]:
        """|W_in|^2 + b^2 - p |W_out|^2 for each hidden channel, first layer first."""
        layers = parameter_space(self.network).unravel(vector)
        weights = layers[::2] if self.network.bias else layers
        found = []
        for hidden in range(self.network.depth - 1):
            below, above = weights[hidden], weights[hidden + 1]
            below, above = (below[None], above[None, None]) if self.network.has_single_channel else (below, above)
            into = jnp.sum(below.reshape(below.shape[0], -1) ** 2, axis=1)
            if self.network.bias:
                into = into + layers[2 * hidden + 1] ** 2
            out = jnp.sum(jnp.moveaxis(above, 1, 0).reshape(above.shape[1], -1) ** 2, axis=1)
            found.append(into - self.degree * out)
        return jnp.concatenate(found) if found else jnp.zeros((0,), vector.dtype)

    def directions(self, vector: Float[Array, " n"]) -> Float[Array, "n e"]:
        """The gradients of the conserved quantities."""
        return jax.jacrev(self.conserved)(vector).T
