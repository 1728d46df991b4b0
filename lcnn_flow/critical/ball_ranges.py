"""Ranges of functions on balls that stay tight however wide the ball is.

A formula evaluated on a ball overestimates its range the more, the wider the ball. A function that is monotonic between
known turning points attains its extrema over a ball at the ends of the ball or at turning points inside.
"""

from collections.abc import Callable, Sequence

from flint import arb

__all__ = ["NARROW", "UNWANTED", "Derivatives", "monotonic", "power", "range_between"]

Derivatives = tuple[arb, arb, arb, arb]
"""The first to fourth derivative of rho; not finite where one does not exist everywhere on the ball."""

UNWANTED = arb.nan()
"""What stands for a derivative that nobody asked for."""

NARROW = 1e-9
"""Radius of balls on which little is lost by evaluating a formula on the whole ball."""


def monotonic(function: Callable[[arb], arb], x: arb) -> arb:
    """Values of a monotonic function on a ball, from those at its ends."""
    return function(x.lower()).union(function(x.upper()))


def range_between(function: Callable[[arb], arb], turns: Sequence[tuple[arb, arb]], x: arb) -> arb:
    """Values on a ball of a function that is monotonic between its turning points.

    Args:
        function: an enclosure of the function, tight on narrow balls.
        turns: the turning points with the values there; all of them, or more.
        x: the ball.

    Returns:
        A ball that contains all values; not finite if `x` is not.
    """
    if not x.is_finite():
        return arb.nan()
    if x.rad() < NARROW:
        return function(x)
    found = monotonic(function, x)
    for point, value in turns:
        if point.overlaps(x):
            found = found.union(value)
    return found


def power(exponent: arb, odd: bool, x: arb) -> arb:
    """|x|^exponent, times the sign of x if `odd`; not finite where x may be 0 and the exponent is negative.

    With the exponent 0 it is 1, and the sign of x, which does not exist at 0, if `odd`.
    """
    if x > 0 or x < 0:
        size = abs(x) ** exponent
        return -size if odd and x < 0 else size
    if exponent > 0:
        largest = x.abs_upper()
        most = largest**exponent if largest > 0 else arb(0)
        return arb(0, most.abs_upper()) if odd else arb(0).union(most)
    return arb(1) if exponent == 0 and not odd else arb.nan()
