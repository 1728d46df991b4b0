"""Sizes of the Taylor terms of the end-to-end filter, which is a polynomial in the filters, in ball arithmetic.

    v(w + d) = v(w) + v_1(d) + ... + v_N(d),   v_k(d) = V_k[d, ..., d] = sum over sets S of k layers of
                                                        prod_{l in S} d_l prod_{l not in S} w_l,

V_k symmetric in its k arguments. V_k is bounded by its norm as a matrix whose columns are indexed by an entry of the
first argument and a product of entries of the others. Replacing the filter of a layer by a unit tap shifts the product
of the other layers by the offset of the tap, so sums over taps are sums over offsets with multiplicities. Derived.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterator

from flint import arb, arb_mat

from lcnn_flow.critical.ball_risk import BallRisk, Polynomial

__all__ = ["FilterTerms"]


class FilterTerms:
    """The terms v_k at one point.

    Args:
        balls: the risk.
        vector: the point.
        lengths: t_l, one per layer; arguments after the first are measured by sum_l |d_l / t_l|^2.
    """

    def __init__(self, balls: BallRisk, vector: list[arb], lengths: list[arb]) -> None:
        self.filters = balls.filters(vector)
        self.orders = range(1, len(self.filters) + 1)
        self._balls = balls
        self._lengths = lengths

    def gram(self, order: int, metric: arb_mat) -> arb_mat:
        """B B^T, (taps, taps), where B is the matrix of V_order with a first argument of length 1 in the inverse of
        `metric`.

        (x^T V_order[a, b, ...])^2 <= x^T B B^T x if a^T metric^-1 a <= 1 and b, ... have length 1 at most.
        """
        taps = self._balls.risk.taps
        total = arb_mat(taps, taps)
        for rest in itertools.combinations(range(len(self.filters)), order - 1):
            jacobian = self._balls.filter_jacobian(self.filters, rest)
            left, right, shifts = (jacobian * metric).tolist(), jacobian.tolist(), self._shifts(rest)
            zeros = [arb(0)] * jacobian.ncols()
            wide = [[x * n for s, n in shifts for x in (left[t - s] if t >= s else zeros)] for t in range(taps)]
            high = [[x for s, _ in shifts for x in (right[t - s] if t >= s else zeros)] for t in range(taps)]
            total += self._weight(rest) * (arb_mat(wide) * arb_mat(high).transpose())
        # each tuple of other arguments occurs (order - 1)! times in V_k, whose entries have the denominator order!
        return total * (arb(1) / (order * math.factorial(order)))

    def slices(self, column: arb_mat) -> Iterator[arb_mat]:
        """sum_t column_t D^3 v_t [., ., i] for every entry i of the filters, each (n, n)."""
        for layer, offsets in enumerate(self._balls.risk.offsets):
            for a in offsets:
                yield self._balls.filter_hessian(self._fix((layer,), a), column, (layer,))

    def squared_slices(self, order: int, column: arb_mat, turn: arb_mat) -> arb_mat:
        """sum_r (turn^T A_r turn)^2, (n, n); the square root of its norm bounds the form sum_t column_t V_order,t.

        A_r is the matrix of the first two arguments, given as multiples of `turn`; the others are the unit vectors r.
        """
        size = turn.nrows()
        total = arb_mat(size, size)
        for rest in itertools.combinations(range(len(self.filters)), order - 2):
            for shift, count in self._shifts(rest):
                hessian = self._balls.filter_hessian(self._fix(rest, shift), column, rest)
                turned = turn.transpose() * hessian * turn
                total += self._weight(rest) * count * (turned * turned.transpose())
        return total * (arb(math.factorial(order - 2)) / math.factorial(order) ** 2)

    def _fix(self, rest: tuple[int, ...], shift: int) -> list[Polynomial]:
        """The filters, with those of the layers `rest` replaced by unit taps whose offsets sum to `shift`."""
        units: dict[int, Polynomial] = {layer: {0: arb(1)} for layer in rest}
        if rest:
            units[rest[0]] = {shift: arb(1)}
        return [units.get(layer, w) for layer, w in enumerate(self.filters)]

    def _shifts(self, rest: tuple[int, ...]) -> list[tuple[int, int]]:
        """Sums of offsets of one tap from each of the layers `rest`, and the number of choices with each sum."""
        offsets = (self._balls.risk.offsets[layer] for layer in rest)
        return list(Counter(sum(choice) for choice in itertools.product(*offsets)).items())

    def _weight(self, rest: tuple[int, ...]) -> arb:
        """Squared length of a product of unit taps of the layers `rest`."""
        return math.prod((self._lengths[layer] ** 2 for layer in rest), start=arb(1))
