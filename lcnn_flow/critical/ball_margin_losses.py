"""Enclosures of the derivatives of the margin losses: logistic, log(1 + e^-z), and exponential, e^-z.

With t = e^-|z| and u = t/(1 + t)^2 the derivatives of the logistic loss are

    rho' = -1/(1 + e^z),   rho'' = u,   rho''' = -u tanh(z/2),   rho'''' = u (1 - 6 u),

of which rho'' turns at 0, rho''' at z = +-log(2 + sqrt 3) and rho'''' at 0 and where u = 1/12, that is at
z = +-2 artanh(sqrt(2/3)). Derived.
"""

import functools
from collections.abc import Callable, Mapping

from flint import arb, ctx

from lcnn_flow.critical.ball_ranges import UNWANTED, Derivatives, monotonic, range_between

__all__ = ["BALL_MARGIN_LOSSES"]

_BITS = 128


def _logistic_first(z: arb) -> arb:
    t = (-abs(z)).exp()
    if z > 0:
        return -t / (1 + t)
    return -1 / (1 + t) if z < 0 else -1 / (1 + z.exp())


def _logistic_second(z: arb) -> arb:
    t = (-abs(z)).exp()
    return t / (1 + t) ** 2


def _logistic_third(z: arb) -> arb:
    return -_logistic_second(z) * (z / 2).tanh()


def _logistic_fourth(z: arb) -> arb:
    u = _logistic_second(z)
    return u * (1 - 6 * u)


@functools.cache
def _turns() -> tuple[list[tuple[arb, arb]], ...]:
    """The turning points of rho'', rho''' and rho'''', with the values there."""
    with ctx.workprec(_BITS):
        third, fourth = (2 + arb(3).sqrt()).log(), 2 * (arb(2) / 3).sqrt().atanh()
        points = [arb(0)], [third, -third], [arb(0), fourth, -fourth]
        functions = _logistic_second, _logistic_third, _logistic_fourth
        return tuple([(z, f(z)) for z in found] for f, found in zip(functions, points, strict=True))


def _logistic(_: Mapping[str, arb], z: arb, slope: bool, higher: bool) -> Derivatives:
    turns = _turns()
    first = range_between(_logistic_first, [], z) if slope else UNWANTED
    second = range_between(_logistic_second, turns[0], z)
    if not higher:
        return first, second, UNWANTED, UNWANTED
    third, fourth = range_between(_logistic_third, turns[1], z), range_between(_logistic_fourth, turns[2], z)
    return first, second, third, fourth


def _exponential(_: Mapping[str, arb], z: arb, slope: bool, higher: bool) -> Derivatives:
    del slope, higher  # one number is all of them
    value = monotonic(lambda x: (-x).exp(), z)
    return -value, value, -value, value


BALL_MARGIN_LOSSES: dict[str, Callable[[Mapping[str, arb], arb, bool, bool], Derivatives]] = {
    "logistic": _logistic,
    "exponential": _exponential,
}
"""As `ball_losses.BALL_LOSSES`, for these losses."""
