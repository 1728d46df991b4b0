"""A bound of a cubic form that stays accurate for variables of very different lengths, in ball arithmetic.

For c(e) = sum c_abk e_a e_b e_k, c symmetric, and lengths l_k > 0, every product e_a e_b e_k is split into three
shares; in each of them one factor is written as e_k = l_k x_k:

    c(e) = sum_abk B_abk e_a e_b x_k,   B_abk = 3 c_abk l_k w_abk,   w_abk = l_k^-2 / (l_a^-2 + l_b^-2 + l_k^-2),

so that |c(e)| <= |B| |e|^2 |x|, where |B| is the spectral norm of the matrix with rows a and columns (b, k). The
weights w sum to 1 over the three shares and minimise the sum of squares of B. Derived.
"""

import itertools

from flint import arb, arb_mat

from lcnn_flow.critical.balls import spectral_norm

__all__ = ["cubic_norm"]


def cubic_norm(coefficients: list[arb_mat], lengths: list[arb]) -> arb:
    """Upper bound of |B|.

    Args:
        coefficients: n matrices (n, n), not necessarily symmetric: c(e) = sum_a e_a e^T C_a e.
        lengths: l, (n,), exact.
    """
    size = len(lengths)
    tables = [matrix.tolist() for matrix in coefficients]
    inverse = [1 / x for x in lengths]
    squares = [x**2 for x in inverse]
    rows = [[arb(0)] * size**2 for _ in range(size)]
    for indices in itertools.combinations_with_replacement(range(size), 3):
        orders = list(itertools.permutations(indices))
        mean = sum((tables[a][b][k] for a, b, k in orders), arb(0)) / 6
        share = 3 * mean / sum((squares[i] for i in indices), arb(0))
        for a, b, k in set(orders):
            rows[a][b * size + k] = share * inverse[k]
    matrix = arb_mat(rows)
    return spectral_norm(matrix * matrix.transpose()).sqrt()
