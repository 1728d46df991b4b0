"""Numbers that carry their gradient and Hessian, in floats or in balls of any precision.

A `Jet` of shape S has values (*S), gradients (*S, n) and Hessians (*S, n, n) with respect to n variables. The arrays
are of floats, many functions at once, or of objects: `flint.arb`, one function. No line is shared with JAX.
"""

from typing import Any

import numpy as np
from flint import arb

__all__ = ["Jet", "matvec", "variables"]


class Jet:
    """Values with their first and, where `h` is given, second derivatives."""

    __slots__ = ("g", "h", "v")
    __array_ufunc__ = None  # arrays on the left leave the operation to this class

    def __init__(self, v: Any, g: Any, h: Any) -> None:
        self.v, self.g, self.h = v, g, h

    def at(self, *index: Any) -> "Jet":
        """Entries along the last axes of the shape."""
        place = (Ellipsis, *index)
        h = None if self.h is None else self.h[(*place, slice(None), slice(None))]
        return Jet(self.v[place], self.g[(*place, slice(None))], h)

    def sum(self, axes: int = 1) -> "Jet":
        """The sum over the last axes of the shape."""
        total = self
        for _ in range(axes):
            last = total.v.ndim - 1
            h = None if total.h is None else total.h.sum(axis=last)
            total = Jet(total.v.sum(axis=last), total.g.sum(axis=last), h)
        return total

    def __add__(self, other: Any) -> "Jet":
        if not isinstance(other, Jet):
            v = self.v + other
            return Jet(v, self.g + np.zeros((*v.shape, 1), int), None if self.h is None else self.h + _zeros(v))
        return Jet(self.v + other.v, self.g + other.g, None if self.h is None else self.h + other.h)

    def __mul__(self, other: Any) -> "Jet":
        if not isinstance(other, Jet):
            c = np.asarray(other)
            h = None if self.h is None else self.h * c[..., None, None]
            return Jet(self.v * c, self.g * c[..., None], h)
        v, w = self.v[..., None], other.v[..., None]
        h = None
        if self.h is not None:
            cross = self.g[..., :, None] * other.g[..., None, :]
            h = self.h * w[..., None] + other.h * v[..., None] + cross + np.swapaxes(cross, -1, -2)
        return Jet(self.v * other.v, self.g * w + other.g * v, h)

    def __neg__(self) -> "Jet":
        return self * -1

    def __sub__(self, other: Any) -> "Jet":
        return self + (-other)

    def __rsub__(self, other: Any) -> "Jet":
        return -self + other

    __radd__, __rmul__ = __add__, __mul__

    def __pow__(self, p: int) -> "Jet":
        low = self.v * 0 + 1
        for _ in range(p - 2):  # the power of a ball around 0 is none
            low = low * self.v
        return self._chain(low * self.v * self.v, p * low * self.v, p * (p - 1) * low)

    def _chain(self, f: Any, slope: Any, bend: Any) -> "Jet":
        h = None
        if self.h is not None:
            h = self.h * slope[..., None, None]
            h = h + (self.g[..., :, None] * self.g[..., None, :]) * bend[..., None, None]
        return Jet(f, self.g * slope[..., None], h)

    def exp(self) -> "Jet":
        e = _call("exp", self.v)
        return self._chain(e, e, e)

    def cos(self) -> "Jet":
        c, s = _call("cos", self.v), _call("sin", self.v)
        return self._chain(c, -s, -c)

    def tanh(self) -> "Jet":
        e = _call("exp", -2 * abs(self.v))
        small = 4 * e / ((1 + e) * (1 + e))
        t = _call("tanh", self.v)
        return self._chain(t, small, -2 * t * small)

    def softplus(self) -> "Jet":
        e = _call("exp", -abs(self.v))
        positive = np.asarray(self.v > 0)
        s = np.where(positive, 1 / (1 + e), e / (1 + e))
        return self._chain(_call("log1p", e) + np.where(positive, self.v, 0), s, e / ((1 + e) * (1 + e)))

    def positive(self) -> "Jet":
        """The larger of itself and 0, with derivative 0 at 0."""
        on = np.asarray(self.v > 0).astype(int)
        return self._chain(self.v * on, self.v * 0 + on, self.v * 0)

    def flat(self) -> "Jet":
        """exp(-1/x^2), and 0 at 0."""
        at_zero = np.asarray(self.v == 0).astype(int)
        r = 1 / (self.v + at_zero)
        e = _call("exp", -r * r) * (1 - at_zero)
        return self._chain(e, 2 * r * r * r * e, (4 * r * r - 6) * r * r * r * r * e)

    def inverse(self) -> "Jet":
        r = 1 / self.v
        return self._chain(r, -r * r, 2 * r * r * r)


def matvec(matrix: Any, x: Jet) -> Jet:
    """A constant (..., m, n) times a jet (..., n)."""
    h = None if x.h is None else x.h[..., None, :, :, :]
    return (Jet(x.v[..., None, :], x.g[..., None, :, :], h) * matrix).sum()


def variables(points: Any, second: bool = True) -> Jet:
    """The variables (..., n) themselves."""
    n = points.shape[-1]
    one = np.broadcast_to(np.eye(n, dtype=int), (*points.shape, n)).astype(points.dtype)
    return Jet(points, one, np.zeros((*points.shape, n, n), dtype=points.dtype) if second else None)


def _zeros(v: Any) -> Any:
    return np.zeros((*v.shape, 1, 1), int)


def _call(name: str, x: Any) -> Any:
    if x.dtype != object:
        return getattr(np, name)(x)
    return np.frompyfunc(lambda y: getattr(arb(y), name)(), 1, 1)(x)
