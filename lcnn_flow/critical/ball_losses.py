"""Enclosures of the derivatives of rho in ball arithmetic: for a ball of residuals, a ball that contains every value.

The formulas are those of `lcnn_flow.losses` and their derivatives; numbers of a loss are taken as the exact values of
their floats.
"""

from collections.abc import Callable, Mapping

from flint import arb

from lcnn_flow.critical.ball_margin_losses import BALL_MARGIN_LOSSES
from lcnn_flow.critical.ball_ranges import NARROW, UNWANTED, Derivatives, monotonic, power
from lcnn_flow.critical.ball_robust_losses import BALL_ROBUST_LOSSES
from lcnn_flow.critical.balls import square

__all__ = ["BALL_LOSSES", "Derivatives", "loss_derivatives", "slope_and_bend"]

_FAR = 50
"""Beyond a|r| = 50 hyperbolic functions are written in e^{-a|r|}, so that nothing overflows."""


def loss_derivatives(loss: str, numbers: Mapping[str, float], r: arb) -> Derivatives:
    """The first four derivatives of rho on a ball of residuals.

    For l_p, other than even p, those of order p and above do not exist at 0: they are not finite on balls that hold 0.
    For Huber the second one jumps at |r| = delta: on balls that hold the jump it is [0, 1], and the third and fourth
    are not finite.

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
    first, second = power(p - 1, True, r) if slope else UNWANTED, (p - 1) * power(p - 2, False, r)
    if not higher:
        return first, second, UNWANTED, UNWANTED
    return first, second, third * power(p - 3, True, r), third * (p - 3) * power(p - 4, False, r)


def _pseudo_huber(numbers: Mapping[str, arb], r: arb, slope: bool, higher: bool) -> Derivatives:
    delta = numbers["delta"]
    ratio = r / delta
    squared = square(ratio)
    inverse = (1 + squared).rsqrt()
    cubed = inverse**3
    first = UNWANTED
    if slope:
        narrow = ratio.rad() < NARROW
        first = r * inverse if narrow else monotonic(lambda x: x * (1 + (x / delta) ** 2).rsqrt(), r)
    if not higher:
        return first, cubed, UNWANTED, UNWANTED
    fifth = cubed * inverse**2
    return first, cubed, -3 * ratio * fifth / delta, (12 * squared - 3) * fifth * inverse**2 / delta**2


def _generalized_huber(numbers: Mapping[str, arb], r: arb, slope: bool, higher: bool) -> Derivatives:
    del slope  # all of them follow from it
    a, b = numbers["a"], numbers["b"]
    x = a * r
    if x.abs_upper() < _FAR:
        # D = 2 cosh x + b as (2 + b) + 4 sinh^2(x/2): no cancellation for b near -2
        sinh = monotonic(arb.sinh, x)
        half = square(monotonic(arb.sinh, x / 2))
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
        return first, bend, UNWANTED, UNWANTED
    # in terms of 1/D and rho' = S/D, S = 2 sinh x: D' = a S, S' = a (D - b), S^2 = (D - b)^2 - 4
    c = (2 - b) * (2 + b)
    third = -(a**2) * first * inverse * (b + 2 * c * inverse)
    fall, rise = (1 - b * inverse) * (b + 2 * c * inverse), square(first) * (2 * b + 6 * c * inverse)
    return first, bend, third, a**3 * inverse * (rise - fall)


def _log_cosh(numbers: Mapping[str, arb], r: arb, slope: bool, higher: bool) -> Derivatives:
    a = numbers["a"]
    x = a * r
    first = monotonic(arb.tanh, x) if slope or higher else UNWANTED
    bend = square(x.abs_lower().sech().union(x.abs_upper().sech()))
    if not higher:
        return first, a * bend, UNWANTED, UNWANTED
    return first, a * bend, -2 * a**2 * first * bend, a**3 * bend * (4 * square(first) - 2 * bend)


def _smooth_quantile(numbers: Mapping[str, arb], r: arb, slope: bool, higher: bool) -> Derivatives:
    """rho = (sqrt(r^2 + delta^2) + (1 - 2 tau) r)/2 up to a constant: half of pseudo-Huber over delta, and a line."""
    first, *others = (x / (2 * numbers["delta"]) for x in _pseudo_huber(numbers, r, slope, higher))
    second, third, fourth = others
    return first + (arb(0.5) - numbers["tau"]), second, third, fourth


BALL_LOSSES: dict[str, Callable[[Mapping[str, arb], arb, bool, bool], Derivatives]] = {
    "square": _square,
    "lp": _lp,
    "pseudo_huber": _pseudo_huber,
    "generalized_huber": _generalized_huber,
    "log_cosh": _log_cosh,
    **BALL_ROBUST_LOSSES,
    "smooth_quantile": _smooth_quantile,
    **BALL_MARGIN_LOSSES,
}
"""Enclosures by the name of the loss, of its numbers and a ball of residuals. The last two arguments say whether the
first derivative, and whether the third and fourth are wanted: those that are not may be NaN."""
