"""Activations and losses with two derivatives, for floats and for balls of any precision.

Every formula takes an array of floats or an array of objects, `flint.arb`: numpy calls the method of an object that has
the name of the function. No formula is shared with the library.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from flint import arb
from scipy.special import ndtr

__all__ = ["ACTIVATIONS", "LOSSES", "MARGINS", "Triple"]

Triple = tuple[Any, Any, Any]
"""A function and its first and second derivative at the entries of an array."""


def _true(condition: Any) -> np.ndarray:
    return np.asarray(condition, bool)


def _constant(x: Any, value: int) -> Any:
    return 0 * x + value


def _identity(x: Any) -> Triple:
    return x, _constant(x, 1), _constant(x, 0)


def _tanh(x: Any) -> Triple:
    e = np.exp(-2 * abs(x))
    slope = 4 * e / ((1 + e) * (1 + e))
    t = np.tanh(x)
    return t, slope, -2 * t * slope


def _softplus(x: Any) -> Triple:
    e, positive = np.exp(-abs(x)), _true(x > 0)
    value = np.log1p(e) + np.where(positive, x, 0)
    return value, np.where(positive, 1, e) / (1 + e), e / ((1 + e) * (1 + e))


def _relu(x: Any) -> Triple:
    on = _true(x > 0).astype(int)
    return x * on, _constant(x, 0) + on, _constant(x, 0)


def _leaky(x: Any) -> Triple:
    slope = np.where(_true(x >= 0), _constant(x, 1), _constant(x, 1) / 4)
    return x * slope, slope, _constant(x, 0)


def _square(x: Any) -> Triple:
    return x * x, 2 * x, _constant(x, 2)


def _gelu(x: Any) -> Triple:
    if x.dtype == object:
        phi = np.frompyfunc(lambda y: (-arb(y) / arb(2).sqrt()).erfc() / 2, 1, 1)(x)
        density = np.exp(-x * x / 2) / (2 * arb.pi()).sqrt()
    else:
        phi, density = ndtr(x), np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    return x * phi, phi + x * density, density * (2 - x * x)


ACTIVATIONS: dict[str, Callable[[Any], Triple]] = {
    "linear": _identity,
    "tanh": _tanh,
    "softplus": _softplus,
    "gelu": _gelu,
    "power_2": _square,
    "relu": _relu,
    "leaky_relu": _leaky,
}
"""By name; leaky_relu has slope 1/4 for negative numbers."""


def _half_square(r: Any, _: list[Any]) -> Triple:
    return r * r / 2, r, _constant(r, 1)


def _pseudo_huber(r: Any, numbers: list[Any]) -> Triple:
    delta = numbers[0]
    s = np.sqrt(1 + (r / delta) * (r / delta))
    return r * r / (1 + s), r / s, 1 / (s * s * s)


def _huber(r: Any, numbers: list[Any]) -> Triple:
    delta, size = numbers[0], abs(r)
    near = _true(size <= delta)
    side = np.where(_true(r > 0), 1, -1)
    value = np.where(near, r * r / 2, delta * size - delta * delta / 2)
    return value, np.where(near, r, side * delta), _constant(r, 0) + near.astype(int)


def _cauchy(r: Any, numbers: list[Any]) -> Triple:
    delta = numbers[0]
    q = (r / delta) * (r / delta)
    return delta * delta / 2 * np.log1p(q), r / (1 + q), (1 - q) / ((1 + q) * (1 + q))


def _welsch(r: Any, numbers: list[Any]) -> Triple:
    delta = numbers[0]
    q = (r / delta) * (r / delta)
    e = np.exp(-q)
    return -delta * delta / 2 * np.expm1(-q), r * e, (1 - 2 * q) * e


def _geman_mcclure(r: Any, numbers: list[Any]) -> Triple:
    delta = numbers[0]
    q = (r / delta) * (r / delta)
    s = 1 + q
    return r * r / (2 * s), r / (s * s), (1 - 3 * q) / (s * s * s)


def _quantile(r: Any, numbers: list[Any]) -> Triple:
    tau, delta = numbers
    s = np.sqrt(r * r + delta * delta)
    lowest = delta * np.sqrt(tau * (1 - tau))
    return (s + (1 - 2 * tau) * r) / 2 - lowest, (r / s + 1 - 2 * tau) / 2, delta * delta / (2 * s * s * s)


def _logistic(z: Any, _: list[Any]) -> Triple:
    e, positive = np.exp(-abs(z)), _true(z > 0)
    value = np.log1p(e) + np.where(positive, 0, -z)
    return value, -np.where(positive, e, 1) / (1 + e), e / ((1 + e) * (1 + e))


def _exponential(z: Any, _: list[Any]) -> Triple:
    e = np.exp(-z)
    return e, -e, e


LOSSES: dict[str, Callable[[Any, list[Any]], Triple]] = {
    "square": _half_square,
    "pseudo_huber": _pseudo_huber,
    "huber": _huber,
    "cauchy": _cauchy,
    "welsch": _welsch,
    "geman_mcclure": _geman_mcclure,
    "smooth_quantile": _quantile,
    "logistic": _logistic,
    "exponential": _exponential,
}
"""By the library's names, of residuals or margins and the numbers of the loss."""
MARGINS = ("logistic", "exponential")
"""Those of margins, target * prediction."""
