"""The equations of the critical points of one problem in ball arithmetic, in one affine chart.

    F_{l,j} = (dv/dz_{l,j})^T e,   F_{n+1} = v^T e,   e = G v - mu c,
    v = A (w_1 (x) ... (x) w_N),   w_l = a_l + B_l z_l.

Real and complex coordinates take the same formulas, by `arb` and `acb`. All filters are polynomials whose taps lie at
offsets that add up, so everything is a product of short polynomials.
"""

import itertools
from typing import Any

import numpy as np
from flint import acb, acb_mat, arb, arb_mat

from lcnn_flow.critical.ball_risk import product
from lcnn_flow.critical.balls import exact_matrix
from lcnn_flow.landscape.chart import Chart
from lcnn_flow.landscape.problem import SquareProblem

__all__ = ["BallSystem", "as_floats"]

Polynomial = dict[int, Any]
"""Coefficients, real or complex balls, by offset."""


class BallSystem:
    """F and F' at balls of coordinates.

    Args:
        problem: the exact numbers.
        chart: its forms and bases are taken as the exact values of their floats.
    """

    def __init__(self, problem: SquareProblem, chart: Chart) -> None:
        self.problem = problem
        self.size = problem.sums.dimension + 1
        self._offsets = problem.offsets
        self._forms = [[[arb(float(x))] for x in form] for form in chart.forms]
        self._bases = [exact_matrix(base) for base in chart.bases]
        self._gram, self._moment, self._width = problem.gram, problem.moment, problem.sums.width

    def filters(self, z: list[Any]) -> list[list[Any]]:
        """w_l at the coordinates (z, mu)."""
        result, first, matrix = [], 0, _matrices(z)
        for form, base in zip(self._forms, self._bases, strict=True):
            steps = base.ncols()
            w = matrix(form) + matrix(base) * matrix([[x] for x in z[first : first + steps]])
            result.append(w.entries())
            first += steps
        return result

    def end_to_end(self, filters: list[list[Any]]) -> Any:
        """v of these filters, (k_v, 1)."""
        v = product(self._polynomials(filters))
        return _matrices_of(filters)([[v.get(t, arb(0))] for t in range(self._width)])

    def value(self, z: list[Any]) -> Any:
        """F, (n + 1, 1)."""
        matrix, filters = _matrices(z), self.filters(z)
        factors = self._polynomials(filters)
        v, force = self._force(matrix, factors, z[-1])
        rows = []
        for layer, base in enumerate(self._bases):
            others = product(f for m, f in enumerate(factors) if m != layer)
            slope = [sum((x * force[t + a] for t, x in others.items()), arb(0)) for a in self._offsets[layer]]
            rows += (matrix(base.transpose()) * matrix([[x] for x in slope])).entries()
        rows.append(sum((x * y for x, y in zip(v, force, strict=True)), arb(0)))
        return matrix([[x] for x in rows])

    def derivative(self, z: list[Any]) -> Any:
        """F', (n + 1, n + 1); the leading (n, n) block is symmetric."""
        matrix, filters = _matrices(z), self.filters(z)
        factors = self._polynomials(filters)
        v, force = self._force(matrix, factors, z[-1])
        columns = []
        for layer, base in enumerate(self._bases):
            others = product(f for m, f in enumerate(factors) if m != layer)
            shifted = matrix([[others.get(t - a, arb(0)) for a in self._offsets[layer]] for t in range(self._width)])
            columns += (shifted * matrix(base)).transpose().tolist()
        tangents = matrix([*columns, v])  # one row a coordinate, the last one v
        result = tangents * matrix(self._gram) * tangents.transpose()
        loads = (tangents * matrix(self._moment)).entries()
        forces = (tangents * matrix([[x] for x in force])).entries()
        for i in range(self.size):
            result[i, self.size - 1] = -loads[i]
        for i in range(self.size - 1):
            result[self.size - 1, i] += forces[i]
        self._add_mixed(matrix, factors, force, result)
        return result

    def _add_mixed(self, matrix: Any, factors: list[Polynomial], force: list[Any], result: Any) -> None:
        """Adds e^T d^2 v / dz_l dz_m for pairs of layers."""
        places = list(itertools.accumulate((base.ncols() for base in self._bases), initial=0))
        for layer, m in itertools.combinations(range(len(factors)), 2):
            others = product(f for i, f in enumerate(factors) if i not in (layer, m))
            table = [
                [sum((x * force[t + a + b] for t, x in others.items()), arb(0)) for b in self._offsets[m]]
                for a in self._offsets[layer]
            ]
            block = matrix(self._bases[layer].transpose()) * matrix(table) * matrix(self._bases[m])
            for i, j in itertools.product(range(block.nrows()), range(block.ncols())):
                row, column = places[layer] + i, places[m] + j
                result[row, column] += block[i, j]
                result[column, row] += block[i, j]

    def _polynomials(self, filters: list[list[Any]]) -> list[Polynomial]:
        return [dict(zip(offsets, w, strict=True)) for offsets, w in zip(self._offsets, filters, strict=True)]

    def _force(self, matrix: Any, factors: list[Any], mu: Any) -> tuple[list[Any], list[Any]]:
        """v and e = G v - mu c."""
        v = product(factors)
        entries = [v.get(t, arb(0)) for t in range(self._width)]
        column = matrix(self._gram) * matrix([[x] for x in entries])
        loads = self._moment.entries()
        return entries, [x - mu * c for x, c in zip(column.entries(), loads, strict=True)]


def _matrices(z: list[Any]) -> type[Any]:
    """The class of flint matrices for these numbers."""
    return acb_mat if isinstance(z[-1], acb) else arb_mat


def _matrices_of(filters: list[list[Any]]) -> type[Any]:
    """The class of flint matrices for the entries of these filters; real if there are none."""
    return acb_mat if any(isinstance(x, acb) for w in filters for x in w) else arb_mat


def as_floats(matrix: Any) -> np.ndarray:
    """Midpoints of the balls of a real matrix, as floats."""
    return np.asarray([[float(x.mid()) for x in row] for row in matrix.tolist()])
