"""The rows of the data in ball arithmetic, and sums over them as products of matrices: no loop in Python per product.

With P_i the rows of the patches, the products P_ia P_ib, a <= b, make a matrix of their own, by which

    sum_i f_i P_i^T P_i   for any f,   and   P_i A P_i^T   for every row i and symmetric A

are one product each. Where that matrix would be large, rows are multiplied by f one by one.
"""

import functools
import itertools
from collections.abc import Sequence

from flint import arb, arb_mat, ctx

from lcnn_flow.critical.plain_numbers import PlainRisk

__all__ = ["DataRows", "data_rows"]

_BITS = 128
"""Products of two floats are exact in them."""
_MOST_PRODUCTS = 1_000_000


class DataRows:
    """The rows with positive weight, as the exact values of their floats."""

    def __init__(self, risk: PlainRisk) -> None:
        rows = [i for i in range(len(risk.targets)) if risk.weights[i] > 0]
        self._table = [[arb(float(x)) for x in risk.patches[i]] for i in rows]
        self._pairs = list(itertools.combinations_with_replacement(range(risk.taps), 2))
        self._taps = risk.taps
        self.patches = arb_mat(self._table)
        self.transposed = self.patches.transpose()
        self.targets = arb_mat([[arb(float(risk.targets[i]))] for i in rows])
        with ctx.workprec(_BITS):
            total = sum((arb(float(w)) for w in risk.weights[:: risk.outputs]), arb(0))
            self.weights = [arb(float(risk.weights[i])) / total for i in rows]
            """They sum to 1 over the samples."""

    @functools.cached_property
    def _products(self) -> arb_mat | None:
        """(pairs, rows); None where there would be too many."""
        if len(self._pairs) * len(self._table) > _MOST_PRODUCTS:
            return None
        columns = list(zip(*self._table, strict=True))
        with ctx.workprec(_BITS):
            return arb_mat([[x * y for x, y in zip(columns[a], columns[b], strict=True)] for a, b in self._pairs])

    @functools.cached_property
    def moments(self) -> tuple[arb_mat, arb_mat]:
        """P^T W P and P^T W y, W the weights."""
        with ctx.workprec(_BITS):
            weighted = [[w * y] for w, y in zip(self.weights, self.targets.entries(), strict=True)]
            return self.grams([self.weights])[0], self.transposed * arb_mat(weighted)

    def grams(self, factors: Sequence[Sequence[arb]]) -> list[arb_mat]:
        """P^T diag(f) P for every list f of one factor per row."""
        if self._products is None:
            return [self.transposed * self._scaled(column) for column in factors]
        sums = self._products * arb_mat([list(column) for column in factors]).transpose()
        return [self._symmetric(column) for column in sums.transpose().tolist()]

    def forms(self, matrices: Sequence[arb_mat]) -> list[list[arb]]:
        """P_i A P_i^T for every symmetric A and row i."""
        if self._products is None:
            tables = [(self.patches * matrix).tolist() for matrix in matrices]
            return [[_inner(x, y) for x, y in zip(self._table, table, strict=True)] for table in tables]
        coefficients = [
            [matrix[a, b] if a == b else matrix[a, b] + matrix[b, a] for a, b in self._pairs] for matrix in matrices
        ]
        return (arb_mat(coefficients) * self._products).tolist()

    def _scaled(self, factors: Sequence[arb]) -> arb_mat:
        """diag(f) P."""
        return arb_mat([[f * x for x in row] for f, row in zip(factors, self._table, strict=True)])

    def _symmetric(self, entries: Sequence[arb]) -> arb_mat:
        matrix = arb_mat(self._taps, self._taps)
        for (a, b), x in zip(self._pairs, entries, strict=True):
            matrix[a, b] = matrix[b, a] = x
        return matrix


def _inner(first: Sequence[arb], second: Sequence[arb]) -> arb:
    return sum((x * y for x, y in zip(first, second, strict=True)), arb(0))


@functools.lru_cache(maxsize=1)
def data_rows(risk: PlainRisk) -> DataRows:
    """The rows of a risk; those of the last one are kept for the next certificate."""
    return DataRows(risk)
