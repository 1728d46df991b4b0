"""Attainable end-to-end filters v = pi(w) in the kernel of a matrix, by search: minima of |N v|/|v|.

The rows of N are an orthonormal basis of the row space, so that badly scaled rows hide no zero. pi is linear in each
filter, v = J_l w_l: with J_l = Q R, the best w_l for the others fixed is R^-1 times the last right singular vector of
N Q. Starts from random filters make sweeps of such steps; starts from random elements of the kernel are fitted by
filters, layer by layer, and projected back; at stride 1 elements of the kernel are factorised by their roots.
Levenberg-Marquardt steps follow, which converge quadratically to a simple zero. Derived.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.filters import tap_offsets

__all__ = ["ROUNDING", "ROUNDS", "STARTS", "attainable_minimum", "attainable_zero", "real_roots_needed", "rounding_of"]

STARTS = 64
ROUNDS = 6
ROUNDING = 10  # roundings a tap
_SWEEPS = 12
_STEPS = 60
_SETTLED = 1e-10  # relative decrease of a step after which no other follows
_POLISHED = 8  # candidates of a round that are tested
_PENCILS = 200  # elements of the kernel with prescribed real roots


class _Layers(NamedTuple):
    """Offsets of the taps of every layer in the raveled end-to-end filter; the offsets of layers add up."""

    size: int
    offsets: tuple[np.ndarray, ...]
    parts: tuple[slice, ...]


def attainable_minimum(arch: Architecture, rows: np.ndarray) -> float:
    """min |P v|/|v| found over attainable v != 0, P = `rows` of shape (windows, k_v): an upper bound, in units of P.

    Single channel. The same random starts on every call.
    """
    triangle = np.asarray(np.linalg.qr(rows.astype(float), mode="r"))
    largest = np.linalg.norm(triangle, 2)
    if largest == 0:
        return 0.0
    layers = _layers(arch)
    filters = _sweep(layers, triangle / largest, _random(layers, np.random.default_rng(0), STARTS))
    filters = _levenberg_marquardt(layers, triangle / largest, filters)
    return float(largest * np.min(_quotient(layers, triangle / largest, filters)))


def attainable_zero(arch: Architecture, rows: np.ndarray, kernel: np.ndarray, eps: float) -> np.ndarray | None:
    """An attainable v with |v| = 1 and rows @ v = 0 to rounding; None if the search finds none.

    `rows` have norm 1, `kernel` of shape (k_v, d) is an orthonormal basis of their kernel. Every entry of rows @ v
    is at most `rounding_of` it.
    """
    layers, rng = _layers(arch), np.random.default_rng(0)
    if kernel.shape[1] == 0:
        return None
    if kernel.shape[1] == layers.size:
        return np.eye(layers.size)[0]
    triangle = np.asarray(np.linalg.qr(rows, mode="r"))
    complement = np.linalg.svd(kernel.T)[2][kernel.shape[1] :]
    for number in range(ROUNDS):
        filters = [_sweep(layers, complement, _random(layers, rng, STARTS // 2)), _fit(layers, kernel, rng)]
        if number == 0 and real_roots_needed(arch) is not None:
            filters.insert(0, _factorise(arch, layers, kernel, rng))
        found = _levenberg_marquardt(layers, complement, np.concatenate(filters))
        found = found[np.argsort(_quotient(layers, complement, found))[:_POLISHED]]
        # the small singular values of the rows blur the row space: a zero of the rows is near one of it
        for candidates in (found, _levenberg_marquardt(layers, triangle, found)):
            v = _product(layers, candidates)
            allowed = rounding_of(rows, _product(layers, abs(candidates)), eps)
            zero = np.all(abs(v @ rows.T) <= allowed, axis=1)
            if zero.any():
                v = v[np.argmax(zero)]
                return v / np.linalg.norm(v)
    return None


def rounding_of(rows: np.ndarray, sizes: np.ndarray, eps: float) -> np.ndarray:
    """10 k_v eps |P_i| . |w_1| * ... * |w_N|: a bound on the rounding error of (P v)_i."""
    return ROUNDING * rows.shape[1] * eps * (sizes @ abs(rows).T)


def real_roots_needed(arch: Architecture) -> int | None:
    """Number of even k_l: at stride 1, v is attainable exactly if its polynomial has at least as many real roots.

    Roots are projective and count with multiplicity. None for 2-D networks, and where strides space taps out.
    """
    taps = [(k, s) for (k, *_), (s, *_) in zip(arch.kernel_sizes, arch.cumulative_strides, strict=True) if k > 1]
    if arch.dimension > 1 or any(s > 1 for _, s in taps):
        return None
    return sum(k % 2 == 0 for k, _ in taps)


def _layers(arch: Architecture) -> _Layers:
    offsets = tuple(np.asarray(taps) for taps in tap_offsets(arch))
    ends = np.cumsum([taps.size for taps in offsets]).tolist()
    parts = tuple(slice(end - taps.size, end) for end, taps in zip(ends, offsets, strict=True))
    return _Layers(math.prod(arch.end_to_end_kernel_size), offsets, parts)


def _product(layers: _Layers, filters: np.ndarray, without: int = -1) -> np.ndarray:
    """End-to-end filters (starts, k_v) of filters (starts, parameters); one layer may be left out."""
    v = np.zeros((len(filters), layers.size))
    v[:, 0] = 1
    for number, (offsets, part) in enumerate(zip(layers.offsets, layers.parts, strict=True)):
        if number != without:
            v = np.einsum("bkj,bj->bk", _shifted(v, offsets), filters[:, part])
    return v


def _shifted(v: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """v shifted by each offset, as columns (starts, k_v, taps)."""
    moved = np.zeros((*v.shape, len(offsets)))
    for tap, offset in enumerate(offsets):
        moved[:, offset:, tap] = v[:, : v.shape[1] - offset]
    return moved


def _jacobian(layers: _Layers, filters: np.ndarray, layer: int) -> np.ndarray:
    """The derivative of v in one layer, (starts, k_v, k_l)."""
    return _shifted(_product(layers, filters, layer), layers.offsets[layer])


def _unit(layers: _Layers, filters: np.ndarray) -> np.ndarray:
    """Every filter divided by its norm."""
    several = [filters[:, part] for part in layers.parts]
    return np.concatenate([w / np.linalg.norm(w, axis=1, keepdims=True) for w in several], axis=1)


def _random(layers: _Layers, rng: np.random.Generator, starts: int) -> np.ndarray:
    return _unit(layers, rng.normal(size=(starts, layers.parts[-1].stop)))


def _sweep(layers: _Layers, matrix: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Filters after sweeps that minimise |matrix v|/|v| in one layer at a time."""

    def best(basis: np.ndarray, _v: np.ndarray, _number: int) -> np.ndarray:
        reduced = matrix @ basis
        return np.linalg.svd(reduced, full_matrices=reduced.shape[1] < reduced.shape[2])[2][:, -1, :]

    return _layer_by_layer(layers, filters, best)


def _fit(layers: _Layers, kernel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Filters fitted to random elements of the kernel, then to the projections of their products to the kernel."""
    filters = _random(layers, rng, STARTS // 2)
    drawn = rng.normal(size=(len(filters), kernel.shape[1])) @ kernel.T

    def best(basis: np.ndarray, v: np.ndarray, number: int) -> np.ndarray:
        wanted = drawn if number < _SWEEPS // 2 else v @ kernel @ kernel.T
        return np.einsum("bkj,bk->bj", basis, wanted / np.linalg.norm(wanted, axis=1, keepdims=True))

    return _layer_by_layer(layers, filters, best)


def _layer_by_layer(layers: _Layers, filters: np.ndarray, best: Callable[..., np.ndarray]) -> np.ndarray:
    """Filters after sweeps: best(Q, v, number of the sweep), coefficients of the new v in the basis Q of a layer."""
    for number in range(_SWEEPS):
        for layer, part in enumerate(layers.parts):
            basis, factor = np.linalg.qr(_jacobian(layers, filters, layer))
            coefficients = best(basis, _product(layers, filters), number)
            filters = filters.copy()
            filters[:, part] = np.linalg.solve(factor, coefficients[..., None])[..., 0]
            filters = _unit(layers, filters)
    return filters


def _factorise(arch: Architecture, layers: _Layers, kernel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Factors of elements of the kernel of dimension d with d - 1 prescribed real roots, the most real ones first."""
    degree, dimension = kernel.shape[0] - 1, kernel.shape[1]
    angles = rng.uniform(0, np.pi, size=(_PENCILS if dimension > 1 else 1, dimension - 1))
    powers = np.arange(degree + 1)
    conditions = np.cos(angles)[..., None] ** (degree - powers) * np.sin(angles)[..., None] ** powers @ kernel
    pencil = np.linalg.svd(conditions, full_matrices=True)[2][:, -1, :] @ kernel.T
    factored = [_real_factors(arch, layers, v) for v in pencil]
    factored.sort(key=lambda pair: pair[0])
    return np.array([filters for _, filters in factored[: STARTS // 2]])


def _real_factors(arch: Architecture, layers: _Layers, v: np.ndarray) -> tuple[float, np.ndarray]:
    """Filters whose product is near v, from its roots, and the distance by which roots were moved to the real axis."""
    roots = np.roots(v[::-1])
    upper = roots[roots.imag > 0]
    distance = upper.imag / (1 + abs(upper) ** 2)
    upper, distance = upper[np.argsort(distance)], np.sort(distance)
    real = [(-z, 1.0) for z in roots[roots.imag == 0].real]
    real += [(1.0, 0.0)] * (len(v) - 1 - len(roots))  # at infinity
    lacking = max(0, (real_roots_needed(arch) or 0) - len(real) + 1) // 2
    real += [(-z, 1.0) for z in np.repeat(upper[:lacking].real, 2)]
    pairs = [np.array([abs(z) ** 2, -2 * z.real, 1.0]) for z in upper[lacking:]]
    filters = []
    for (k,) in arch.kernel_sizes:
        w = np.array(real.pop()) if k % 2 == 0 else np.ones(1)
        while len(w) < k:
            w = np.convolve(w, pairs.pop() if pairs else np.convolve(real.pop(), real.pop()))
        filters.append(w)
    return float(np.sum(distance[:lacking])), _unit(layers, np.concatenate(filters)[None])[0]


def _levenberg_marquardt(layers: _Layers, matrix: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Filters after damped Gauss-Newton steps on matrix v/|v| from every start, until it does not decrease."""
    filters, damping = filters.copy(), np.full(len(filters), 1e-3)
    values = _quotient(layers, matrix, filters)
    active = np.arange(len(filters))
    for _ in range(_STEPS):
        residuals, derivatives = _normalised(layers, matrix, filters[active])
        trial = _unit(layers, filters[active] - _step(layers, filters[active], residuals, derivatives, damping[active]))
        reached, before = _quotient(layers, matrix, trial), values[active]
        better = reached < before
        filters[active[better]], values[active[better]] = trial[better], reached[better]
        finished = np.where(better, reached > (1 - _SETTLED) * before, damping[active] > 1)
        damping[active] = np.clip(damping[active] * np.where(better, 0.2, 5), 1e-14, 1e3)
        active = active[~finished]
        if not active.size:
            break
    return filters


def _step(
    layers: _Layers, filters: np.ndarray, residuals: np.ndarray, derivatives: np.ndarray, damping: np.ndarray
) -> np.ndarray:
    """The damped step; its components along the filters, which do not change the quotient, are zero."""
    normal = np.swapaxes(derivatives, 1, 2) @ derivatives
    scale = np.trace(normal, axis1=1, axis2=2)[:, None, None] + np.finfo(float).tiny
    for part in layers.parts:
        normal[:, part, part] += scale * filters[:, part, None] * filters[:, None, part]
    normal += damping[:, None, None] * scale * np.eye(filters.shape[1])
    return np.linalg.solve(normal, np.einsum("bij,bi->bj", derivatives, residuals)[..., None])[..., 0]


def _normalised(layers: _Layers, matrix: np.ndarray, filters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """matrix v/|v| and its derivative in the filters."""
    v = _product(layers, filters)
    length = np.linalg.norm(v, axis=1, keepdims=True)
    unit = v / length
    jacobians = np.concatenate([_jacobian(layers, filters, layer) for layer in range(len(layers.parts))], axis=2)
    across = jacobians - unit[..., None] * (unit[:, None, :] @ jacobians)
    return unit @ matrix.T, matrix @ across / length[..., None]


def _quotient(layers: _Layers, matrix: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """|matrix v|/|v|."""
    v = _product(layers, filters)
    return np.linalg.norm(v @ matrix.T, axis=1) / np.linalg.norm(v, axis=1)
