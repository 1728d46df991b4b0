"""Enclosures of the derivatives of rho in ball arithmetic: for a ball of residuals, a ball that contains every value.

The formulas are those of `lcnn_flow.losses` and their derivatives; numbers of a loss are taken as the exact values of
their floats.
"""

from collections.abc import Callable, Mapping

from flint import arb

from lcnn_flow.critical.balls import square

__all__ = ["BALL_LOSSES", "Derivatives", "loss_derivatives", "slope_and_bend"]

_FAR = 50
"""Beyond a|r| = 50 hyperbolic functions are written in e^{-a|r|}, so that nothing overflows."""

_UNWANTED = arb.nan()

_NARROW = 1e-9
"""Half width, in units of delta, of balls on which little is lost by multiplying the factors of rho'."""

Derivatives = tuple[arb, arb, arb, arb]
"""The first to fourth derivative of rho; not finite where one does not exist everywhere on the ball."""


def loss_derivatives(loss: str, numbers: Mapping[str, float], r: arb) -> Derivatives:
    """The first four derivatives of rho on a ball of residuals.

    For l_p, other than even p, those of order p and above do not exist at 0: they are not finite on balls that hold 0.

    Raises:
        KeyError: no such loss; `BALL_LOSSES` has them all.
    """
    return BALL_LOSSES[loss]({name: arb(value) for name, value in numbers.items()}, r, True, True)


def slope_and_bend(loss: str, numbers: Mapping[str, float], r: arb) -> tuple[arb, arb]:
    """(rho'(r), rho''(r)); not finite where rho'' is unbounded on the ball (l_p with p < 2 at 0)."""
    return BALL_LOSSES[loss]({name: arb(value) for name, value in numbers.items()}, r, True, False)[:2]


def _square(_: Mapping[str, arb], r: arb, slope: bool, higher: bool) -> Derivatives:
    del slope, higher
    return r, arb(1), arb(0), arb(0)


def _lp(numbers: Mapping[str, arb], r: arb, slope: bool, higher: bool) -> Derivatives:
    p = numbers["p"]
    if p == 2:
        return _square(numbers, r, slope, higher)
    third = (p - 1) * (p - 2)
    first, second = _power(p, 1, r) if slope else _UNWANTED, (p - 1) * _power(p, 2, r)
    if not higher:
        return first, second, _UNWANTED, _UNWANTED
    return first, second, third * _power(p, 3, r), third * (p - 3) * _power(p, 4, r)


def _power(p: arb, order: int, r: arb) -> arb:
    """|r|^(p - order), times the sign of r for odd orders; not finite where r may be 0 and order >= p, p != 4."""
    exponent, odd = p - order, order % 2 == 1
    if r > 0 or r < 0:
        power = abs(r) ** exponent
        return -power if odd and r < 0 else power
    if exponent > 0:
        largest = r.abs_upper()
        most = largest**exponent if largest > 0 else arb(0)
        return arb(0, most.abs_upper()) if odd else arb(0).union(most)
    return arb(1) if exponent == 0 and not odd else arb.nan()


def _pseudo_huber(numbers: Mapping[str, arb], r: arb, slope: bool, higher: bool) -> Derivatives:
    delta = numbers["delta"]
    ratio = r / delta
    squared = square(ratio)
    inverse = (1 + squared).rsqrt()
    cubed = inverse**3
    first = _UNWANTED
    if slope:
        narrow = ratio.rad() < _NARROW
        first = r * inverse if narrow else _increasing(lambda x: x * (1 + (x / delta) ** 2).rsqrt(), r)
    if not higher:
        return first, cubed, _UNWANTED, _UNWANTED
    fifth = cubed * inverse**2
    return first, cubed, -3 * ratio * fifth / delta, (12 * squared - 3) * fifth * inverse**2 / delta**2


def _generalized_huber(numbers: Mapping[str, arb], r: arb, slope: bool, higher: bool) -> Derivatives:
    del slope  # all of them follow from it
    a, b = numbers["a"], numbers["b"]
    x = a * r
    if x.abs_upper() < _FAR:
        # D = 2 cosh x + b as (2 + b) + 4 sinh^2(x/2): no cancellation for b near -2
        sinh = _increasing(arb.sinh, x)
        half = square(_increasing(arb.sinh, x / 2))
        inverse = 1 / ((2 + b) + 4 * half)
        first = 2 * sinh * inverse
        bend = a * (4 + 2 * b * (1 + 2 * half)) * inverse**2
    else:
        t = (-abs(x)).exp()
        d = 1 + b * t + t**2
        size, inverse = (1 - t**2) / d, t / d
        first = size if r > 0 else -size if r < 0 else arb(0, size.abs_upper())
        bend = a * t * (4 * t + b * (1 + t**2)) / d**2
    if not higher:
        return first, bend, _UNWANTED, _UNWANTED
    # in terms of 1/D and rho' = S/D, S = 2 sinh x: D' = a S, S' = a (D - b), S^2 = (D - b)^2 - 4
    c = (2 - b) * (2 + b)
    third = -(a**2) * first * inverse * (b + 2 * c * inverse)
    fall, rise = (1 - b * inverse) * (b + 2 * c * inverse), square(first) * (2 * b + 6 * c * inverse)
    return first, bend, third, a**3 * inverse * (rise - fall)


def _log_cosh(numbers: Mapping[str, arb], r: arb, slope: bool, higher: bool) -> Derivatives:
    a = numbers["a"]
    x = a * r
    first = _increasing(arb.tanh, x) if slope or higher else _UNWANTED
    bend = square(x.abs_lower().sech().union(x.abs_upper().sech()))
    if not higher:
        return first, a * bend, _UNWANTED, _UNWANTED
    return first, a * bend, -2 * a**2 * first * bend, a**3 * bend * (4 * square(first) - 2 * bend)


def _increasing(function: Callable[[arb], arb], x: arb) -> arb:
    """Values of an increasing function on a ball, from those at its ends: nothing is lost however wide it is."""
    return function(x.lower()).union(function(x.upper()))


BALL_LOSSES: dict[str, Callable[[Mapping[str, arb], arb, bool, bool], Derivatives]] = {
    "square": _square,
    "lp": _lp,
    "pseudo_huber": _pseudo_huber,
    "generalized_huber": _generalized_huber,
    "log_cosh": _log_cosh,
}
"""Enclosures by the name of the loss, of its numbers and a ball of residuals. The last two arguments say whether the
first derivative, and whether the third and fourth are wanted: those that are not may be NaN."""
