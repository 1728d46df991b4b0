"""Margin losses rho(z) of z = target * prediction, for targets -1 and 1: logistic and exponential.

rho is positive, analytic and convex, and falls to 0 as the margin z grows: it is not coercive, and on data that the
network can separate no risk has a minimum (`theory.separation`). With t = e^{-|z|} the logistic loss is
max(-z, 0) + log1p(t), its derivatives are quotients of t and 1 + t: nothing overflows, and for z > 0 they keep all
digits down to underflow. The exponential loss overflows for z < -709 (-88 in float32). Derived.
"""

from abc import abstractmethod

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Real

from lcnn_flow.losses.base import Loss, LossTheory
from lcnn_flow.losses.formulas import elementwise
from lcnn_flow.numerics.arrays import as_float_array

__all__ = ["MARGIN_LOSSES", "Exponential", "Logistic", "MarginLoss"]


class MarginLoss(Loss):
    """A positive and decreasing loss of the margin z = target * prediction; targets are -1 or 1."""

    def argument(self, prediction: Float[Array, "..."], target: Float[Array, "..."]) -> Float[Array, "..."]:
        """The margin, target * prediction."""
        return target * prediction

    def largest_slope(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        """|rho'| at the margin itself: it has one sign and falls to 0, so that a large margin stands for no slope."""
        return jnp.abs(self.derivative(r))

    @abstractmethod
    def margin(self, value: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        """The z with rho(z) = value, elementwise, for values above 0."""

    @property
    def theory(self) -> LossTheory:
        remark = "it falls to 0 as margins grow: on data that the network separates, filters diverge like a power of "
        return LossTheory(True, convex=True, coercive=False, smoothness="analytic", remark=f"{remark}log t")


def _logistic_second(z: Array) -> Array:
    t = jnp.exp(-jnp.abs(z))
    return t / (1 + t) ** 2


def _logistic_first(z: Array) -> Array:
    t = jnp.exp(-jnp.abs(z))
    return -jnp.where(z > 0, t, 1) / (1 + t)


def _logistic(z: Array) -> Array:
    return jnp.maximum(-z, 0) + jnp.log1p(jnp.exp(-jnp.abs(z)))


_logistic_slope = elementwise(_logistic_first, _logistic_second)
_logistic_value = elementwise(_logistic, _logistic_slope)


class Logistic(MarginLoss):
    """Logistic loss log(1 + e^{-z}) of the margin z = target * prediction, for targets -1 and 1."""

    name = "logistic"

    def __call__(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return _logistic_value(as_float_array(r))

    def derivative(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return _logistic_slope(as_float_array(r))

    def second_derivative(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return _logistic_second(as_float_array(r))

    def margin(self, value: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        value = as_float_array(value)
        return -value - jnp.log(-jnp.expm1(-value))


class Exponential(MarginLoss):
    """Exponential loss e^{-z} of the margin z = target * prediction, for targets -1 and 1."""

    name = "exponential"

    def __call__(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return jnp.exp(-as_float_array(r))

    def derivative(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return -jnp.exp(-as_float_array(r))

    def second_derivative(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return jnp.exp(-as_float_array(r))

    def margin(self, value: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return -jnp.log(as_float_array(value))


MARGIN_LOSSES: dict[str, type[MarginLoss]] = {loss.name: loss for loss in (Logistic, Exponential)}
"""The losses of this module, by name."""
