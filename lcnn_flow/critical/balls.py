"""Balls and matrices of balls: exact conversion from floats, outward rounding to floats, signs of eigenvalues."""

import math
from typing import Any

import numpy as np
from flint import arb, arb_mat

__all__ = [
    "above",
    "below",
    "diagonal",
    "exact_matrix",
    "largest",
    "magnitude",
    "middle",
    "product_norm",
    "row_sum_norm",
    "signature",
    "spectral_norm",
    "square",
]


def above(x: arb) -> float:
    """A float not below any value of the ball; infinity where the ball is not finite."""
    return math.nextafter(float(x.upper()), math.inf) if x.is_finite() else math.inf


def below(x: arb) -> float:
    """A float not above any value of the ball; minus infinity where the ball is not finite."""
    return math.nextafter(float(x.lower()), -math.inf) if x.is_finite() else -math.inf


def magnitude(x: arb) -> int:
    """e with 2^(e-1) <= |middle of x| < 2^e; 0 for a middle of 0 and for what is not finite."""
    if not x.is_finite() or x.mid() == 0:
        return 0
    mantissa, exponent = x.mid().man_exp()
    return int(exponent) + int(abs(mantissa)).bit_length()


def square(x: arb) -> arb:
    """x^2, never below 0: a ball around 0 times itself would reach below."""
    least, most = x.abs_lower(), x.abs_upper()
    return (least * least).union(most * most)


def exact_matrix(matrix: np.ndarray) -> arb_mat:
    """The matrix of the exact values of floats."""
    return arb_mat([[arb(float(x)) for x in row] for row in matrix])


def diagonal(entries: list[arb]) -> arb_mat:
    """The diagonal matrix of these entries."""
    return arb_mat([[x if i == j else arb(0) for j in range(len(entries))] for i, x in enumerate(entries)])


def middle(matrix: arb_mat) -> np.ndarray:
    """Midpoints of a symmetric matrix, rounded to floats: for choosing preconditioners, never for conclusions."""
    rows = np.asarray([[float(x.mid()) for x in row] for row in matrix.tolist()])
    return (rows + rows.T) / 2


def row_sum_norm(matrix: arb_mat) -> float:
    """Upper bound of the largest sum of absolute values in a row: the norm that belongs to the maximum norm."""
    return max(above(sum((x.abs_upper() for x in row), arb(0))) for row in matrix.tolist())


def largest(matrix: arb_mat) -> int:
    """Magnitude of the largest entry."""
    return max((magnitude(x) for x in matrix.entries() if x.mid() != 0), default=0)


def spectral_norm(matrix: arb_mat) -> arb:
    """Upper bound of |A|_2, A symmetric: the row-sum norm in the basis of its eigenvectors."""
    return _norm_in(matrix, np.linalg.eigh(_normalised(matrix))[1])


def product_norm(first: arb_mat, second: arb_mat) -> arb:
    """Upper bound of the largest eigenvalue of A B, both positive semidefinite: as `spectral_norm`.

    With A = R^T R it is that of R B R^T = Z D Z^T, and A B has the eigenvectors R^T Z.
    """
    eigenvalues, axes = np.linalg.eigh(_normalised(first))
    root = np.sqrt(np.maximum(eigenvalues, 1e-12 * np.max(eigenvalues)))[:, None] * axes.T
    return _norm_in(first * second, root.T @ np.linalg.eigh(root @ _normalised(second) @ root.T)[1])


def _norm_in(matrix: arb_mat, axes: np.ndarray) -> arb:
    """|axes^-1 A axes| in the row-sum norm, which no eigenvalue of A exceeds; infinite if nothing was shown."""
    turn: Any = exact_matrix(axes)
    try:
        return arb(row_sum_norm(turn.solve(matrix * turn)))
    except ZeroDivisionError:
        return arb("inf")


def _normalised(matrix: arb_mat) -> np.ndarray:
    """The middle of a finite matrix in a power of 2 that makes it of order 1; of any other the identity."""
    if not all(x.is_finite() for x in matrix.entries()):
        return np.eye(matrix.nrows())
    return middle(matrix * arb(2) ** -largest(matrix))


def signature(matrix: arb_mat, axes: np.ndarray) -> int | None:
    """Number of negative eigenvalues of every symmetric matrix in `matrix`, all being regular; None if undecided.

    By Gershgorin's discs after the congruence with `axes`, which Sylvester's law of inertia allows: discs that avoid 0
    show `axes` to be regular too. Averages of the members lie in the same balls, so they are regular as well.
    """
    turn: Any = exact_matrix(axes)
    negative = 0
    for i, row in enumerate((turn.transpose() * matrix * turn).tolist()):
        others = sum((x.abs_upper() for j, x in enumerate(row) if j != i), arb(0))
        if row[i] + others < 0:
            negative += 1
        elif not row[i] - others > 0:
            return None
    return negative
