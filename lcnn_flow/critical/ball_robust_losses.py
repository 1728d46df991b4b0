"""Enclosures of the derivatives of the robust losses: Huber, Cauchy, Welsch, Geman-McClure.

All are rho(r) = delta^2 s(q), q = r/delta, so that rho^(k) = delta^(2-k) s^(k)(q). With theta = arg(q + i), that is
q = cot(theta), the derivatives of order k >= 1 and the points where they turn, which are the zeros of s^(k+1), are

    Cauchy          (-1)^(k-1) (k-1)! Re (q + i)^-k          cot((2j+1) pi/(2k+2)), j = 0, ..., k
    Geman-McClure   (-1)^k (k!/2) Im (q + i)^-(k+1)          cot(j pi/(k+2)), j = 1, ..., k+1
    Welsch          -(-1)^k H_k(q) e^(-q^2)/2                the zeros of the Hermite polynomial H_{k+1}

since Re z^-n and Im z^-n are sin(theta)^n times cos(n theta) and -sin(n theta). Huber has rho'' = 1 inside |r| < delta
and 0 outside. On balls that contain +-delta the enclosure of rho'' is [0, 1], which contains the slope of rho' between
any two points, and higher derivatives are not finite. Derived.
"""

import functools
import math
from collections.abc import Callable, Mapping

from flint import acb, arb, ctx

from lcnn_flow.critical.ball_ranges import UNWANTED, Derivatives, monotonic, range_between

__all__ = ["BALL_ROBUST_LOSSES"]

_BITS = 128
_HERMITE = {1: (0, 2), 2: (-2, 0, 4), 3: (0, -12, 0, 8), 4: (12, 0, -48, 0, 16)}
"""Coefficients of H_1, ..., H_4, lowest first."""


def _huber(numbers: Mapping[str, arb], r: arb, slope: bool, higher: bool) -> Derivatives:
    delta, size = numbers["delta"], abs(r)
    first = monotonic(lambda x: x.min(delta).max(-delta), r) if slope else UNWANTED
    if size < delta:
        second, third = arb(1), arb(0)
    elif size > delta:
        second, third = arb(0), arb(0)
    else:
        second, third = arb(0.5, 0.5) if r.is_finite() else arb.nan(), arb.nan()
    return (first, second, third, third) if higher else (first, second, UNWANTED, UNWANTED)


def _cauchy(order: int, q: arb) -> arb:
    return (-1) ** (order - 1) * math.factorial(order - 1) * (1 / acb(q, 1) ** order).real


def _cauchy_turns(order: int) -> list[arb]:
    return [(arb.pi() * (2 * j + 1) / (2 * order + 2)).cot() for j in range(order + 1)]


def _geman_mcclure(order: int, q: arb) -> arb:
    return (-1) ** order * arb(math.factorial(order)) / 2 * (1 / acb(q, 1) ** (order + 1)).imag


def _geman_mcclure_turns(order: int) -> list[arb]:
    return [(arb.pi() * j / (order + 2)).cot() for j in range(1, order + 2)]


def _welsch(order: int, q: arb) -> arb:
    polynomial = arb(0)
    for coefficient in reversed(_HERMITE[order]):
        polynomial = polynomial * q + coefficient
    return (-1) ** (order + 1) * polynomial * (-(q * q)).exp() / 2


def _welsch_turns(order: int) -> list[arb]:
    squares = {
        1: [arb(1) / 2],
        2: [arb(3) / 2],
        3: [(3 + arb(6).sqrt()) / 2, (3 - arb(6).sqrt()) / 2],
        4: [(5 + arb(10).sqrt()) / 2, (5 - arb(10).sqrt()) / 2],
    }[order]
    centre = [arb(0)] if order % 2 == 0 else []
    return centre + [sign * square.sqrt() for square in squares for sign in (1, -1)]


_SHAPES: dict[str, tuple[Callable[[int, arb], arb], Callable[[int], list[arb]]]] = {
    "cauchy": (_cauchy, _cauchy_turns),
    "geman_mcclure": (_geman_mcclure, _geman_mcclure_turns),
    "welsch": (_welsch, _welsch_turns),
}


@functools.cache
def _turns(name: str, order: int) -> list[tuple[arb, arb]]:
    """The turning points of s^(order), and the values there."""
    derivative, points = _SHAPES[name]
    with ctx.workprec(_BITS):
        return [(q, derivative(order, q)) for q in points(order)]


def _scaled(name: str, numbers: Mapping[str, arb], r: arb, slope: bool, higher: bool) -> Derivatives:
    delta = numbers["delta"]
    wanted = {1: slope, 2: True, 3: higher, 4: higher}
    first, second, third, fourth = (
        _derivative(name, order, r / delta) * delta ** (2 - order) if wanted[order] else UNWANTED for order in wanted
    )
    return first, second, third, fourth


def _derivative(name: str, order: int, q: arb) -> arb:
    """s^(order) on a ball."""
    return range_between(functools.partial(_SHAPES[name][0], order), _turns(name, order), q)


BALL_ROBUST_LOSSES: dict[str, Callable[[Mapping[str, arb], arb, bool, bool], Derivatives]] = {
    "huber": _huber,
    **{name: functools.partial(_scaled, name) for name in _SHAPES},
}
"""As `ball_losses.BALL_LOSSES`, for these losses."""
