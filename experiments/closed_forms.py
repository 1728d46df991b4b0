"""All local minima of the square loss on the network of two filters of two taps at stride 1, in closed form.

Attainable filters are those with a real root, v_1^2 >= 4 v_0 v_2. Where the two filters have no common root, dv/dw is
onto and a critical point is the least-squares filter. Where they share the root, v = c q(t), q = (1, 2t, t^2); over c
the risk is l(0) - B^2 / (2 A) with B = pull . q and A = q . curvature q, critical where 2 B' A = B A', a polynomial of
degree 4 in t. The Hessian across the rescaling of the filters decides which of these are minima. Derived.
"""

import numpy as np
from numpy.polynomial import polynomial

__all__ = ["minima_of_two_pairs"]

_REAL = 1e-7
"""Imaginary part, relative to 1 + |t|, up to which a root counts as real."""


def minima_of_two_pairs(pull: np.ndarray, curvature: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """End-to-end filters of all local minima, and their risks less that of the filter 0; the lowest risk first.

    Args:
        pull: minus the gradient of the risk at filter 0, (3,).
        curvature: its second derivative, positive definite, (3, 3).

    Returns:
        Filters (minima, 3) and risks (minima,).
    """
    best = np.linalg.solve(curvature, pull)
    found = [best] if best[1] ** 2 > 4 * best[0] * best[2] else []
    found += [v for v in _double_roots(pull, curvature) if _is_minimum(v, pull, curvature)]
    filters = np.array(found).reshape(-1, 3)
    risks = np.array([v @ curvature @ v / 2 - pull @ v for v in filters])
    order = np.argsort(risks)
    return filters[order], risks[order]


def _double_roots(pull: np.ndarray, curvature: np.ndarray) -> list[np.ndarray]:
    """Critical filters c (1, 2t, t^2)."""
    q = [np.array([1.0]), np.array([0.0, 2.0]), np.array([0.0, 0.0, 1.0])]
    B = np.array([pull[0], 2 * pull[1], pull[2]])
    A = np.zeros(5)
    for i in range(3):
        for j in range(3):
            A = polynomial.polyadd(A, curvature[i, j] * polynomial.polymul(q[i], q[j]))
    left = 2 * polynomial.polymul(polynomial.polyder(B), A)
    equation = polynomial.polysub(left, polynomial.polymul(B, polynomial.polyder(A)))[:5]
    roots = polynomial.polyroots(equation)
    real = roots.real[np.abs(roots.imag) <= _REAL * (1 + np.abs(roots))]
    shapes = np.stack([np.ones_like(real), 2 * real, real**2], axis=1)
    return [(pull @ s) / (s @ curvature @ s) * s for s in shapes]


def _is_minimum(v: np.ndarray, pull: np.ndarray, curvature: np.ndarray) -> bool:
    """Whether all curvatures across the rescaling are positive at the balanced filters that make v = c (1, t)^2."""
    t = v[1] / (2 * v[0])
    c = v[0]
    first = np.sqrt(abs(c)) * np.array([1.0, t])
    second = np.sign(c) * first
    jacobian = np.zeros((3, 4))
    for j in range(2):
        jacobian[j : j + 2, j] = second
        jacobian[j : j + 2, 2 + j] = first
    gradient = curvature @ v - pull
    mixed = np.array([[gradient[0], gradient[1]], [gradient[1], gradient[2]]])
    hessian = jacobian.T @ curvature @ jacobian
    hessian[:2, 2:] += mixed
    hessian[2:, :2] += mixed.T
    direction = np.concatenate([first, -second])
    return bool(np.linalg.eigvalsh(hessian + np.outer(direction, direction))[0] > 0)
