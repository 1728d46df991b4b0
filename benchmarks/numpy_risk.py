"""The square-loss risk of a single-channel network in numpy alone: what scipy and CVODE integrate, and a check.

With v = w_1(z) w_2(z^{s_1}) ... the product of the layers' polynomials, P the matrix of windows and m samples,

    L = v^T G v / 2 - b^T v + e,   G = P^T P / m,   b = P^T y / m,
    grad L = J^T g,   Hess L = J^T G J + sum_i g_i Hess v_i,   g = G v - b,   J = dv/dw,

so an evaluation costs the same for any number of samples. Derived; independent of the library.
"""

import itertools
from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

__all__ = ["NumpyRisk"]


class NumpyRisk:
    """Gradient and Hessian at a vector of all filters, first layer first.

    Args:
        kernel_sizes, strides: one a layer.
        inputs: (m, d_0).
        targets: (m, d_N).
    """

    def __init__(self, kernel_sizes: Sequence[int], strides: Any, inputs: Any, targets: Any) -> None:
        spacing, self.taps, ends = 1, [], [0]
        for k, s in zip(kernel_sizes, strides, strict=True):
            self.taps.append(spacing * np.arange(k))
            ends.append(ends[-1] + k)
            spacing *= s
        self.layers = [slice(a, b) for a, b in itertools.pairwise(ends)]
        self.size, self.length = ends[-1], 1 + sum(int(taps[-1]) for taps in self.taps)
        windows = np.lib.stride_tricks.sliding_window_view(np.asarray(inputs), self.length, axis=1)[:, ::spacing]
        rows, values = windows.reshape(-1, self.length), np.asarray(targets).ravel()
        self.gram, self.moment = rows.T @ rows / len(inputs), rows.T @ values / len(inputs)
        # column (layer, tap) of J is the product of the other layers, moved by the tap; -1 picks a zero
        self._moved = []
        for taps in self.taps:
            place = np.arange(self.length)[:, None] - taps[None, :]
            self._moved.append(np.where((place < 0) | (place >= self.length - taps[-1]), -1, place))
        pairs = itertools.combinations(range(len(self.taps)), 2)
        self._pairs = [(a, b, self.taps[a][:, None] + self.taps[b][None, :]) for a, b in pairs]

    def gradient(self, w: np.ndarray) -> np.ndarray:
        """grad L."""
        others, v = self._products(w)
        g = self.gram @ v - self.moment
        return np.concatenate([np.correlate(g, o, "valid")[t] for o, t in zip(others, self.taps, strict=True)])

    def hessian(self, w: np.ndarray) -> np.ndarray:
        """Hess L."""
        others, v = self._products(w)
        g = self.gram @ v - self.moment
        padded = [np.append(o, 0.0)[place] for o, place in zip(others, self._moved, strict=True)]
        jacobian = np.concatenate(padded, axis=1)
        hessian = jacobian.T @ (self.gram @ jacobian)
        factors = self._factors(w)
        for a, b, shift in self._pairs:
            rest = reduce(np.convolve, [f for i, f in enumerate(factors) if i not in (a, b)], np.ones(1))
            block = np.correlate(g, rest, "valid")[shift]
            hessian[self.layers[a], self.layers[b]] += block
            hessian[self.layers[b], self.layers[a]] += block.T
        return hessian

    def balance(self, w: np.ndarray) -> np.ndarray:
        """(|w_l|^2 - |w_{l+1}|^2) / 2, conserved by the flow."""
        squares = np.array([w[where] @ w[where] for where in self.layers])
        return (squares[:-1] - squares[1:]) / 2

    def polish(self, w: np.ndarray, balance: np.ndarray) -> Any:
        """Newton's method for the zero of grad L with the given conserved quantities.

        The matrix is Hess L + C^T C, C the derivatives of the conserved quantities: regular where the critical point
        is non-degenerate up to the symmetries. Returns the point and whether it is a minimum that the steps came to
        rest at, at a distance of at most 1% from `w`.
        """
        x, stiff, length, last = np.array(w), np.eye(self.size), np.inf, np.inf
        for _ in range(12):
            slopes = np.zeros((len(self.layers) - 1, self.size))
            for row, (below, above) in zip(slopes, itertools.pairwise(self.layers), strict=True):
                row[below], row[above] = x[below], -x[above]
            stiff = self.hessian(x) + slopes.T @ slopes
            step = np.linalg.solve(stiff, self.gradient(x) + slopes.T @ (self.balance(x) - balance))
            last, length = length, float(np.linalg.norm(step))
            if length >= last / 2:
                break
            x = x - step
        size = np.linalg.norm(w)
        at_rest = last <= 1e-12 * size and np.linalg.norm(x - w) <= 0.01 * size
        return x, bool(at_rest and np.linalg.eigvalsh(stiff)[0] > 0)

    def _factors(self, w: np.ndarray) -> Any:
        """The layers as dense polynomials."""
        factors = []
        for where, taps in zip(self.layers, self.taps, strict=True):
            if taps[-1] + 1 == len(taps):
                factors.append(w[where])
            else:
                factors.append(np.zeros(taps[-1] + 1))
                factors[-1][taps] = w[where]
        return factors

    def _products(self, w: np.ndarray) -> Any:
        """The product of all layers but one, for each, and of all."""
        factors = self._factors(w)
        before = list(itertools.accumulate(factors, np.convolve))
        after = list(itertools.accumulate(factors[:0:-1], np.convolve))[::-1]
        inner = [np.convolve(a, b) for a, b in zip(before[:-2], after[1:], strict=True)]
        return [after[0], *inner, before[-2]], before[-1]
