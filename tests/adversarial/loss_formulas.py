"""rho' and rho'' of the losses, in numpy for any size of residual, and in balls of any precision."""

import numpy as np
from flint import arb

__all__ = ["ball_bend", "ball_slope", "bend", "slope"]

_NEARLY_ZERO = 1e-140
"""Residuals count as this large in rho'', which for p < 2 is infinite at 0."""


def _huber_numbers(loss: str, numbers) -> tuple:
    return (numbers[0], 0.0) if loss == "log_cosh" else tuple(numbers)


def slope(loss: str, r, numbers):
    """rho'(r)."""
    if loss == "square":
        return r
    if loss == "lp":
        return np.sign(r) * np.abs(r) ** (numbers[0] - 1)
    if loss == "pseudo_huber":
        return r / np.sqrt(1 + (r / numbers[0]) ** 2)
    a, b = _huber_numbers(loss, numbers)
    x = a * np.abs(r)
    return np.sign(r) * -np.expm1(-2 * x) / (np.expm1(-x) ** 2 + (2 + b) * np.exp(-x))


def bend(loss: str, r, numbers):
    """rho''(r)."""
    if loss == "square":
        return np.ones_like(r)
    if loss == "lp":
        return (numbers[0] - 1) * np.maximum(np.abs(r), _NEARLY_ZERO) ** (numbers[0] - 2)
    if loss == "pseudo_huber":
        return (1 + (r / numbers[0]) ** 2) ** -1.5
    a, b = _huber_numbers(loss, numbers)
    e = np.exp(-a * np.abs(r))
    return a * (4 * e**2 + b * (e + e**3)) / ((1 - e) ** 2 + (2 + b) * e) ** 2


def ball_slope(loss: str, r: arb, numbers) -> arb:
    """rho'(r) in balls."""
    if loss == "square":
        return r
    if loss == "lp":
        size = abs(r) ** (arb(numbers[0]) - 1) if r != 0 else arb(0)
        return size if r > 0 else -size
    if loss == "pseudo_huber":
        return r / (1 + (r / arb(numbers[0])) ** 2).sqrt()
    a, b = map(arb, _huber_numbers(loss, numbers))
    e = (-a * abs(r)).exp()
    size = (1 - e**2) / (1 + e**2 + b * e)
    return size if r > 0 else -size


def ball_bend(loss: str, r: arb, numbers) -> arb:
    """rho''(r) in balls."""
    if loss == "square":
        return arb(1)
    if loss == "lp":
        p = arb(numbers[0])
        size = abs(r) if abs(r) > _NEARLY_ZERO else arb(_NEARLY_ZERO)
        return (p - 1) * size ** (p - 2)
    if loss == "pseudo_huber":
        return 1 / (1 + (r / arb(numbers[0])) ** 2) ** arb(1.5)
    a, b = map(arb, _huber_numbers(loss, numbers))
    e = (-a * abs(r)).exp()
    return a * (4 * e**2 + b * (e + e**3)) / (1 + e**2 + b * e) ** 2
