"""Enclosures of rho' and rho'' in ball arithmetic: for a ball of residuals, a ball that contains every value.

The formulas are those of `lcnn_flow.losses`; numbers of a loss are taken as the exact values of their floats.
"""

from collections.abc import Mapping

from flint import arb

from lcnn_flow.critical.balls import square

__all__ = ["BALL_LOSSES", "slope_and_bend"]

_FAR = 50
"""Beyond a|r| = 50 hyperbolic functions are written in e^{-a|r|}, so that nothing overflows."""


def slope_and_bend(loss: str, numbers: Mapping[str, float], r: arb) -> tuple[arb, arb]:
    """(rho'(r), rho''(r)); not finite where rho'' is unbounded on the ball (l_p with p < 2 at 0).

    Raises:
        KeyError: no such loss; `BALL_LOSSES` has them all.
    """
    return BALL_LOSSES[loss]({name: arb(value) for name, value in numbers.items()}, r)


def _square(_: Mapping[str, arb], r: arb) -> tuple[arb, arb]:
    return r, arb(1)


def _lp(numbers: Mapping[str, arb], r: arb) -> tuple[arb, arb]:
    p = numbers["p"]
    if p == 2:
        return r, arb(1)
    if r > 0 or r < 0:
        size = abs(r)
        power = size ** (p - 2)
        return power * r, (p - 1) * power
    largest = r.abs_upper()
    slope = (largest ** (p - 1)) if largest > 0 else arb(0)
    if p < 2:
        return arb(0, slope.abs_upper()), arb.nan()
    bend = (p - 1) * largest ** (p - 2) if largest > 0 else arb(0)
    return arb(0, slope.abs_upper()), arb(0).union(bend)


def _pseudo_huber(numbers: Mapping[str, arb], r: arb) -> tuple[arb, arb]:
    ratio = r / numbers["delta"]
    inverse = (1 + square(ratio)).rsqrt()
    return r * inverse, inverse**3


def _generalized_huber(numbers: Mapping[str, arb], r: arb) -> tuple[arb, arb]:
    a, b = numbers["a"], numbers["b"]
    x = a * r
    if x.abs_upper() < _FAR:
        # D = 2 cosh x + b as (2 + b) + 4 sinh^2(x/2): no cancellation for b near -2
        half = square((x / 2).sinh())
        d = (2 + b) + 4 * half
        cosh = 1 + 2 * half
        return 2 * x.sinh() / d, a * (4 + 2 * b * cosh) / d**2
    t = (-abs(x)).exp()
    d = 1 + b * t + t**2
    size = (1 - t**2) / d
    slope = size if r > 0 else -size if r < 0 else arb(0, size.abs_upper())
    return slope, a * t * (4 * t + b * (1 + t**2)) / d**2


def _log_cosh(numbers: Mapping[str, arb], r: arb) -> tuple[arb, arb]:
    x = numbers["a"] * r
    slope = x.tanh()
    return slope, numbers["a"] * x.sech() ** 2


BALL_LOSSES = {
    "square": _square,
    "lp": _lp,
    "pseudo_huber": _pseudo_huber,
    "generalized_huber": _generalized_huber,
    "log_cosh": _log_cosh,
}
"""Enclosure of (rho', rho'') by the name of the loss."""
