"""The square system whose zeros are the critical points with given conserved quantities, in ball arithmetic.

Gradient flow conserves h_j(w) = sum_i f_ji w_i^2/2, j = 1, ..., k. For linear networks of a single channel these are
h_l = (|w_l|^2 - |w_{l+1}|^2)/2. With xi_j = grad h_j = f_j w (entry by entry) and factors mu_j > 0,

    F(w) = grad Phi(w),   Phi = L + sum_j (mu_j/2) (h_j - c_j)^2,
    F'(w) = Hess L + sum_j mu_j (xi_j xi_j^T + (h_j - c_j) diag(f_j)).

L is constant along the xi_j. Where they are linearly independent, contracting F = 0 with them gives h = c, so that the
zeros of F are the critical points of L with h = c, and there F' has the index of Hess L. Without conserved quantities
F = grad L. Derived.
"""

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from flint import arb, arb_mat

from lcnn_flow.critical.ball_network import BallNetwork
from lcnn_flow.critical.ball_risk import BallRisk
from lcnn_flow.critical.balls import diagonal, largest, magnitude, row_sum_norm, square
from lcnn_flow.critical.plain_network import PlainNetwork
from lcnn_flow.critical.plain_numbers import PlainRisk

__all__ = ["BallFunction", "LeafSystem", "layer_system", "network_system"]


@runtime_checkable
class BallFunction(Protocol):
    """A function of parameters with enclosures of its gradient and Hessian."""

    sizes: list[int]
    """Number of entries of every array of parameters."""

    def layers(self, vector: list[arb]) -> list[list[arb]]:
        """The raveled parameters, one list per array."""
        ...

    def gradient(self, vector: list[arb]) -> arb_mat:
        """Enclosure of grad L, (n, 1)."""
        ...

    def hessian(self, vector: list[arb]) -> list[list[arb]]:
        """Enclosure of Hess L, (n, n), symmetric."""
        ...


def layer_system(
    risk: PlainRisk, filters: Sequence[np.ndarray], balancedness: Sequence[float] | np.ndarray | jax.Array | None
) -> tuple["LeafSystem", BallRisk]:
    """The system of a linear network of a single channel, in a unit 2^e of each filter, and its risk.

    Units follow the norms of the filters, so that these have no influence; at most one of the filters may vanish. With
    weight decay nothing is conserved, and all filters have the same unit.
    """
    sizes = [float(np.max(np.abs(w))) for w in filters]
    if risk.decay:
        sizes = [max(sizes)] * len(sizes)
    units = [math.frexp(size or max(sizes) or 1.0)[1] for size in sizes]
    balls = BallRisk(risk, units)
    layer = np.repeat(np.arange(len(sizes)), balls.sizes)
    forms = [(layer == i).astype(float) - (layer == i + 1) for i in range(risk.num_conserved)]
    return LeafSystem(balls, filters, units, forms, balancedness), balls


def network_system(
    risk: PlainNetwork, params: Sequence[np.ndarray], balancedness: Sequence[float] | np.ndarray | jax.Array | None
) -> "LeafSystem":
    """The system of any network, in one unit 2^e of all parameters."""
    size = max(float(np.max(np.abs(w))) for w in params)
    exponent = math.frexp(size or 1.0)[1]
    forms = list(2 * risk.conserved)
    return LeafSystem(BallNetwork(risk, exponent), params, [exponent] * len(params), forms, balancedness)


class LeafSystem:
    """F and F' in units 2^e of each array of parameters.

    Args:
        balls: the risk in these units.
        params: the arrays of parameters, floats taken as exact.
        units: e, one per array.
        forms: f_j, (n,) each.
        balancedness: c, floats taken as exact; if None, that of the parameters, computed without rounding.
    """

    def __init__(
        self,
        balls: BallFunction,
        params: Sequence[np.ndarray],
        units: list[int],
        forms: Sequence[np.ndarray],
        balancedness: Sequence[float] | np.ndarray | jax.Array | None,
    ) -> None:
        self.balls, self._units = balls, units
        exponents = [e for e, size in zip(units, balls.sizes, strict=True) for _ in range(size)]
        flat = np.concatenate([np.ravel(w) for w in params])
        self.given = [arb(float(x)) * arb(2) ** -e for x, e in zip(flat, exponents, strict=True)]
        """The given parameters, exactly."""
        self._forms = [[arb(float(f)) * arb(4) ** e for f, e in zip(form, exponents, strict=True)] for form in forms]
        """f_j in the units 2^e."""
        self.balance = self._conserved(self.given)
        if balancedness is not None:
            self.balance = [arb(float(c)) for c in balancedness]
        hessian = largest(arb_mat(self.balls.hessian(self.given)))
        gradients = [_times(form, self.given) for form in self._forms]
        # mu_j makes the force towards the leaf about as stiff as the risk; `scale` makes F' of order 1
        self._factors = [arb(2) ** (hessian - 2 * max(map(magnitude, x))) for x in gradients]
        self.scale = arb(2) ** -hessian

    def value(self, vector: list[arb]) -> arb_mat:
        """The value F of the system at a point, (n, 1)."""
        total = self.balls.gradient(vector)
        for form, factor, offset in self._terms(vector):
            total += arb_mat([[factor * offset * x] for x in _times(form, vector)])
        return self.scale * total

    def derivative(self, vector: list[arb]) -> arb_mat:
        """The derivative F' of the system at a point, (n, n)."""
        total = arb_mat(self.balls.hessian(vector))
        for form, factor, offset in self._terms(vector):
            column = arb_mat([[x] for x in _times(form, vector)])
            total += factor * (column * column.transpose())
            for i, x in enumerate(form):
                total[i, i] += factor * offset * x
        return self.scale * total

    def newton(self, centre: list[arb], inverse: arb_mat) -> tuple[list[arb], float]:
        """One step x - Y F(x) from an exact point to an exact point, and an upper bound of the maximum norm of the
        step."""
        step = inverse * self.value(centre)
        return [(x - d).mid() for x, d in zip(centre, step.entries(), strict=True)], row_sum_norm(step)

    def is_regular_leaf(self, vector: list[arb]) -> bool:
        """Whether the xi_j are shown to be linearly independent at all points of the ball.

        Let sum_j alpha_j xi_j = 0. An entry w_i that cannot vanish shows that sum_j alpha_j f_ji = 0, hence alpha_j = 0
        if all other coefficients in this sum are known to be 0.
        """
        entries = [
            {j for j, form in enumerate(self._forms) if form[i] != 0} for i, x in enumerate(vector) if x > 0 or x < 0
        ]
        known: set[int] = set()
        while found := {j for members in entries if len(members - known) == 1 for j in members - known}:
            known |= found
        return len(known) == len(self._forms)

    def box(self, centre: list[arb], radius: float) -> list[arb]:
        """The box of half width `radius` in the units 2^e of each array."""
        return [x + arb(0, radius) for x in centre]

    def surrounding(self, vector: list[arb], radius: float) -> list[arb]:
        """A box that holds the Euclidean ball of `radius`, in the smallest of the units, around each point of a box."""
        lengths = (t for t, size in zip(self.lengths(), self.balls.sizes, strict=True) for _ in range(size))
        return [x + arb(0, radius) * t for x, t in zip(vector, lengths, strict=True)]

    def lengths(self) -> list[arb]:
        """The smallest of the units 2^e, expressed in the unit of each array."""
        return [arb(2) ** (min(self._units) - e) for e in self._units]

    def pulls(self, vector: list[arb]) -> list[tuple[arb_mat, arb_mat]]:
        """(mu_j xi_j, (n, 1), and diag(f_j), (n, n)) in the units of F, for every j."""
        return [
            (arb_mat([[self.scale * factor * x] for x in _times(form, vector)]), diagonal(form))
            for form, factor in zip(self._forms, self._factors, strict=True)
        ]

    def length(self, radius: float) -> arb:
        """`radius`, given in the smallest of the units 2^e, converted to units of parameters; exact."""
        return arb(radius) * arb(2) ** min(self._units)

    def diameter(self, radius: float) -> arb:
        """Euclidean distance from the centre of `box(radius)` to its corners, in units of parameters."""
        sizes = zip(self._units, self.balls.sizes, strict=True)
        return arb(radius) * sum((size * arb(4) ** e for e, size in sizes), arb(0)).sqrt()

    def distance(self, vector: list[arb]) -> arb:
        """Euclidean distance from the given parameters, in units of parameters."""
        layers = zip(self.balls.layers(vector), self.balls.layers(self.given), self._units, strict=True)
        squares = (square(x - y) * arb(4) ** e for a, b, e in layers for x, y in zip(a, b, strict=True))
        return sum(squares, arb(0)).sqrt()

    def _conserved(self, vector: list[arb]) -> list[arb]:
        """h."""
        squares = [square(x) for x in vector]
        return [sum((f * x for f, x in zip(form, squares, strict=True) if f != 0), arb(0)) / 2 for form in self._forms]

    def _terms(self, vector: list[arb]) -> list[tuple[list[arb], arb, arb]]:
        """(f_j, mu_j, h_j - c_j) for every j."""
        offsets = [h - c for h, c in zip(self._conserved(vector), self.balance, strict=True)]
        return list(zip(self._forms, self._factors, offsets, strict=True))


def _times(form: list[arb], vector: list[arb]) -> list[arb]:
    """f w, entry by entry: the gradient of a conserved quantity."""
    return [f * x for f, x in zip(form, vector, strict=True)]
