"""Balls around a critical point that hold no other one of its balancedness, by Taylor's formula in ball arithmetic.

Let x be a critical point of balance c, M = F'(x) (`leaf_system`), T a matrix with T^T M T = J up to rounding, J
diagonal with entries +-1, and S = T J T^-1. On the leaf, that is where h(x + d) = c, and with e = T^-1 d,

    <grad L(x + d), S d> = <grad L(x + d), S d> + sum_l mu_l (h_l(x + d) - h_l(x)) <xi_l(x), S d>
                         = |e|^2 + terms of order 3 and above.

If these are smaller than |e|^2 for all 0 < |d| <= R, no other point of the leaf within R of x is critical. If x is a
minimum, then S = 1 and d|d|^2/dt = -2 <grad L(x + d), d> < 0 along the flow: a trajectory on the leaf that enters the
ball stays and converges to x. A term of order k is at most |e|^2 |d|^(k-2) times a norm of its coefficients:

    <grad L(x + d), S d> = sum_j u_j^T g(v + v_1 + ... + v_N),   g = grad l,   u_j = j V_j[d, ..., d, S d],

v_j and V_j as in `filter_terms`. The term of order 3, D^3 L[d, d, S d]/2, is bounded as one cubic form; in those above
each u_j and v_j has a bound of its own. What losses other than the square add is in `basin_losses`. Derived.
"""

import itertools
from collections.abc import Iterator

import numpy as np
from flint import arb, arb_mat

from lcnn_flow.critical.ball_risk import BallRisk
from lcnn_flow.critical.balls import diagonal, exact_matrix, middle, product_norm, row_sum_norm, spectral_norm
from lcnn_flow.critical.basin_losses import CurvedLoss, Rows
from lcnn_flow.critical.cubic_form import cubic_norm
from lcnn_flow.critical.filter_terms import FilterTerms
from lcnn_flow.critical.leaf_system import LeafSystem

__all__ = ["Basin"]

_SPOILT = 1e-3
"""Largest entry of T^T M T - J with which a T is still used."""


class Basin:
    """The inequality above, on balls around a zero of F.

    Args:
        system: F of a linear network without weight decay.
        balls: its risk.
        box: holds the zero.
        axes: a T, in floats, that need not be exact; used only where rounding spoils the one of `_euclidean_axes`.
    """

    def __init__(self, system: LeafSystem, balls: BallRisk, box: list[arb], axes: np.ndarray) -> None:
        self._system, self._box, self._balls = system, box, balls
        lengths = system.lengths()
        self._lengths = [t for t, size in zip(lengths, self._balls.sizes, strict=True) for _ in range(size)]
        derivative = system.derivative(box)
        axes = _euclidean_axes(middle(derivative), np.array([float(t) for t in self._lengths]), axes)
        self._turn = exact_matrix(axes)
        first = self._turn.transpose() * derivative * self._turn
        self._signs = [1 if row[i] > 0 else -1 for i, row in enumerate(first.tolist())]
        self._terms = FilterTerms(self._balls, box, lengths)
        point = self._balls.at(box)
        self._jacobian = point.jacobian
        self._slope, self._curvature = system.scale * point.slope, system.scale * point.curvature
        self._rows = None if self._balls.is_quadratic else Rows(self._balls, point, system.scale)
        grams = [self._terms.gram(order, self._turn * self._turn.transpose()) for order in self._terms.orders]
        second = arb(row_sum_norm(first - diagonal([arb(sign) for sign in self._signs])))
        self._deficits = [second, self._third_order(), *self._higher_orders(grams)]
        """Coefficients of a polynomial in |d|, in the smallest of the units of the layers."""
        self._curved = None if self._rows is None else self._curved_loss(self._rows, grams)

    def holds(self, radius: float) -> bool:
        """Whether the ball of `radius`, in the smallest of the units, is shown to hold no other zero of balance c."""
        r = arb(radius)
        left = 1 - sum((x * r**k for k, x in enumerate(self._deficits)), arb(0))
        if self._curved is not None and left > 0:
            left -= self._curved.deficit(r)
        return bool(left > 0)

    def _third_order(self) -> arb:
        """Norm of the cubic form in e, for |d| = 1, with the lengths of the columns of T as those of the variables."""
        size, back = len(self._lengths), self._turn.transpose()
        signs = diagonal([arb(sign) for sign in self._signs])
        turned = [back * matrix * self._turn * signs for matrix in self._third_derivatives()]
        stacked = back * arb_mat([matrix.entries() for matrix in turned])
        coefficients = [arb_mat(size, size, row) for row in stacked.tolist()]
        columns = [[x / t for x, t in zip(column, self._lengths, strict=True)] for column in back.tolist()]
        units = [sum((x**2 for x in column), arb(0)).rsqrt().mid() for column in columns]
        return cubic_norm(coefficients, units) * self._stretch(units)

    def _stretch(self, units: list[arb]) -> arb:
        """The largest |x|, x_k = e_k / units_k, for |d| = 1: 1 where the columns of T are orthogonal."""
        try:
            inverse = self._turn.inv()
        except ZeroDivisionError:
            return arb("inf")
        image = diagonal([1 / x for x in units]) * inverse * diagonal(self._lengths)
        return spectral_norm(image * image.transpose()).sqrt()

    def _third_derivatives(self) -> Iterator[arb_mat]:
        """The terms of order 3 as a trilinear form of d, d and S d: for every entry of the first, (n, n)."""
        image = (self._curvature * self._jacobian).transpose().tolist()
        mixed = [self._balls.filter_hessian(self._terms.filters, arb_mat([[x] for x in row])) for row in image]
        tables = [matrix.tolist() for matrix in mixed]
        pulls = self._system.pulls(self._box)
        bent = None if self._rows is None else self._rows.third_derivatives(self._jacobian)
        for i, matrix in enumerate(self._terms.slices(self._slope)):
            turned = arb_mat([table[i] for table in tables])
            matrix += mixed[i] + turned + turned.transpose()
            if bent is not None:
                matrix += bent[i]
            for pull, signs in pulls:
                matrix += arb_mat([[x] for x in signs.tolist()[i]]) * pull.transpose()
            yield matrix / 2

    def _higher_orders(self, grams: list[arb_mat]) -> list[arb]:
        """Bounds of the terms of order 4 and above, for |d| = 1, over |e|^2."""
        curvature = self._curvature if self._rows is None else self._rows.largest_curvature()
        positive = all(sign == 1 for sign in self._signs) and (self._rows is None or self._rows.are_convex)
        norms = [product_norm(curvature, gram).sqrt() for gram in grams]
        result = [arb(0)] * (2 * len(norms) - 3)
        for (i, a), (j, b) in itertools.product(enumerate(norms, start=1), repeat=2):
            if i + j > 3 and not (i == j and positive):  # v_j^T l''(v) u_j = j v_j^T l''(v) v_j helps
                result[i + j - 4] += j * a * b
        for order in self._terms.orders[3:]:
            squared = self._terms.squared_slices(order, self._slope, self._turn)
            result[order - 4] += order * spectral_norm(squared).sqrt()
        return result

    def _curved_loss(self, rows: Rows, grams: list[arb_mat]) -> CurvedLoss:
        metric = diagonal([t**2 for t in self._lengths])
        reaches = [self._terms.gram(order, metric) for order in self._terms.orders]
        return CurvedLoss(self._balls, rows, self._jacobian * self._turn, rows.squares(grams), rows.squares(reaches))


def _euclidean_axes(matrix: np.ndarray, lengths: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """T whose columns are orthogonal in units of `lengths`; the given one where rounding spoils it.

    With lengths more than about 1e7 apart, eigenvectors in floats are too inaccurate.
    """
    with np.errstate(all="ignore"):
        eigenvalues, turn = np.linalg.eigh(lengths[:, None] * matrix * lengths)
        chosen = lengths[:, None] * turn / np.sqrt(np.abs(eigenvalues))
        error = chosen.T @ matrix @ chosen - np.diag(np.sign(eigenvalues))
        return chosen if np.max(np.abs(error)) < _SPOILT else axes
