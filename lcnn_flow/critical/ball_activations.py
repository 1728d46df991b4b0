"""Enclosures of activations and their first two derivatives in ball arithmetic.

    tanh       sigma' = 1/cosh^2, which turns at 0;  sigma'' = -2 tanh/cosh^2, which turns where tanh^2 = 1/3
    softplus   log(1 + e^x), the logistic loss of -x
    gelu       x Phi(x);  sigma' = Phi + x phi, turns at +-sqrt 2;  sigma'' = (2 - x^2) phi, turns at 0 and +-2
    power      x^p for integers p, else sign(x) |x|^p

Phi and phi are the distribution function and the density of the normal distribution. relu and leaky relu are linear on
either side of 0; on balls that contain 0 their derivatives are not finite, and neither is sigma'' of a power p < 2.
"""

import functools
from collections.abc import Callable, Sequence

from flint import arb, ctx

from lcnn_flow.critical.ball_margin_losses import BALL_MARGIN_LOSSES
from lcnn_flow.critical.ball_ranges import NARROW, monotonic, power, range_between

__all__ = ["BALL_ACTIVATIONS", "activation_derivatives"]

_BITS = 128
_FAR = 50
"""Beyond |x| = 50 the hyperbolic cosine is written in e^-|x|, so that nothing overflows."""

Curve = tuple[arb, arb, arb]
"""sigma, sigma', sigma''; not finite where one does not exist everywhere on the ball."""


def activation_derivatives(name: str, numbers: Sequence[float], x: arb) -> Curve:
    """An activation of `lcnn_flow.activations` and its first two derivatives on a ball.

    Raises:
        KeyError: no such activation; `BALL_ACTIVATIONS` has them all.
    """
    return BALL_ACTIVATIONS[name](tuple(arb(number) for number in numbers), x)


def _tanh_first(x: arb) -> arb:
    if x.abs_upper() < _FAR:
        return x.sech() ** 2
    t = (-2 * abs(x)).exp()
    return 4 * t / (1 + t) ** 2


def _tanh_second(x: arb) -> arb:
    return -2 * x.tanh() * _tanh_first(x)


def _gelu_distribution(x: arb) -> arb:
    return (-x / arb(2).sqrt()).erfc() / 2


def _gelu_density(x: arb) -> arb:
    return (-(x * x) / 2).exp() / (2 * arb.pi()).sqrt()


def _gelu_first(x: arb) -> arb:
    return _gelu_distribution(x) + x * _gelu_density(x)


def _gelu_second(x: arb) -> arb:
    return (2 - x * x) * _gelu_density(x)


@functools.cache
def _turns() -> dict[str, list[tuple[arb, arb]]]:
    """The turning points of the functions above, with the values there."""
    with ctx.workprec(_BITS):
        third, root = (arb(1) / 3).sqrt().atanh(), arb(2).sqrt()
        points = {
            "tanh_first": (_tanh_first, [arb(0)]),
            "tanh_second": (_tanh_second, [third, -third]),
            "gelu_first": (_gelu_first, [root, -root]),
            "gelu_second": (_gelu_second, [arb(0), arb(2), arb(-2)]),
        }
        return {name: [(x, function(x)) for x in found] for name, (function, found) in points.items()}


def _tanh(_: Sequence[arb], x: arb) -> Curve:
    turns = _turns()
    first = range_between(_tanh_first, turns["tanh_first"], x)
    return monotonic(arb.tanh, x), first, range_between(_tanh_second, turns["tanh_second"], x)


def _softplus(_: Sequence[arb], x: arb) -> Curve:
    first, second, _third, _fourth = BALL_MARGIN_LOSSES["logistic"]({}, -x, True, False)
    return monotonic(_softplus_value, x), -first, second


def _softplus_value(x: arb) -> arb:
    return x + (-x).exp().log1p() if x > 0 else x.exp().log1p()


def _gelu(_: Sequence[arb], x: arb) -> Curve:
    turns = _turns()
    first = range_between(_gelu_first, turns["gelu_first"], x)
    if x.rad() < NARROW:
        value = x * _gelu_distribution(x)
    else:  # where it turns is no closed form: the mean value theorem
        middle = x.mid()
        value = middle * _gelu_distribution(middle) + first * (x - middle)
    return value, first, range_between(_gelu_second, turns["gelu_second"], x)


def _power(numbers: Sequence[arb], x: arb) -> Curve:
    (p,) = numbers
    odd = not (p / 2).is_integer()  # powers that are not integers keep the sign too
    value, first = power(p, odd, x), p * power(p - 1, not odd, x)
    return value, first, arb(0) if p == 1 else p * (p - 1) * power(p - 2, odd, x)


def _leaky_relu(numbers: Sequence[arb], x: arb) -> Curve:
    (slope,) = numbers
    if x > 0:
        return x, arb(1), arb(0)
    if x < 0:
        return slope * x, slope, arb(0)
    return monotonic(lambda y: y if y > 0 else slope * y, x), arb.nan(), arb.nan()


def _relu(_: Sequence[arb], x: arb) -> Curve:
    return _leaky_relu((arb(0),), x)


def _identity(_: Sequence[arb], x: arb) -> Curve:
    return x, arb(1), arb(0)


BALL_ACTIVATIONS: dict[str, Callable[[Sequence[arb], arb], Curve]] = {
    "identity": _identity,
    "tanh": _tanh,
    "softplus": _softplus,
    "gelu": _gelu,
    "Power": _power,
    "relu": _relu,
    "leaky_relu": _leaky_relu,
}
"""Enclosures by the name of the activation, of its numbers and a ball; "identity" is that of linear networks."""
