"""The exponent of a power law of growth, from a single state of a flow."""

import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["growth_rate"]


def growth_rate(vector: Float[Array, "n ..."], gradient: Float[Array, "n ..."], time: Float[Array, "..."]) -> Array:
    """s = -t <w, grad L> / |w|^2 = d log|w| / d log t: the exponent of a power law of growth; dimensionless.

    It tends to the exponent if the filters grow like a power of time, and to 0 if they converge.
    """
    square = jnp.sum(vector**2, axis=0)
    return jnp.where(square > 0, -time * jnp.sum(vector * gradient, axis=0) / jnp.where(square > 0, square, 1), 0)
