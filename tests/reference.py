"""Gradient flow of linear convolutional networks in numpy and scipy alone: a second opinion on the library.

A network is a list of tap positions: tap j of layer l reads its input S_l j places on, in a flattened image S_l times
(rows down * width + columns across). So v = w_1(z) ... w_N(z), a product of sparse polynomials, and the output at a
base position b is sum_i v_i x[b + i]; one or two dimensions make no difference. With r = P v - y, J = dv/dw and
g = P^T rho'(r) / m

    grad L = J^T g,    Hess L = J^T P^T diag(rho''(r)) P J / m + sum_i g_i Hess v_i.
"""

import itertools
from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

import numpy as np
from scipy.integrate import Radau

__all__ = ["LOSSES", "ReferenceLimit", "ReferenceRisk", "reference_limit"]

_TOLERANCE = 1e-11
_SMALL_GRADIENTS = (1e-9, 1e-11, 1e-13)
_DEGENERATE = 1e-6
_MAX_STEPS = 30_000
_MAX_MOVE = 1e-2
_NEARLY_ZERO = 1e-12
"""Residuals count as this large in rho'', which for p < 2 is infinite at 0."""


class _Formulas(NamedTuple):
    """rho, rho' and rho'' as functions of r and the loss's numbers: textbook formulas, for moderate residuals."""

    value: Callable
    slope: Callable
    bend: Callable


LOSSES = {
    "square": _Formulas(lambda r: r**2 / 2, lambda r: r, np.ones_like),
    "lp": _Formulas(
        lambda r, p: np.abs(r) ** p / p,
        lambda r, p: np.sign(r) * np.abs(r) ** (p - 1),
        lambda r, p: (p - 1) * np.maximum(np.abs(r), _NEARLY_ZERO) ** (p - 2),
    ),
    "pseudo_huber": _Formulas(
        lambda r, delta: delta**2 * (np.sqrt(1 + (r / delta) ** 2) - 1),
        lambda r, delta: r / np.sqrt(1 + (r / delta) ** 2),
        lambda r, delta: (1 + (r / delta) ** 2) ** -1.5,
    ),
    "generalized_huber": _Formulas(
        lambda r, a, b: np.log((2 * np.cosh(a * r) + b) / (2 + b)) / a,
        lambda r, a, b: 2 * np.sinh(a * r) / (2 * np.cosh(a * r) + b),
        lambda r, a, b: a * (4 + 2 * b * np.cosh(a * r)) / (2 * np.cosh(a * r) + b) ** 2,
    ),
    "log_cosh": _Formulas(
        lambda r, a: np.log(np.cosh(a * r)) / a,
        lambda r, a: np.tanh(a * r),
        lambda r, a: a / np.cosh(a * r) ** 2,
    ),
}
"""By the names that the library has too."""


class ReferenceRisk:
    """Risk, gradient and Hessian of one single-channel problem at a vector of all filters, layer by layer.

    Args:
        kernels, strides: one pair (rows, columns) a layer; a 1-D network has one row: (1, k), (1, s).
        inputs, targets: (m, height, width) and (m, height, width); height 1 in 1-D.
        loss: a key of `LOSSES`.
        numbers: the loss's numbers, in the order of its formula.
    """

    def __init__(self, kernels, strides, inputs, targets, loss: str, numbers: tuple[float, ...] = ()) -> None:
        samples, _, width = inputs.shape
        spacing, self.taps, ends = np.array([1, 1]), [], [0]
        for kernel, stride in zip(kernels, strides, strict=True):
            down, across = np.indices(kernel)
            self.taps.append((spacing[0] * width * down + spacing[1] * across).ravel())
            ends.append(ends[-1] + down.size)
            spacing = spacing * stride
        self.layers = [slice(a, b) for a, b in itertools.pairwise(ends)]
        self.size = ends[-1]
        self.length = 1 + sum(taps[-1] for taps in self.taps)
        down, across = np.indices(targets.shape[1:])
        base = (spacing[0] * width * down + spacing[1] * across).ravel()
        windows = inputs.reshape(samples, -1)[:, base[:, None] + np.arange(self.length)]
        self.patches, self.targets = windows.reshape(-1, self.length), targets.ravel()
        self.samples, self.loss, self.numbers = samples, LOSSES[loss], numbers

    def residuals(self, w):
        return self.patches @ reduce(np.convolve, self._factors(w)) - self.targets

    def value(self, w) -> float:
        return float(np.sum(self.loss.value(self.residuals(w), *self.numbers)) / self.samples)

    def gradient(self, w):
        factors = self._factors(w)
        r = self.patches @ reduce(np.convolve, factors) - self.targets
        g = self.loss.slope(r, *self.numbers) @ self.patches
        parts = [np.correlate(g, _product(factors, layer), "valid")[taps] for layer, taps in enumerate(self.taps)]
        return np.concatenate(parts) / self.samples

    def hessian(self, w):
        factors = self._factors(w)
        r = self.patches @ reduce(np.convolve, factors) - self.targets
        g = self.loss.slope(r, *self.numbers) @ self.patches
        moved = self.patches @ self._filter_jacobian(factors)
        hessian = moved.T @ (self.loss.bend(r, *self.numbers)[:, None] * moved)
        for a, b in itertools.combinations(range(len(factors)), 2):
            at_shift = np.correlate(g, _product(factors, a, b), "valid")
            block = at_shift[self.taps[a][:, None] + self.taps[b][None, :]]
            hessian[self.layers[a], self.layers[b]] += block
            hessian[self.layers[b], self.layers[a]] += block.T
        return hessian / self.samples

    def balance(self, w):
        """h_l = (|w_l|^2 - |w_{l+1}|^2) / 2."""
        squares = np.array([w[where] @ w[where] for where in self.layers])
        return (squares[:-1] - squares[1:]) / 2

    def symmetries(self, w):
        """grad h_l = (..., w_l, -w_{l+1}, ...), one a column."""
        columns = np.zeros((self.size, len(self.layers) - 1))
        for column, (below, above) in enumerate(itertools.pairwise(self.layers)):
            columns[below, column], columns[above, column] = w[below], -w[above]
        return columns

    def curvatures(self, w):
        """Eigenvalues of the Hessian on the orthogonal complement of the symmetry directions, ascending."""
        complement = np.linalg.qr(self.symmetries(w), mode="complete")[0][:, len(self.layers) - 1 :]
        return np.linalg.eigvalsh(complement.T @ self.hessian(w) @ complement)

    def _factors(self, w) -> list[np.ndarray]:
        """The layers as dense polynomials."""
        factors = []
        for where, taps in zip(self.layers, self.taps, strict=True):
            factors.append(np.zeros(taps[-1] + 1))
            factors[-1][taps] = w[where]
        return factors

    def _filter_jacobian(self, factors):
        """dv/dw: tap j of layer l moves the product of the other layers by its position."""
        columns = np.zeros((self.size, self.length))
        for layer, (where, taps) in enumerate(zip(self.layers, self.taps, strict=True)):
            others = _product(factors, layer)
            for column, tap in zip(columns[where], taps, strict=True):
                column[tap : tap + others.size] = others
        return columns.T


def _product(factors, *without: int):
    """Product of the polynomials but for some of them."""
    return reduce(np.convolve, [f for layer, f in enumerate(factors) if layer not in without], np.ones(1))


class ReferenceLimit(NamedTuple):
    """Where the reference flow ended."""

    vector: np.ndarray
    """The limit: polished where Newton's method came to rest, else the last integrated state."""
    reached: bool
    """The gradient fell to 1e-9 of the initial one; to 1e-13 of it where the limit is no isolated minimum."""
    isolated: bool
    """`reached`, every curvature across the symmetries is above 1e-6 of the largest, both in size, and Newton's method
    came to rest nearby."""
    index: int
    """Number of curvatures below -1e-6 of the largest."""
    flattest: float
    """Smallest size of a curvature, relative to the largest."""
    time: float
    """When the integration stopped."""


def reference_limit(risk: ReferenceRisk, start: np.ndarray) -> ReferenceLimit:
    """Limit of the gradient flow from `start`: scipy's Radau at 1e-11, then Newton's method."""
    solver = Radau(
        lambda t, w: -risk.gradient(w),
        0.0,
        start,
        np.inf,
        rtol=_TOLERANCE,
        atol=_TOLERANCE,
        jac=lambda t, w: -risk.hessian(w),
    )
    first = float(np.linalg.norm(solver.f))
    for factor in _SMALL_GRADIENTS:
        reached = _integrate(solver, factor * first)
        polished = _newton(risk, solver.y, risk.balance(start)) if reached else None
        vector = solver.y if polished is None else polished
        curvatures = risk.curvatures(vector)
        largest = np.max(np.abs(curvatures))
        index = int(np.sum(curvatures < -_DEGENERATE * largest))
        flattest = float(np.min(np.abs(curvatures)) / largest)
        isolated = polished is not None and flattest > _DEGENERATE
        if not reached or (isolated and index == 0):
            break
    return ReferenceLimit(vector, reached, isolated, index, flattest, float(solver.t))


def _integrate(solver: Radau, small: float) -> bool:
    """Steps until the gradient is at most `small`; whether that was reached."""
    for _ in range(_MAX_STEPS):
        if np.linalg.norm(solver.f) <= small:
            return True
        if solver.status != "running":
            return False
        solver.step()
    return False


def _newton(risk: ReferenceRisk, start: np.ndarray, balance: np.ndarray) -> np.ndarray | None:
    """Zero of (grad L, h - balance) near `start` by Gauss-Newton on that overdetermined system; None without one.

    A zero exists on the leaf, so Gauss-Newton converges quadratically to it.
    """
    w, last = start, np.inf
    for _ in range(20):
        rest = np.concatenate([risk.gradient(w), risk.balance(w) - balance])
        matrix = np.concatenate([risk.hessian(w), risk.symmetries(w).T])
        step = np.linalg.lstsq(matrix, rest, rcond=None)[0]
        length = np.linalg.norm(step)
        if not np.isfinite(length) or np.linalg.norm(w - start) > _MAX_MOVE * np.linalg.norm(start):
            return None
        if length >= last / 2 and last <= 1e-10 * np.linalg.norm(w):
            return w
        w, last = w - step, length
    return None
