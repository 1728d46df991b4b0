"""What losses other than the square add to the Taylor terms of `basin`, bounded over a ball.

Let r be the residuals at the point, k = rho''(r), t = rho'''(r), P_i a row of the patches, w_i its weight, and, with
u_j and v_j as in `basin`, a_ij = P_i v_j, b_ij = P_i u_j, a_i = sum_j a_ij, b_i = sum_j b_ij. By Taylor's
formula for rho',

    sum_j u_j^T (g(v + v_1 + ... + v_N) - g(v)) = sum_i w_i (k_i + t_i a_i/2 + eta_i) a_i b_i,
    |eta_i| <= min(q_i a_i^2/6, s_i + |t_i a_i|/2),   q_i = sup |rho''''|,  s_i = sup |rho'' - k_i|

where suprema are over the residuals of the ball. The terms in k_i and the cubic form sum_i w_i t_i a_i1^2 b_i1/2 are
bounded in `basin`. The rest is

    sum_i w_i [t_i a_i1/2 (a_i b_i - a_i1 b_i1) + (t_i (a_i - a_i1)/2 + eta_i) a_i b_i],

bounded by the inequality of Cauchy and Schwarz with |a_ij| <= |e| |d|^(j-1) y_ij, |b_ij| <= j |e| |d|^(j-1) y_ij and
|a_ij| <= |d|^j z_ij. Derived.
"""

from collections.abc import Sequence

from flint import arb, arb_mat

from lcnn_flow.critical.ball_risk import BallRisk, Polynomial
from lcnn_flow.critical.balls import spectral_norm

__all__ = ["CurvedLoss", "Rows"]


class Rows:
    """Rows of the data at a point.

    Args:
        balls: the risk.
        filters: the point.
        scale: the unit of the weights.
    """

    def __init__(self, balls: BallRisk, filters: Sequence[Polynomial], scale: arb) -> None:
        self.patches, self.residuals, weights = balls.rows(filters)
        self.weights = [scale * w for w in weights]
        derivatives = [balls.loss_derivatives(r) for r in self.residuals]
        self.bends = [second for _, second, _, _ in derivatives]
        self.thirds = [third if third.is_finite() else arb(0) for _, _, third, _ in derivatives]
        """rho''', or 0 where that does not exist, which costs a larger eta."""
        self.are_convex = all(k >= 0 for k in self.bends)

    def largest_curvature(self) -> arb_mat:
        """P^T diag(w |rho''|) P."""
        sizes = [w * k.abs_upper() for w, k in zip(self.weights, self.bends, strict=True)]
        return self.patches.transpose() * _scaled_rows(self.patches, sizes)

    def third_derivative(self, jacobian: arb_mat, entry: int) -> arb_mat:
        """J^T P^T diag(w rho''' P J_entry) P J, J_entry one column: part of the derivative of Hess L in that entry."""
        image = self.patches * jacobian
        along = [w * t * row[entry] for w, t, row in zip(self.weights, self.thirds, image.tolist(), strict=True)]
        return image.transpose() * _scaled_rows(image, along)

    def sizes(self, grams: list[arb_mat]) -> list[list[arb]]:
        """sqrt(P_i A P_i^T) for every matrix A and row i."""
        rows, result = self.patches.tolist(), []
        for gram in grams:
            pairs = zip(rows, (self.patches * gram).tolist(), strict=True)
            squares = [sum((x * y for x, y in zip(*pair, strict=True)), arb(0)) for pair in pairs]
            result.append([x.abs_upper().sqrt() for x in squares])
        return result


class CurvedLoss:
    """The bound above, over |e|^2.

    Args:
        balls: the risk.
        rows: its rows.
        turned: P J T, (rows, n).
        sizes: y_ij, one list of rows for every j.
        reaches: z_ij, likewise.
    """

    def __init__(
        self, balls: BallRisk, rows: Rows, turned: arb_mat, sizes: list[list[arb]], reaches: list[list[arb]]
    ) -> None:
        self._balls, self._rows, self._turned = balls, rows, turned
        self._sizes, self._reaches = sizes, reaches

    def deficit(self, radius: arb) -> arb:
        """The bound on a ball; infinite or not a number where derivatives of rho are not bounded on it."""
        outer, inner = [], []
        for row, third in enumerate(self._rows.thirds):
            t, reaches = third.abs_upper(), [z[row] for z in self._reaches]
            first, later = radius * reaches[0], radius**2 * _polynomial(radius, reaches[1:])
            outer.append(t * first / 2)
            inner.append(t * later / 2 + self._remainder(row, first + later))
        near, a, b = self._norms(outer, radius)
        total = a * near + (near + a) * b  # a b - a_1 b_1 = (a - a_1) b_1 + a (b - b_1)
        near, a, b = self._norms(inner, radius)
        return total + (near + a) * (near + b)

    def _remainder(self, row: int, reach: arb) -> arb:
        """A bound of |eta_i| for |a_i| <= reach."""
        residuals = self._rows.residuals[row] + arb(0, reach.abs_upper())
        _, second, _, fourth = self._balls.loss_derivatives(residuals)
        smooth = fourth.abs_upper() * reach**2 / 6
        rough = (second - self._rows.bends[row]).abs_upper() + self._rows.thirds[row].abs_upper() * reach / 2
        return smooth if smooth < rough else rough

    def _norms(self, factors: list[arb], radius: arb) -> tuple[arb, arb, arb]:
        """Bounds, over |e|, of the roots of sum_i w_i f_i x_i^2 for x = a_1 (or b_1), a - a_1 and b - b_1."""
        weights = [w * f for w, f in zip(self._rows.weights, factors, strict=True)]
        near = self._turned.transpose() * _scaled_rows(self._turned, weights)
        sums = [
            sum((w * y**2 for w, y in zip(weights, column, strict=True)), arb(0)).sqrt() for column in self._sizes[1:]
        ]
        a = radius * _polynomial(radius, sums)
        b = radius * _polynomial(radius, [j * x for j, x in enumerate(sums, start=2)])
        return spectral_norm(near).sqrt(), a, b


def _scaled_rows(matrix: arb_mat, factors: Sequence[arb]) -> arb_mat:
    """diag(factors) A."""
    return arb_mat([[f * x for x in row] for f, row in zip(factors, matrix.tolist(), strict=True)])


def _polynomial(x: arb, coefficients: Sequence[arb]) -> arb:
    return sum((c * x**k for k, c in enumerate(coefficients)), arb(0))
