"""Whether there is a critical point where a limit is claimed, and of which kind: 200-digit arithmetic.

Levenberg-Marquardt steps on the overdetermined system F = (grad L, h - c) = 0, c the balancedness of the start:

    (A^T A + mu) step = -A^T F,    mu = (|F|^2 + 1e-90) tr(A^T A).

With this mu the method converges quadratically also to points of a manifold of critical points, and moves across it,
not along it. Lengths are in units of the norm of each layer. The data are the exact numbers that floats are.
"""

import itertools
from typing import NamedTuple

import numpy as np
from flint import arb, arb_mat, ctx

from .loss_formulas import ball_bend, ball_slope
from .problem import Problem

__all__ = ["CriticalPoint", "critical_point", "layer_units"]

_BITS = 664
_DAMPING = arb("1e-90")
_ITERATIONS = 80
_FAR = 0.03
"""Steps that lead farther are given up: no critical point is near."""
_AT_REST = 1e-35
_SLOW = 0.95
"""Steps that shrink by less than this a step tell nothing."""


class CriticalPoint(NamedTuple):
    """What the search found."""

    status: str
    """"found", "none" (it leads away) or "unclear"."""
    distance: float
    """From the claimed limit, in units of each layer; a lower bound where there is none."""
    vector: np.ndarray
    """The critical point, in floats."""
    index: int
    """Hessian eigenvalues that are negative across the symmetries; -1 where not known."""
    nullity: int
    """Those that vanish."""
    most_negative: float
    """The lowest eigenvalue relative to the largest."""


def critical_point(problem: Problem, limit: np.ndarray, start: np.ndarray) -> CriticalPoint:
    """The critical point near `limit` that has the balancedness of `start`."""
    bits, ctx.prec = ctx.prec, _BITS
    try:
        return _search(_Exact(problem, limit, start), limit)
    finally:
        ctx.prec = bits


def _search(exact: "_Exact", limit: np.ndarray) -> CriticalPoint:
    claimed = [arb(float(x)) for x in limit]
    w, last, status, remaining = claimed, None, "unclear", 0.0
    for _ in range(_ITERATIONS):
        residual, matrix = exact.system(w)
        step = _step(matrix, residual)
        if step is None:
            break
        moved = [_middle(x + u * s) for x, u, s in zip(w, exact.units, step, strict=True)]
        length = float(sum((s * s for s in step), arb(0)).sqrt())
        w = moved
        distance = exact.distance(w, claimed)
        if not distance <= _FAR:
            status = "none"
            break
        if length <= _AT_REST:
            status, remaining = "found", length
            break
        if last is not None:
            ratio = length / last
            remaining = length * ratio / (1 - ratio) if ratio < _SLOW else np.inf
        last = length
    else:
        if remaining <= 1e-8:
            status = "found"
    vector, distance = np.array([float(x) for x in w]), exact.distance(w, claimed)
    if status != "found":
        return CriticalPoint(status, distance, vector, -1, -1, np.nan)
    return CriticalPoint(status, distance + remaining, vector, *exact.signature(w, max(1e-28, 100 * remaining)))


def layer_units(problem: Problem, limit: np.ndarray, start: np.ndarray) -> np.ndarray:
    """|w_l|; where the end-to-end filter all but vanishes, a filter has no unit of its own: the largest there is."""
    norms = np.array([np.linalg.norm(limit[where]) for where in problem.shape.layers])
    fit = problem.filter_size()
    if np.prod(norms) > 1e-4 * fit > 0:
        return norms
    before = max(np.linalg.norm(start[where]) for where in problem.shape.layers)
    return np.full_like(norms, max(np.max(norms), fit ** (1 / len(norms)), 1e-3 * before) or 1.0)


class _Exact:
    """The system in balls, in units of each layer."""

    def __init__(self, problem: Problem, limit: np.ndarray, start: np.ndarray) -> None:
        self.problem, shape = problem, problem.shape
        self.P = arb_mat([[arb(float(x)) for x in row] for row in problem.patches])
        self.y = [arb(float(x)) for x in problem.targets]
        self.monomials, self.outputs = shape.monomials.tolist(), shape.outputs.tolist()
        self.norms = [arb(float(x)) for x in layer_units(problem, limit, start)]
        self.units = [
            norm for norm, where in zip(self.norms, shape.layers, strict=True) for _ in range(where.stop - where.start)
        ]
        self.balanced = len(shape.layers) > 1  # with channels h is the trace of a conserved matrix
        self.balance = self.balances([arb(float(x)) for x in start])

    def balances(self, w) -> list:
        squares = [sum((x * x for x in w[where]), arb(0)) for where in self.problem.shape.layers]
        return [(a - b) / 2 for a, b in itertools.pairwise(squares)]

    def distance(self, w, other) -> float:
        parts = [((a - b) / u) ** 2 for a, b, u in zip(w, other, self.units, strict=True)]
        return float(sum(parts, arb(0)).sqrt())

    def derivatives(self, w) -> tuple[list, arb_mat]:
        """Gradient and Hessian of m L in units of each layer."""
        problem, n = self.problem, len(w)
        columns, depth = problem.patches.shape[1], len(self.monomials[0])
        x = self.units
        v, jacobian = [arb(0)] * columns, [[arb(0)] * n for _ in range(columns)]
        for term, out in zip(self.monomials, self.outputs, strict=True):
            product = arb(1)
            for j in term:
                product *= w[j]
            v[out] += product
            for here, j in enumerate(term):
                rest = x[j]
                for m, k in enumerate(term):
                    if m != here:
                        rest *= w[k]
                jacobian[out][j] += rest
        predictions = self.P * arb_mat([[a] for a in v])
        r = [_middle(predictions[i, 0] - y) for i, y in enumerate(self.y)]
        loss, numbers = problem.loss, problem.numbers
        force = arb_mat([[_middle(ball_slope(loss, a, numbers)) for a in r]])
        g = force * self.P
        moved = self.P * arb_mat(jacobian)
        bends = [_middle(ball_bend(loss, a, numbers)) for a in r]
        rows, cols = moved.nrows(), moved.ncols()
        weighted = arb_mat([[bends[i] * moved[i, j] for j in range(cols)] for i in range(rows)])
        hessian = moved.transpose() * weighted
        second = [[hessian[i, j] for j in range(n)] for i in range(n)]
        for term, out in zip(self.monomials, self.outputs, strict=True):
            for a, b in itertools.combinations(range(depth), 2):
                rest = g[0, out] * x[term[a]] * x[term[b]]
                for m in range(depth):
                    if m not in (a, b):
                        rest *= w[term[m]]
                second[term[a]][term[b]] += rest
                second[term[b]][term[a]] += rest
        gradient = g * arb_mat(jacobian)
        return [gradient[0, j] for j in range(n)], arb_mat(second)

    def system(self, w) -> tuple[list, arb_mat]:
        """F and its Jacobian matrix A; the derivatives divided by the largest, the balance by the squared norms."""
        gradient, hessian = self.derivatives(w)
        n = len(w)
        size = max((_middle(abs(hessian[i, j])) for i in range(n) for j in range(n)), default=arb(0))
        size = size if size > 0 else arb(1)
        residual = [_middle(a / size) for a in gradient]
        matrix = [[_middle(hessian[i, j] / size) for j in range(n)] for i in range(n)]
        if self.balanced:
            for row, (h, c) in enumerate(zip(self.balances(w), self.balance, strict=True)):
                unit = self.norms[row] ** 2 + self.norms[row + 1] ** 2
                residual.append(_middle((h - c) / unit))
                matrix.append(self.symmetry(w, row, unit))
        return residual, arb_mat(matrix)

    def symmetry(self, w, row: int, unit) -> list:
        below, above = self.problem.shape.layers[row], self.problem.shape.layers[row + 1]
        entries = [arb(0)] * len(w)
        for j in range(len(w)):
            if below.start <= j < below.stop:
                entries[j] = _middle(w[j] * self.units[j] / unit)
            elif above.start <= j < above.stop:
                entries[j] = _middle(-w[j] * self.units[j] / unit)
        return entries

    def signature(self, w, zero: float) -> tuple[int, int, float]:
        """Index and nullity across the symmetries, and the lowest eigenvalue over the largest."""
        hessian = self.derivatives(w)[1]
        n = len(w)
        size = max((_middle(abs(hessian[i, j])) for i in range(n) for j in range(n)), default=arb(0))
        if not size > 0:
            return 0, n - self._symmetries(w), 0.0
        matrix = arb_mat([[_middle(hessian[i, j] / size) for j in range(n)] for i in range(n)])
        negative, below = _negative(matrix, arb(zero)), _negative(matrix, -arb(zero))
        lowest = -_bisect(matrix, negative)
        return negative, below - negative - self._symmetries(w), lowest

    def _symmetries(self, w) -> int:
        """Independent symmetry directions; with channels there are more."""
        if not self.balanced:
            return 0
        rows = np.array([[float(a) for a in self.symmetry(w, row, arb(1))] for row in range(len(self.norms) - 1)])
        sizes = np.linalg.svd(rows, compute_uv=False)
        return int(np.sum(sizes > 1e-9 * np.max(sizes))) if np.any(sizes) else 0


def _negative(matrix: arb_mat, shift) -> int:
    """Eigenvalues below -shift: negative pivots of matrix + shift, by Sylvester's law."""
    n = matrix.nrows()
    a = [[matrix[i, j] + (shift if i == j else 0) for j in range(n)] for i in range(n)]
    count = 0
    for k in range(n):
        pivot = _middle(a[k][k])
        if pivot == 0:
            pivot = arb("1e-150")
        count += pivot < 0
        for i in range(k + 1, n):
            factor = _middle(a[i][k] / pivot)
            for j in range(k + 1, n):
                a[i][j] = _middle(a[i][j] - factor * a[k][j])
    return count


def _bisect(matrix: arb_mat, negative: int) -> float:
    """-(lowest eigenvalue), to a factor of 10; 0 without negative ones."""
    if negative == 0:
        return 0.0
    shift = arb(10)
    for exponent in range(1, -40, -1):
        shift = arb(f"1e{exponent}")
        if _negative(matrix, shift) > 0:
            break
    return float(shift)


def _step(matrix: arb_mat, residual: list) -> list | None:
    transposed = matrix.transpose()
    normal = transposed * matrix
    n = normal.nrows()
    trace = sum((_middle(normal[i, i]) for i in range(n)), arb(0))
    if not trace > 0:
        return [arb(0)] * n
    damping = _middle((sum((a * a for a in residual), arb(0)) + _DAMPING) * trace)
    damped = arb_mat([[_middle(normal[i, j]) + (damping if i == j else 0) for j in range(n)] for i in range(n)])
    right = transposed * arb_mat([[-a] for a in residual])
    try:
        step = damped.solve(arb_mat([[_middle(right[i, 0])] for i in range(n)]))
    except ZeroDivisionError:
        return None
    return [_middle(step[i, 0]) for i in range(n)]


def _middle(x: arb) -> arb:
    return x.mid()
