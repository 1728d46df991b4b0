"""The empirical risk in ball arithmetic: enclosures of its gradient and Hessian, nothing rounded without a bound.

Data, loss parameters and filters are taken as the exact values of their floats. All filters are polynomials with
one exponent: the taps of layer l sit at flat offsets of the end-to-end filter that add up, in any dimension and with
any strides, so v[t] is the sum of prod_l w_l[a_l] over all taps with offsets summing to t.

    grad L = J^T g + lambda w,   Hess L = J^T l''(v) J + sum_t g_t Hess v_t + lambda,   g = grad l(v),   J = dv/dw,

with lambda the weight decay.
"""

import functools
import itertools
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from flint import arb, arb_mat

from lcnn_flow.critical.ball_losses import BALL_LOSSES, Derivatives
from lcnn_flow.critical.ball_points import AtPoints
from lcnn_flow.critical.balls import diagonal
from lcnn_flow.critical.data_rows import data_rows
from lcnn_flow.critical.plain_numbers import PlainRisk

__all__ = ["BallRisk", "Point", "Polynomial", "product"]

Polynomial = dict[int, arb]
"""Coefficients by flat offset."""


class BallRisk(AtPoints["Point"]):
    """Gradient and Hessian of a risk at balls of filters, in units 2^e of each layer.

    Args:
        risk: the numbers.
        exponents: e_l, one a layer: filters are passed as w_l / 2^{e_l}, and derivatives are with respect to these.
    """

    def __init__(self, risk: PlainRisk, exponents: list[int]) -> None:
        super().__init__([len(offsets) for offsets in risk.offsets], lambda vector: Point(self, vector))
        self.risk = risk
        self._unit = arb(2) ** sum(exponents)
        """Of the end-to-end filter."""
        self._rows = data_rows(risk)
        self.weights = self._rows.weights
        self._loss, self._numbers = BALL_LOSSES[risk.loss], {name: arb(x) for name, x in risk.numbers.items()}
        units = zip(exponents, self.sizes, strict=True)
        self._decay = [arb(risk.decay) * arb(4) ** e for e, size in units for _ in range(size)]
        self.is_quadratic = risk.loss == "square"
        """Whether rows of the data no longer count, once P^T W P and P^T W y are known."""

    def gradient(self, vector: list[arb]) -> arb_mat:
        """Enclosure of grad L, (n, 1)."""
        point = self.at(vector)
        decay = arb_mat([[factor * x] for factor, x in zip(self._decay, vector, strict=True)])
        return point.jacobian.transpose() * point.slope + decay

    def hessian(self, vector: list[arb]) -> list[list[arb]]:
        """Enclosure of Hess L, (n, n), symmetric."""
        point = self.at(vector)
        outer = point.jacobian.transpose() * (point.curvature * point.jacobian)
        return (outer + self.filter_hessian(point.filters, point.slope) + diagonal(self._decay)).tolist()

    def filters(self, vector: list[arb]) -> list[Polynomial]:
        """The filters by offset."""
        return [
            dict(zip(offsets, w, strict=True))
            for offsets, w in zip(self.risk.offsets, self.layers(vector), strict=True)
        ]

    def filter_hessian(self, filters: Sequence[Polynomial], column: arb_mat, fixed: Collection[int] = ()) -> arb_mat:
        """sum_t column_t Hess v_t, (n, n), in the layers other than the `fixed` ones; 0 in the rows of those."""
        size = self.ends[-1]
        result = arb_mat(size, size)
        free = [layer for layer in range(len(filters)) if layer not in fixed]
        for layer, other in itertools.combinations(free, 2):
            others = product(w for i, w in enumerate(filters) if i not in (layer, other))
            first, second = self.ends[layer] - self.sizes[layer], self.ends[other] - self.sizes[other]
            below, above = self.risk.offsets[layer], self.risk.offsets[other]
            for (i, a), (j, b) in itertools.product(enumerate(below, first), enumerate(above, second)):
                result[i, j] = sum((x * column[t + a + b, 0] for t, x in others.items()), arb(0))
                result[j, i] = result[i, j]
        return result

    def filter_jacobian(self, filters: Sequence[Polynomial], fixed: Collection[int] = ()) -> arb_mat:
        """dv/dw, (taps, n), in the layers other than the `fixed` ones, which count as 1; 0 in the columns of those."""
        rows = []
        for layer, offsets in enumerate(self.risk.offsets):
            others = product(w for i, w in enumerate(filters) if i != layer and i not in fixed)
            shifts = [] if layer in fixed else offsets
            rows += [[others.get(t - a, arb(0)) for t in range(self.risk.taps)] for a in shifts]
            rows += [[arb(0)] * self.risk.taps] * (len(offsets) - len(shifts))
        return arb_mat(rows).transpose()

    def end_to_end(self, filters: Sequence[Polynomial]) -> arb_mat:
        """v, (taps, 1)."""
        v = product(filters)
        return arb_mat([[v.get(t, arb(0))] for t in range(self.risk.taps)])

    def images(self, matrix: arb_mat) -> arb_mat:
        """P A, (rows, columns of A)."""
        return self._rows.patches * (self._unit * matrix)

    def residuals(self, filters: Sequence[Polynomial]) -> list[arb]:
        """P v - y on the rows that count."""
        return (self.images(self.end_to_end(filters)) - self._rows.targets).entries()

    def sum_of_rows(self, factors: Sequence[arb]) -> arb_mat:
        """P^T f, (taps, 1)."""
        return self._unit * (self._rows.transposed * arb_mat([[f] for f in factors]))

    def grams(self, factors: Sequence[Sequence[arb]]) -> list[arb_mat]:
        """P^T diag(f) P, (taps, taps), for every list f of one factor per row."""
        return [self._unit**2 * gram for gram in self._rows.grams(factors)]

    def forms(self, matrices: Sequence[arb_mat]) -> list[list[arb]]:
        """P_i A P_i^T for every symmetric A, (taps, taps), and row i."""
        return self._rows.forms([self._unit**2 * matrix for matrix in matrices])

    def moments(self) -> tuple[arb_mat, arb_mat]:
        """P^T W P and P^T W y."""
        gram, moment = self._rows.moments
        return self._unit**2 * gram, self._unit * moment

    def loss_derivatives(self, residual: arb, slope: bool = True, higher: bool = True) -> Derivatives:
        """The derivatives of rho on a ball of residuals; NaN those that are not wanted."""
        return self._loss(self._numbers, residual, slope, higher)


class Point:
    """The risk at balls of filters; whatever is asked for is computed once."""

    def __init__(self, balls: BallRisk, vector: list[arb]) -> None:
        self._balls, self.vector = balls, vector

    @functools.cached_property
    def filters(self) -> list[Polynomial]:
        """The filters by offset."""
        return self._balls.filters(self.vector)

    @functools.cached_property
    def jacobian(self) -> arb_mat:
        """J, (taps, n)."""
        return self._balls.filter_jacobian(self.filters)

    @functools.cached_property
    def slope(self) -> arb_mat:
        """g, (taps, 1)."""
        if self._balls.is_quadratic:
            gram, moment = self._balls.moments()
            return gram * self._balls.end_to_end(self.filters) - moment
        return self._balls.sum_of_rows([w * pair[0] for w, pair in zip(self._balls.weights, self._bent, strict=True)])

    @functools.cached_property
    def curvature(self) -> arb_mat:
        """l''(v), (taps, taps)."""
        if self._balls.is_quadratic:
            return self._balls.moments()[0]
        bends = [w * pair[1] for w, pair in zip(self._balls.weights, self._bent, strict=True)]
        return self._balls.grams([bends])[0]

    @functools.cached_property
    def residuals(self) -> list[arb]:
        """P v - y on the rows that count."""
        return self._balls.residuals(self.filters)

    @functools.cached_property
    def _bent(self) -> list[Derivatives]:
        """rho' and rho'' row by row."""
        return [self._balls.loss_derivatives(r, higher=False) for r in self.residuals]


def product(filters: Iterable[dict[int, Any]]) -> dict[int, Any]:
    """Product of polynomials with real or complex balls as coefficients; 1 for none."""
    result: dict[int, Any] = {0: arb(1)}
    for factor in filters:
        terms: dict[int, Any] = {}
        for (s, x), (t, y) in itertools.product(result.items(), factor.items()):
            terms[s + t] = terms[s + t] + x * y if s + t in terms else x * y
        result = terms
    return result
