"""The square system whose zeros are the critical points with given balancedness, in ball arithmetic.

With xi_l = (..., w_l, -w_{l+1}, ...) = grad h_l, h_l = (|w_l|^2 - |w_{l+1}|^2)/2 and factors mu_l > 0,

    F(w) = grad Phi(w),   Phi = L + sum_l (mu_l/2) (h_l - c_l)^2,
    F'(w) = Hess L + sum_l mu_l (xi_l xi_l^T + (h_l - c_l) E_l),   E_l = +I on layer l, -I on layer l+1.

L is constant along the xi_l, which are linearly independent while at most one filter vanishes. Contracting F = 0 with
them gives h = c, so that the zeros of F are the critical points of L with h = c, and there F' has the index of Hess L.
Derived.
"""

import itertools
import math
from collections.abc import Sequence

import jax
import numpy as np
from flint import arb, arb_mat

from lcnn_flow.critical.ball_risk import BallRisk
from lcnn_flow.critical.balls import diagonal, largest, magnitude, row_sum_norm, square
from lcnn_flow.critical.plain_numbers import PlainRisk

__all__ = ["LeafSystem"]


class LeafSystem:
    """F and F' in units 2^e of each layer, with e chosen from the norms of the filters, so that units have no
    influence.

    Args:
        risk: the risk in plain numbers.
        filters: floats, taken as exact; at most one of the filters may vanish.
        balancedness: c, floats taken as exact; if None, that of the filters, computed without rounding.
    """

    def __init__(
        self,
        risk: PlainRisk,
        filters: Sequence[np.ndarray],
        balancedness: Sequence[float] | np.ndarray | jax.Array | None,
    ) -> None:
        sizes = [float(np.max(np.abs(w))) for w in filters]
        self._units = [math.frexp(size or max(sizes) or 1.0)[1] for size in sizes]
        self.balls = BallRisk(risk, self._units)
        layers = zip(filters, self._units, strict=True)
        self.given = [arb(float(x)) * arb(2) ** -e for w, e in layers for x in np.ravel(w)]
        """The given filters, exactly."""
        self.balance = self._balancedness(self.given)
        if balancedness is not None:
            self.balance = [arb(float(c)) for c in balancedness]
        hessian = largest(arb_mat(self.balls.hessian(self.given)))
        gradients = [self._conserved_gradient(self.given, layer) for layer in range(len(self.balance))]
        # mu_l makes the force towards the leaf about as stiff as the risk; `scale` makes F' of order 1
        self._factors = [arb(2) ** (hessian - 2 * max(map(magnitude, x))) for x in gradients]
        self.scale = arb(2) ** -hessian

    def value(self, vector: list[arb]) -> arb_mat:
        """The value F of the system at a point, (n, 1)."""
        total = self.balls.gradient(vector)
        for layer, offset in enumerate(self._offsets(vector)):
            total += arb_mat([[self._factors[layer] * offset * x] for x in self._conserved_gradient(vector, layer)])
        return self.scale * total

    def derivative(self, vector: list[arb]) -> arb_mat:
        """The derivative F' of the system at a point, (n, n)."""
        total = arb_mat(self.balls.hessian(vector))
        ones = [arb(1)] * len(vector)
        for layer, offset in enumerate(self._offsets(vector)):
            column = arb_mat([[x] for x in self._conserved_gradient(vector, layer)])
            total += self._factors[layer] * (column * column.transpose())
            for i, sign in enumerate(self._conserved_gradient(ones, layer)):
                total[i, i] += self._factors[layer] * offset * sign
        return self.scale * total

    def newton(self, centre: list[arb], inverse: arb_mat) -> tuple[list[arb], float]:
        """One step x - Y F(x) from an exact point to an exact point, and an upper bound of the maximum norm of the
        step."""
        step = inverse * self.value(centre)
        return [(x - d).mid() for x, d in zip(centre, step.entries(), strict=True)], row_sum_norm(step)

    def filters_vanishing(self, vector: list[arb]) -> int:
        """Number of filters that may be zero at some point of the ball."""
        return sum(not any(x > 0 or x < 0 for x in layer) for layer in self.balls.layers(vector))

    def box(self, centre: list[arb], radius: float) -> list[arb]:
        """The box of half width `radius` in the units 2^e of each layer."""
        return [x + arb(0, radius) for x in centre]

    def lengths(self) -> list[arb]:
        """The smallest of the units 2^e, expressed in the unit of each layer."""
        return [arb(2) ** (min(self._units) - e) for e in self._units]

    def pulls(self, vector: list[arb]) -> list[tuple[arb_mat, arb_mat]]:
        """(mu_l xi_l, (n, 1), and E_l, (n, n)) in the units of F, for every l."""
        ones, result = [arb(1)] * len(vector), []
        for layer, factor in enumerate(self._factors):
            column = arb_mat([[self.scale * factor * x] for x in self._conserved_gradient(vector, layer)])
            result.append((column, diagonal(self._conserved_gradient(ones, layer))))
        return result

    def length(self, radius: float) -> arb:
        """`radius`, given in the smallest of the units 2^e, converted to units of filters; exact."""
        return arb(radius) * arb(2) ** min(self._units)

    def diameter(self, radius: float) -> arb:
        """Euclidean distance from the centre of `box(radius)` to its corners, in units of filters."""
        sizes = zip(self._units, self.balls.sizes, strict=True)
        return arb(radius) * sum((size * arb(4) ** e for e, size in sizes), arb(0)).sqrt()

    def distance(self, vector: list[arb]) -> arb:
        """Euclidean distance from the given filters, in units of filters."""
        layers = zip(self.balls.layers(vector), self.balls.layers(self.given), self._units, strict=True)
        squares = (square(x - y) * arb(4) ** e for a, b, e in layers for x, y in zip(a, b, strict=True))
        return sum(squares, arb(0)).sqrt()

    def _balancedness(self, vector: list[arb]) -> list[arb]:
        layers = zip(self.balls.layers(vector), self._units, strict=True)
        squares = [sum((square(x) for x in layer), arb(0)) * arb(4) ** e for layer, e in layers]
        return [(a - b) / 2 for a, b in itertools.pairwise(squares)]

    def _offsets(self, vector: list[arb]) -> list[arb]:
        """The offsets h_l - c_l from the leaf."""
        return [h - c for h, c in zip(self._balancedness(vector), self.balance, strict=True)]

    def _conserved_gradient(self, vector: list[arb], layer: int) -> list[arb]:
        """The gradient xi_l of h_l in the units 2^e."""
        parts = []
        for m, w in enumerate(self.balls.layers(vector)):
            sign = {layer: 1, layer + 1: -1}.get(m, 0)
            parts += [sign * x * arb(4) ** self._units[m] for x in w]
        return parts
