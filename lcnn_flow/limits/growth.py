"""The exponent of a power law of growth, from one state of a flow or from two."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from lcnn_flow.numerics.norms import safe_norm

__all__ = ["growth_rate", "growth_since"]


def growth_rate(vector: Float[Array, "n ..."], gradient: Float[Array, "n ..."], time: Float[Array, "..."]) -> Array:
    """s = -t <w, grad L> / |w|^2 = d log|w| / d log t: the exponent of a power law of growth; dimensionless.

    It tends to the exponent if the filters grow like a power of time, and to 0 if they converge.
    """
    square = jnp.sum(vector**2, axis=0)
    return jnp.where(square > 0, -time * jnp.sum(vector * gradient, axis=0) / jnp.where(square > 0, square, 1), 0)


def growth_since(
    earlier: Float[Array, " n"], begun: Float[Array, ""], vector: Float[Array, " n"], time: Float[Array, ""]
) -> Float[Array, ""]:
    """log(|w|/|w_0|) / log(t/t_0): the exponent of growth between two states of a flow; 0 if it cannot be computed."""
    norm, before = safe_norm(vector), safe_norm(earlier)
    moved = (time > begun) & (begun > 0) & (norm > 0) & (before > 0)
    ratio = jnp.log(jnp.where(moved, norm / before, 1)) / jnp.log(jnp.where(moved, time / begun, 2))
    return jnp.where(moved, ratio, 0)
