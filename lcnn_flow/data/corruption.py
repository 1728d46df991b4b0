"""Corruption of clean targets: white noise and outliers, relative to the root mean square (rms) of the targets."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, Real

from lcnn_flow.data.checks import number
from lcnn_flow.numerics.pytrees import Pytree

__all__ = ["Outliers", "add_noise", "root_mean_square"]


class Outliers(Pytree):
    """Gross errors: with probability `fraction` a target entry is changed by +`scale` or -`scale` times the rms.

    Entries are changed independently. The size is constant and the sign is random; rms is the root mean square of the
    clean targets.

    Raises:
        DataError: fraction is outside [0, 1], or scale is negative or not finite.
    """

    fraction: float | Array
    scale: float | Array

    def __init__(self, fraction: Real[ArrayLike, "..."], scale: Real[ArrayLike, "..."] = 10.0) -> None:
        self.fraction = number("Outliers", "fraction", fraction, 0, 1)
        self.scale = number("Outliers", "scale", scale, 0, math.inf)

    def __call__(self, key: PRNGKeyArray, clean: Float[Array, "m ..."]) -> Float[Array, "m ..."]:
        """The errors to add to targets; `clean` are the targets before any corruption."""
        key_place, key_sign = jax.random.split(key)
        hit = jax.random.uniform(key_place, clean.shape, clean.dtype) < jnp.asarray(self.fraction, clean.dtype)
        size = jnp.asarray(self.scale, clean.dtype) * root_mean_square(clean)
        sign = jax.random.rademacher(key_sign, clean.shape, clean.dtype)
        return jnp.where(hit, size * sign, 0.0)


def add_noise(key: PRNGKeyArray, clean: Float[Array, "m ..."], noise: float | Array) -> Float[Array, "m ..."]:
    """`clean` plus white noise of standard deviation `noise` times its root mean square."""
    size = jnp.asarray(noise, clean.dtype) * root_mean_square(clean)
    return clean + size * jax.random.normal(key, clean.shape, clean.dtype)


def root_mean_square(x: Float[Array, "..."]) -> Float[Array, ""]:
    """Root of the mean of all squares; dividing by the largest entry first avoids overflow."""
    largest = jnp.max(jnp.abs(x))
    divisor = jnp.where(largest > 0, largest, 1.0)
    return largest * jnp.sqrt(jnp.mean((x / divisor) ** 2))
