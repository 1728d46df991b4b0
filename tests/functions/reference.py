"""Whether there is a critical point where one is claimed, and of which kind, in 120 digits.

Newton's method, kept across a guessed kernel K: step = -(H + c K K^T)^{-1} g, c = |H|. Near a manifold of critical
points with tangent space K it converges fast; where K holds a direction that is none of critical points, the gradient
along it stays. Signatures are read off by congruence to Schur complements, eigenvalues far from 0 in floats at every
stage. From a point with a kernel, walks of two lengths into random directions of it must come back to critical points
with a kernel as large: then it lies on a manifold of critical points along which the rank is constant.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from flint import arb, arb_mat, ctx

from .duals import variables
from .structure import Structure

__all__ = ["Point", "critical_point", "in_balls"]

_BITS = 420
_AT_REST = 1e-70
_ZERO = 1e-33
_GUESSES = (1e-3, 1e-5, 1e-7, 1e-9, 1e-11, 1e-13, 1e-15)
_ITERATIONS = 30
_WALKS = (1e-4, 1e-6)
_FAR = 0.01


class Point(NamedTuple):
    """A critical point near the one claimed."""

    found: bool
    distance: float = np.inf
    """From the claimed place, in units of its size."""
    index: int = -1
    nullity: int = -1
    on_manifold: bool = False
    """Isolated, or on a manifold of critical points along which the Hessian has constant rank."""
    vector: Any = None
    condition: float = np.inf
    """Largest by smallest curvature, zeros left out, in floats."""

    @property
    def regular(self) -> bool:
        """Nondegenerate, or Morse-Bott with positive curvature across."""
        return self.found and self.index == 0 and self.on_manifold


def critical_point(structure: Structure, data: dict, claimed: np.ndarray, size: float) -> Point:
    """The critical point within a hundredth of `size` of `claimed`, for a function with `data` without leading axes.

    Data are floats or balls.
    """
    bits, ctx.prec = ctx.prec, _BITS
    try:
        return _search(_derivatives(structure, data), claimed, size)
    finally:
        ctx.prec = bits


def in_balls(array: np.ndarray) -> np.ndarray:
    """Floats as balls of radius 0; entries that are balls stay as they are."""
    exact = np.frompyfunc(lambda x: x if isinstance(x, arb) else arb(float(x)), 1, 1)
    return np.asarray(exact(array), object)


def _derivatives(structure: Structure, data: dict) -> Callable[[list], tuple[list, list]]:
    rows = {k: in_balls(np.asarray(v)[None]) for k, v in data.items()}

    def at(x: list) -> tuple[list, list]:
        jet = structure.jet(variables(np.array([x], object)), rows)
        return [arb(g) for g in jet.g[0]], [[arb(h) for h in row] for row in jet.h[0]]

    return at


def _search(at: Callable, claimed: np.ndarray, size: float) -> Point:
    begin = [arb(float(x)) for x in claimed]
    sizes, axes, scale = _spectrum(at(begin)[1])
    tried = set()
    for guess in _GUESSES:
        kernel = axes[:, np.abs(sizes) <= guess * np.max(np.abs(sizes))]
        if kernel.shape[1] in tried:
            continue
        tried.add(kernel.shape[1])
        x = _newton(at, begin, kernel, scale, size)
        if x is None:
            continue
        hessian = at(x)[1]
        index, nullity = _signature(hessian, scale)
        if nullity != kernel.shape[1]:
            continue
        distance = _norm([a - b for a, b in zip(x, begin, strict=True)]) / size
        flat = nullity == 0 or _lies_on_manifold(at, x, hessian, scale, size, nullity)
        vector = np.array([float(a) for a in x])
        across = np.sort(np.abs(_spectrum(hessian)[0]))[nullity:]
        condition = float(across[-1] / across[0]) if len(across) and across[0] > 0 else np.inf
        return Point(True, distance, index, nullity, flat, vector, condition)
    return Point(False)


def _newton(at: Callable, x: list, kernel: np.ndarray, scale: float, size: float) -> list | None:
    begin, lift = x, kernel @ kernel.T * scale
    for _ in range(_ITERATIONS):
        gradient, hessian = at(x)
        if _norm(gradient) <= _AT_REST * scale * size:
            return x
        lifted = [[h[j] + float(c[j]) for j in range(len(x))] for h, c in zip(hessian, lift, strict=True)]
        step = _solve(lifted, gradient)
        if step is None:
            return None
        x = [(a - b).mid() for a, b in zip(x, step, strict=True)]
        if not _norm([a - b for a, b in zip(x, begin, strict=True)]) <= _FAR * size:
            return None
    return None


def _lies_on_manifold(at: Callable, x: list, hessian: list, scale: float, size: float, nullity: int) -> bool:
    sizes, axes, _ = _spectrum(hessian)
    kernel = axes[:, np.argsort(np.abs(sizes))[:nullity]]
    if nullity == len(x):
        return False
    rng = np.random.default_rng(len(x))
    for length in _WALKS:
        for _ in range(2):
            way = kernel @ rng.normal(size=nullity)
            way *= length * size / np.linalg.norm(way)
            for sign in (1, -1):
                end = _newton(at, [a + float(sign * b) for a, b in zip(x, way, strict=True)], kernel, scale, size)
                if end is None or _signature(at(end)[1], scale)[1] != nullity:
                    return False
    return True


def _signature(matrix: list, scale: float) -> tuple[int, int]:
    """Numbers of negative and of zero eigenvalues."""
    sizes, axes, largest = _spectrum(matrix)
    if largest <= _ZERO * scale:
        return 0, len(matrix)
    small = np.abs(sizes) <= 1e-9 * np.max(np.abs(sizes))
    index = int(np.sum(sizes[~small] < 0))
    if not small.any():
        return index, 0
    turn = arb_mat([[arb(float(x)) for x in row] for row in np.concatenate([axes[:, ~small], axes[:, small]], axis=1)])
    turned = turn.transpose() * arb_mat(matrix) * turn
    split, n = int(np.sum(~small)), len(matrix)
    block = [[[turned[i, j] for j in cols] for i in rows] for rows, cols in _blocks(split, n)]
    inner = arb_mat(block[2]) * arb_mat(block[0]).solve(arb_mat(block[1]))
    rest = arb_mat(block[3]) - inner
    below, null = _signature([[rest[i, j].mid() for j in range(n - split)] for i in range(n - split)], scale)
    return index + below, null


def _blocks(split: int, n: int) -> list:
    one, two = range(split), range(split, n)
    return [(one, one), (one, two), (two, one), (two, two)]


def _spectrum(matrix: list) -> tuple[np.ndarray, np.ndarray, float]:
    """Eigenvalues over the norm and axes, in floats, and the norm."""
    norm = _norm([x for row in matrix for x in row])
    if not norm > 0:
        return np.zeros(len(matrix)), np.eye(len(matrix)), 0.0
    floats = np.array([[float(x / norm) for x in row] for row in matrix])
    return *np.linalg.eigh((floats + floats.T) / 2), norm


def _solve(matrix: list, right: list) -> list | None:
    try:
        solved = arb_mat(matrix).solve(arb_mat([[x] for x in right]))
    except ZeroDivisionError:
        return None
    return [solved[i, 0] for i in range(len(right))]


def _norm(values: list) -> float:
    return float(sum((x * x for x in values), arb(0)).mid() ** 0.5) if values else 0.0
