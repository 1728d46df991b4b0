"""No symmetry that is known of: nothing is conserved, and what the Hessian leaves flat its kernel tells."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

__all__ = ["NoSymmetry"]


@dataclass(frozen=True)
class NoSymmetry:
    """The `Symmetry` of a risk that declares none."""

    isolates = True

    def conserved(self, vector: Float[Array, " n"]) -> Float[Array, " d"]:
        """Nothing."""
        return jnp.zeros((0,), vector.dtype)

    def leaf_levels(self, vector: Float[Array, " n"]) -> Float[Array, " m"]:
        """The conserved quantities."""
        return self.conserved(vector)

    def leaf_chain(self, vector: Float[Array, " n"]) -> Int[Array, " k"]:
        """Of no account."""
        del vector
        return jnp.zeros((0,), jnp.int32)

    def leaf_values(self, levels: Float[Array, " m"], chain: Int[Array, " k"]) -> Float[Array, " d"]:
        """The levels."""
        del chain
        return levels

    def directions(self, vector: Float[Array, " n"]) -> Float[Array, "n e"]:
        """None."""
        return jnp.zeros((vector.size, 0), vector.dtype)

    def equal(self, vector: Float[Array, " n"]) -> Float[Array, "N N"]:
        """No layers."""
        return jnp.zeros((0, 0), vector.dtype)

    def keep(self, vector: Float[Array, " n"], equal: Float[Array, "N N"]) -> Float[Array, " n"]:
        """The point as it is."""
        del equal
        return vector
