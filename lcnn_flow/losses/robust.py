"""Losses beyond those of the theory, for data with outliers: Huber, Cauchy, Welsch, Geman-McClure.

All have rho(0) = 0 and rho''(0) = 1, and delta is the residual from which on they differ from the square loss. Huber is
convex and C^1; the others are not convex, so that even a convolution of a single layer has spurious minima, and Welsch
and Geman-McClure are bounded, hence not coercive. Formulas: Barron 2019 (A general and adaptive robust loss function),
there with other constants; the forms without overflow are derived.
"""

import math
from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Real

from lcnn_flow.losses.base import Loss, LossTheory
from lcnn_flow.losses.formulas import elementwise
from lcnn_flow.losses.named import positive_parameter, same_dtype

__all__ = ["ROBUST_LOSSES", "Cauchy", "GemanMcClure", "Huber", "Welsch"]


def _split(r: Array, delta: Array) -> tuple[Array, Array, Array]:
    """(|r/delta| <= 1, q = r/delta there and 0 elsewhere, s = delta/r elsewhere and 1 there)."""
    q = r / delta
    near = jnp.abs(q) <= 1
    return near, jnp.where(near, q, 0.0), 1.0 / jnp.where(near, 1.0, q)


def _huber_second(r: Array, delta: Array) -> Array:
    return (jnp.abs(r) <= delta).astype(r.dtype)


def _huber_first(r: Array, delta: Array) -> Array:
    return jnp.clip(r, -delta, delta)


def _huber(r: Array, delta: Array) -> Array:
    inner = jnp.clip(r, -delta, delta)
    return inner * (r - 0.5 * inner)


def _cauchy_second(r: Array, delta: Array) -> Array:
    near, q, s = _split(r, delta)
    inside, outside = (1 - q * q) / (1 + q * q) ** 2, (s * s - 1) * (s / (1 + s * s)) ** 2
    return jnp.where(near, inside, outside)


def _cauchy_first(r: Array, delta: Array) -> Array:
    near, q, s = _split(r, delta)
    return delta * jnp.where(near, q / (1 + q * q), s / (1 + s * s))


def _cauchy(r: Array, delta: Array) -> Array:
    near, q, s = _split(r, delta)
    return 0.5 * delta * (delta * jnp.where(near, jnp.log1p(q * q), jnp.log1p(s * s) - 2 * jnp.log(jnp.abs(s))))


def _welsch_second(r: Array, delta: Array) -> Array:
    q = jnp.clip(r / delta, -1e3, 1e3)  # beyond, e^{-q^2} is 0
    return (1 - 2 * q * q) * jnp.exp(-q * q)


def _welsch_first(r: Array, delta: Array) -> Array:
    q = jnp.clip(r / delta, -1e3, 1e3)
    return delta * (q * jnp.exp(-q * q))


def _welsch(r: Array, delta: Array) -> Array:
    q = jnp.clip(r / delta, -1e3, 1e3)
    return -0.5 * delta * (delta * jnp.expm1(-q * q))


def _geman_mcclure_second(r: Array, delta: Array) -> Array:
    near, q, s = _split(r, delta)
    inside, outside = (1 - 3 * q * q) / (1 + q * q) ** 3, (s * s - 3) * s**4 / (1 + s * s) ** 3
    return jnp.where(near, inside, outside)


def _geman_mcclure_first(r: Array, delta: Array) -> Array:
    near, q, s = _split(r, delta)
    return delta * jnp.where(near, q / (1 + q * q) ** 2, s**3 / (1 + s * s) ** 2)


def _geman_mcclure(r: Array, delta: Array) -> Array:
    near, q, s = _split(r, delta)
    return 0.5 * delta * (delta * jnp.where(near, q * q / (1 + q * q), 1 / (1 + s * s)))


_FORMULAS = {}
for _name, _value, _first, _second in (
    ("huber", _huber, _huber_first, _huber_second),
    ("cauchy", _cauchy, _cauchy_first, _cauchy_second),
    ("welsch", _welsch, _welsch_first, _welsch_second),
    ("geman_mcclure", _geman_mcclure, _geman_mcclure_first, _geman_mcclure_second),
):
    _slope = elementwise(_first, _second)
    _FORMULAS[_name] = (elementwise(_value, _slope), _slope, _second)


class _Robust(Loss):
    """Base of the losses with one parameter delta > 0 that satisfy |rho''(r)| <= rho''(0) = 1 for all r."""

    parameters = ("delta",)

    delta: Any

    def __init__(self, delta: Real[ArrayLike, "..."] = 1.0) -> None:
        self.delta = positive_parameter(type(self).__name__, "delta", delta)

    def __call__(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return _FORMULAS[self.name][0](*same_dtype(r, self.delta))

    def derivative(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return _FORMULAS[self.name][1](*same_dtype(r, self.delta))

    def second_derivative(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return _FORMULAS[self.name][2](*same_dtype(r, self.delta))

    def largest_curvature(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return jnp.ones_like(same_dtype(r)[0])


def _share_of_bound(value: Any, delta: Any) -> tuple[Array, Array, Array]:
    """(value over delta^2/2, the bound of the loss, or 0 where it is reached; delta; whether it is not reached)."""
    value, delta = same_dtype(value, delta)
    share = 2 * value / delta**2
    return jnp.where(share < 1, share, 0), delta, share < 1


class Huber(_Robust):
    """Huber loss: r^2/2 for |r| <= delta, delta |r| - delta^2/2 beyond (Huber 1964); convex, C^1, semialgebraic.

    rho'' jumps at |r| = delta: limits with a residual there are not told apart from regular ones.

    Raises:
        LossError: delta is not a finite positive number.
    """

    name = "huber"

    def largest_residual(self, value: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        value, delta = same_dtype(value, self.delta)
        return jnp.where(value <= delta**2 / 2, jnp.sqrt(2 * value), value / delta + delta / 2)

    @property
    def theory(self) -> LossTheory:
        remark = "semialgebraic, so definable in an o-minimal structure; not one of the losses of the theory"
        return LossTheory(False, convex=True, coercive=True, smoothness="C^1", remark=remark, definable=True)


class Cauchy(_Robust):
    """Cauchy loss (delta^2/2) log(1 + (r/delta)^2): analytic, coercive, not convex beyond |r| = delta.

    Raises:
        LossError: delta is not a finite positive number.
    """

    name = "cauchy"

    def largest_slope(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        r, delta = same_dtype(r, self.delta)
        return self.derivative(jnp.minimum(jnp.abs(r), delta))

    def largest_residual(self, value: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        value, delta = same_dtype(value, self.delta)
        exponent = 2 * value / delta**2
        far = exponent > 100
        return delta * jnp.where(far, jnp.exp(exponent / 2), jnp.sqrt(jnp.expm1(jnp.where(far, 0, exponent))))

    @property
    def theory(self) -> LossTheory:
        return LossTheory(True, convex=False, coercive=True, smoothness="analytic", remark="grows like log |r|")


class Welsch(_Robust):
    """Welsch loss (delta^2/2) (1 - e^{-(r/delta)^2}): analytic, bounded by delta^2/2, so not coercive.

    Raises:
        LossError: delta is not a finite positive number.
    """

    name = "welsch"

    def largest_slope(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        r, delta = same_dtype(r, self.delta)
        return self.derivative(jnp.minimum(jnp.abs(r), delta / math.sqrt(2)))

    def largest_residual(self, value: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        share, delta, bounds = _share_of_bound(value, self.delta)
        return jnp.where(bounds, delta * jnp.sqrt(-jnp.log1p(-share)), jnp.inf)

    @property
    def theory(self) -> LossTheory:
        remark = "bounded: a risk bounds residuals only below the bound of the loss, and filters may diverge"
        return LossTheory(True, convex=False, coercive=False, smoothness="analytic", remark=remark)


class GemanMcClure(_Robust):
    """Geman-McClure loss (r^2/2) / (1 + (r/delta)^2): analytic, bounded by delta^2/2, so not coercive.

    Raises:
        LossError: delta is not a finite positive number.
    """

    name = "geman_mcclure"

    def largest_slope(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        r, delta = same_dtype(r, self.delta)
        return self.derivative(jnp.minimum(jnp.abs(r), delta / math.sqrt(3)))

    def largest_residual(self, value: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        share, delta, bounds = _share_of_bound(value, self.delta)
        return jnp.where(bounds, delta * jnp.sqrt(share / (1 - share)), jnp.inf)

    @property
    def theory(self) -> LossTheory:
        remark = "bounded: a risk bounds residuals only below the bound of the loss, and filters may diverge"
        return LossTheory(True, convex=False, coercive=False, smoothness="analytic", remark=remark)


ROBUST_LOSSES: dict[str, type[Loss]] = {loss.name: loss for loss in (Huber, Cauchy, Welsch, GemanMcClure)}
"""The losses of this module, by name."""
