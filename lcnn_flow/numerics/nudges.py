"""Perturbation of every number of an array by its rounding error, with pseudo-random signs."""

import jax.numpy as jnp
from jax import Array

__all__ = ["nudged", "signs"]

_GOLDEN = 0.6180339887498949


def nudged(x: Array, size: Array, k: int | Array) -> Array:
    """x with every number changed by the relative amount `size`; `k` selects the signs."""
    return x + size.astype(x.dtype) * x * signs(x.shape, k)


def signs(shape: tuple[int, ...], k: int | Array) -> Array:
    """An array of pseudo-random signs, +1 or -1; each k gives another pattern."""
    count = 1
    for length in shape:
        count *= length
    turn = 1 + 0.31 * jnp.asarray(k, float)
    places = (jnp.arange(1, count + 1).astype(jnp.float32) * jnp.float32(_GOLDEN)).astype(turn.dtype) * turn
    return jnp.where(places - jnp.floor(places) < 0.5, -1.0, 1.0).reshape(shape)
