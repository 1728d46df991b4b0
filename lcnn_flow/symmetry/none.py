"""The symmetry of a risk without known symmetries; flat directions are then found from the kernel of the Hessian."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

__all__ = ["NoSymmetry"]


@dataclass(frozen=True)
class NoSymmetry:
    """The `Symmetry` of a risk that declares none."""

    isolates = True

    def conserved(self, vector: Float[Array, " n"]) -> Float[Array, " d"]:
        """An empty vector: nothing is conserved."""
        return jnp.zeros((0,), vector.dtype)

    def leaf_levels(self, vector: Float[Array, " n"]) -> Float[Array, " m"]:
        """The conserved quantities."""
        return self.conserved(vector)

    def leaf_chain(self, vector: Float[Array, " n"]) -> Int[Array, " k"]:
        """An empty order; `leaf_values` does not use it."""
        del vector
        return jnp.zeros((0,), jnp.int32)

    def leaf_values(self, levels: Float[Array, " m"], chain: Int[Array, " k"]) -> Float[Array, " d"]:
        """The levels, which are the conserved quantities themselves."""
        del chain
        return levels

    def directions(self, vector: Float[Array, " n"]) -> Float[Array, "n e"]:
        """A matrix without columns, because no direction leaves the risk unchanged by symmetry."""
        return jnp.zeros((vector.size, 0), vector.dtype)

    def equal(self, vector: Float[Array, " n"]) -> Float[Array, "N N"]:
        """An empty matrix: no layers are exchangeable."""
        return jnp.zeros((0, 0), vector.dtype)

    def keep(self, vector: Float[Array, " n"], equal: Float[Array, "N N"]) -> Float[Array, " n"]:
        """The point, unchanged, because no layers are exchangeable."""
        del equal
        return vector
