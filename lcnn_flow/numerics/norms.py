"""A Euclidean norm that is differentiable everywhere."""

import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["safe_norm"]


def safe_norm(vector: Float[Array, "n ..."]) -> Float[Array, "..."]:
    """Euclidean norm along the first axis, with derivative 0 at 0."""
    square = jnp.sum(vector**2, axis=0)
    zero = square == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, square)))
