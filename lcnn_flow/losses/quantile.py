"""The quantile loss, smoothed to an analytic one: its minimisers estimate a quantile of the targets instead of a mean.

The quantile (pinball) loss is (1 - tau) r for r >= 0 and -tau r below (Koenker and Bassett 1978, with r = prediction -
target). With |r| smoothed to sqrt(r^2 + delta^2), and less its minimum,

    rho(r) = (sqrt(r^2 + delta^2) + (1 - 2 tau) r)/2 - delta sqrt(tau (1 - tau)).

With r = delta sinh(x) and tanh(c) = 2 tau - 1 that is delta sinh^2((x - c)/2)/cosh(c), which does not cancel near the
minimum, at x = c; rho' = sinh(x - c)/(2 cosh(x) cosh(c)). Derived.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Real

from lcnn_flow.errors import LossError
from lcnn_flow.losses.base import Loss, LossTheory
from lcnn_flow.losses.formulas import elementwise, pseudo_huber_second
from lcnn_flow.losses.named import positive_parameter, same_dtype
from lcnn_flow.numerics.arrays import is_concrete

__all__ = ["SmoothQuantile"]


def _centre(tau: Array) -> tuple[Array, Array]:
    """(c, 1/cosh(c)) with tanh(c) = 2 tau - 1."""
    return 0.5 * (jnp.log(tau) - jnp.log1p(-tau)), 2 * jnp.sqrt(tau * (1 - tau))


def _second(r: Array, tau: Array, delta: Array) -> Array:
    del tau
    return pseudo_huber_second(r, delta) / (2 * delta)


def _first(r: Array, tau: Array, delta: Array) -> Array:
    (c, narrow), x = _centre(tau), jnp.arcsinh(r / delta)
    return narrow / 2 * jnp.sinh(x - c) / jnp.cosh(x)


def _value(r: Array, tau: Array, delta: Array) -> Array:
    (c, narrow), x = _centre(tau), jnp.arcsinh(r / delta)
    half = jnp.sinh((x - c) / 2)
    return half * (half * (delta * narrow))


_slope = elementwise(_first, _second)
_quantile = elementwise(_value, _slope)


class SmoothQuantile(Loss):
    """Smoothed quantile loss for the level tau: analytic, convex, coercive, with slopes -tau and 1 - tau far out.

    delta is the residual from which on it is nearly straight; its minimum, with value 0, is not at 0 but at
    delta (tau - 1/2)/sqrt(tau (1 - tau)), which is 0 for the median, tau = 1/2.

    Raises:
        LossError: tau is not between 0 and 1, or delta is not a finite positive number.
    """

    name = "smooth_quantile"
    parameters = ("tau", "delta")

    tau: Any
    delta: Any

    def __init__(self, tau: Real[ArrayLike, "..."] = 0.5, delta: Real[ArrayLike, "..."] = 1.0) -> None:
        self.tau = positive_parameter("SmoothQuantile", "tau", tau)
        if is_concrete(self.tau) and not np.all(np.asarray(self.tau) < 1):
            raise LossError(f"SmoothQuantile: tau = {tau!r} must be below 1: write tau=0.9 for the 90% quantile")
        self.delta = positive_parameter("SmoothQuantile", "delta", delta)

    def __call__(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return _quantile(*same_dtype(r, self.tau, self.delta))

    def derivative(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return _slope(*same_dtype(r, self.tau, self.delta))

    def second_derivative(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return _second(*same_dtype(r, self.tau, self.delta))

    def largest_slope(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        r = same_dtype(r)[0]
        return jnp.maximum(self.derivative(r), -self.derivative(-r))  # rho' increases

    def largest_residual(self, value: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        value, tau, delta = same_dtype(value, self.tau, self.delta)
        c, narrow = _centre(tau)
        reach = 2 * jnp.arcsinh(jnp.sqrt(value / (delta * narrow)))
        return delta * jnp.sinh(jnp.abs(c) + reach)

    @property
    def theory(self) -> LossTheory:
        return LossTheory(analytic=True, convex=True, coercive=True, smoothness="analytic")
