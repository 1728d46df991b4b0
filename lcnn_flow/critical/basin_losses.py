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

from lcnn_flow.critical.ball_risk import BallRisk, Point
from lcnn_flow.critical.balls import spectral_norm

__all__ = ["CurvedLoss", "Rows"]


class Rows:
    """Rows of the data at a point.

    Args:
        balls: the risk.
        point: the point.
        scale: the unit of the weights.
    """

    def __init__(self, balls: BallRisk, point: Point, scale: arb) -> None:
        self._balls = balls
        self.residuals = point.residuals
        self.weights = [scale * w for w in balls.weights]
        derivatives = [balls.loss_derivatives(r, slope=False) for r in self.residuals]
        self.bends = [second for _, second, _, _ in derivatives]
        self.thirds = [third if third.is_finite() else arb(0) for _, _, third, _ in derivatives]
        """rho''', or 0 where that does not exist, which costs a larger eta."""
        self.are_convex = all(k >= 0 for k in self.bends)

    def largest_curvature(self) -> arb_mat:
        """P^T diag(w |rho''|) P."""
        return self._balls.grams([[w * k.abs_upper() for w, k in zip(self.weights, self.bends, strict=True)]])[0]

    def third_derivatives(self, jacobian: arb_mat) -> list[arb_mat]:
        """J^T P^T diag(w rho''' P J_i) P J for every column J_i: part of the derivative of Hess L in entry i."""
        bent = [w * t for w, t in zip(self.weights, self.thirds, strict=True)]
        images = self._balls.images(jacobian).transpose().tolist()
        grams = self._balls.grams([[b * x for b, x in zip(bent, column, strict=True)] for column in images])
        return [jacobian.transpose() * (gram * jacobian) for gram in grams]

    def squares(self, grams: list[arb_mat]) -> arb_mat:
        """Upper bounds of P_i A P_i^T, one row for every matrix A, one column for every row i."""
        return arb_mat([[x.abs_upper() for x in form] for form in self._balls.forms(grams)])


class CurvedLoss:
    """The bound above, over |e|^2.

    Args:
        balls: the risk.
        rows: its rows.
        turn: J T, (taps, n).
        squares: y_ij^2, one row for every j, one column for every i.
        reaches: z_ij^2, likewise.
    """

    def __init__(self, balls: BallRisk, rows: Rows, turn: arb_mat, squares: arb_mat, reaches: arb_mat) -> None:
        self._balls, self._rows, self._turn = balls, rows, turn
        nothing = [[arb(0)] * len(rows.weights)]  # for a single layer
        self._later = arb_mat(squares.tolist()[1:] or nothing)
        first, *later = [[x.sqrt() for x in row] for row in reaches.tolist()]
        self._first_reach, self._later_reaches = first, arb_mat(later or nothing)
        self._sizes = [third.abs_upper() for third in rows.thirds]
        self._suspect = 0
        """A row whose remainder was not bounded on an earlier ball: it is looked at first."""

    def deficit(self, radius: arb) -> arb:
        """The bound on a ball; infinite or not a number where derivatives of rho are not bounded on it."""
        powers = arb_mat([[radius**k for k in range(2, self._later_reaches.nrows() + 2)]])
        firsts, laters = [radius * z for z in self._first_reach], (powers * self._later_reaches).entries()
        remainders = self._remainders([first + later for first, later in zip(firsts, laters, strict=True)])
        if remainders is None:
            return arb("inf")
        outer = [t * first / 2 for t, first in zip(self._sizes, firsts, strict=True)]
        inner = [t * later / 2 + x for t, later, x in zip(self._sizes, laters, remainders, strict=True)]
        weighted = [[w * f for w, f in zip(self._rows.weights, factors, strict=True)] for factors in (outer, inner)]
        grams = self._balls.grams(weighted)
        sums = (self._later * arb_mat(weighted).transpose()).transpose().tolist()
        (near, a, b), (close, c, d) = (self._norms(*pair, radius) for pair in zip(grams, sums, strict=True))
        # a b - a_1 b_1 = (a - a_1) b_1 + a (b - b_1)
        return a * near + (near + a) * b + (close + c) * (close + d)

    def _remainders(self, reaches: list[arb]) -> list[arb] | None:
        """Bounds of |eta_i| for |a_i| <= reaches_i; None where one is not finite."""
        if not self._remainder(self._suspect, reaches[self._suspect]).is_finite():
            return None
        found = []
        for row, reach in enumerate(reaches):
            found.append(self._remainder(row, reach))
            if not found[-1].is_finite():
                self._suspect = row
                return None
        return found

    def _remainder(self, row: int, reach: arb) -> arb:
        """A bound of |eta_i| for |a_i| <= reach."""
        residuals = self._rows.residuals[row] + arb(0, reach.abs_upper())
        _, second, _, fourth = self._balls.loss_derivatives(residuals, slope=False)
        smooth = fourth.abs_upper() * reach**2 / 6
        rough = (second - self._rows.bends[row]).abs_upper() + self._sizes[row] * reach / 2
        return smooth if smooth < rough else rough

    def _norms(self, gram: arb_mat, sums: Sequence[arb], radius: arb) -> tuple[arb, arb, arb]:
        """Bounds, over |e|, of the roots of sum_i w_i f_i x_i^2 for x = a_1 (or b_1), a - a_1 and b - b_1.

        Args:
            gram: P^T diag(w f) P.
            sums: sum_i w_i f_i y_ij^2 for every j > 1.
            radius: that of the ball.
        """
        roots = [x.sqrt() for x in sums]
        a = radius * _polynomial(radius, roots)
        b = radius * _polynomial(radius, [j * x for j, x in enumerate(roots, start=2)])
        return spectral_norm(self._turn.transpose() * gram * self._turn).sqrt(), a, b


def _polynomial(x: arb, coefficients: Sequence[arb]) -> arb:
    return sum((c * x**k for k, c in enumerate(coefficients)), arb(0))
