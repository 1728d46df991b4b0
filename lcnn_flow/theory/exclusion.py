"""A lower bound of the sine of the angle between a kernel and the attainable end-to-end filters v = pi(w), by proof.

Around every unit vector u there is a ball without attainable filters, whose radius one of three necessary conditions
gives. Small boxes cover the unit sphere of the kernel, half of it by symmetry, and each lies in the ball of its centre.

    real roots      stride 1: v has at least #{l : k_l even} real projective roots, hence not too many non-real pairs.
    common divisor  strides: v = a * up_S(b). The phases of v are those of a times b, hence v_r a_s = v_s a_r.
    factors         two dimensions: N layers with more than one tap give N independent closed forms (g dx + h dy)/v,
                    those of their logarithms (Ruppert 1999; Gao 2003 decides irreducibility by them).

By the last two, singular values of a matrix that is linear in v vanish; by Weyl's inequality they change by no more
than the matrix does. Derived; true up to the rounding of singular values and roots.
"""

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from lcnn_flow.network.architecture import Architecture
from lcnn_flow.theory.attainable import real_roots_needed

__all__ = ["excluded_angle"]

_MOST_BOXES = 4000
_MOST_WORK = 2 * 10**7  # boxes times k_v^3, to which a decomposition is proportional: about a second
_LARGEST_DIMENSION = 3
_LARGEST_FILTER = 64

Radii = Callable[[np.ndarray], np.ndarray]
"""Centres (boxes, k_v) of norm 1 -> radii of balls without attainable filters; 0 where nothing is proved."""


def excluded_angle(arch: Architecture, kernel: np.ndarray, needed: float) -> float:
    """A number s >= needed with |v - u| >= s for all attainable v and all unit u in the kernel; 0 if none is proved.

    `kernel` is an orthonormal basis, (k_v, d). The attainable filters form a cone, so s bounds the sine of the angle.
    """
    size, dimension = kernel.shape
    conditions = _conditions(arch) if 0 < dimension <= _LARGEST_DIMENSION and size <= _LARGEST_FILTER else []
    if not conditions:
        return 0.0
    least, boxes, most = math.inf, 0, min(_MOST_BOXES, _MOST_WORK // size**3)
    for face in range(dimension):  # of the cube around the unit sphere
        centres, half = np.zeros((1, dimension - 1)), 1.0
        while len(centres):
            boxes += len(centres)
            if boxes > most:
                return 0.0
            units = np.insert(centres, face, 1.0, axis=1) @ kernel.T
            units /= np.linalg.norm(units, axis=1, keepdims=True)
            # outside of the unit ball the projection to the sphere moves no two points apart
            margin, proved = np.zeros(len(units)), np.zeros(len(units), bool)
            for radii in conditions:
                margin[~proved] = radii(units[~proved]) - half * math.sqrt(dimension - 1)
                proved = margin >= needed
            least = min(least, np.min(margin[proved], initial=math.inf))
            if dimension == 1:
                return least if proved.all() else 0.0
            half /= 2
            corners = np.array(list(itertools.product((-half, half), repeat=dimension - 1)))
            centres = (centres[~proved][:, None] + corners).reshape(-1, dimension - 1)
    return least


def _conditions(arch: Architecture) -> list[Radii]:
    """The necessary conditions that apply to an architecture."""
    found: list[Radii] = []
    real = real_roots_needed(arch)
    if real is not None and real > 1:
        found.append(partial(_radii_by_roots, real))
    for cut in range(1, arch.depth):
        if any(s > 1 for s in arch.cumulative_strides[cut]):
            found.append(partial(_radii_by_rank, *_with_stretch(_phases(arch, cut)), 1))
    layers = sum(math.prod(kernel) > 1 for kernel in arch.kernel_sizes)
    if arch.dimension > 1 and layers > 1 and min(arch.end_to_end_kernel_size) > 1:
        found.append(partial(_radii_by_rank, *_with_stretch(_closed_forms(arch.end_to_end_kernel_size)), layers))
    return found


def _radii_by_roots(real: int, units: np.ndarray) -> np.ndarray:
    """Balls in which every polynomial has so many non-real pairs of roots that fewer than `real` roots are left.

    A polynomial p of degree at most n has a root within n |p(z)/p'(z)| of z. Disjoint discs above the real axis
    around the roots z of the centre hold one root each, of all p for which these radii are small enough.
    """
    degree = units.shape[1] - 1
    pairs = (degree - real) // 2 + 1
    powers = np.arange(degree + 1)
    radii = np.zeros(len(units))
    for number, u in enumerate(units):
        roots = np.roots(u[::-1])
        z = roots[roots.imag > 0]
        if len(z) < pairs:
            continue
        apart = abs(z[:, None] - z) / 2
        np.fill_diagonal(apart, z.imag)
        room = np.min(apart, axis=1)
        monomials = z[:, None] ** powers
        derivatives = powers[1:] * monomials[:, :-1]
        value, slope = abs(monomials @ u), abs(derivatives @ u[1:])
        sizes = degree * np.linalg.norm(monomials, axis=1) + room * np.linalg.norm(derivatives, axis=1)
        radii[number] = np.sort((room * slope - degree * value) / sizes)[-pairs]
    return np.maximum(radii, 0)


def _radii_by_rank(tensor: np.ndarray, stretch: float, vanishing: int, units: np.ndarray) -> np.ndarray:
    """Balls in which the matrix tensor @ v has fewer than `vanishing` singular values that are 0."""
    rows, columns, _ = tensor.shape
    if rows <= columns - vanishing:
        return np.zeros(len(units))
    values = np.linalg.svd(np.einsum("ijk,bk->bij", tensor, units), compute_uv=False)
    return values[:, columns - vanishing] / stretch


def _with_stretch(tensor: np.ndarray) -> tuple[np.ndarray, float]:
    """The tensor and a bound of |tensor @ v|/|v|, in the spectral norm of the matrix."""
    frobenius = math.sqrt(np.max(np.sum(tensor**2, axis=(0, 1))))  # no two v_j meet in an entry of the matrix
    return tensor, min(frobenius, float(np.linalg.norm(tensor.reshape(len(tensor), -1), 2)))


def _phases(arch: Architecture, cut: int) -> np.ndarray:
    """T with (T @ v) a = all v_r a_s - v_s a_r, for phases r < s modulo S of the layers after `cut`."""
    spacing = np.array(arch.cumulative_strides[cut])
    first = Architecture(arch.input_shape, arch.kernel_sizes[:cut], arch.strides[:cut])
    places: dict[tuple[Any, ...], int] = {}
    entries = []
    for j, p in enumerate(np.ndindex(arch.end_to_end_kernel_size)):
        for i, q in enumerate(np.ndindex(first.end_to_end_kernel_size)):
            r, s = tuple(np.array(p) % spacing), tuple(np.array(q) % spacing)
            if r != s:
                key = (min(r, s), max(r, s), tuple(np.array(p) // spacing + np.array(q) // spacing))
                entries.append((places.setdefault(key, len(places)), i, j, 1.0 if r < s else -1.0))
    sizes = math.prod(first.end_to_end_kernel_size), math.prod(arch.end_to_end_kernel_size)
    return _tensor(entries, (len(places), *sizes))


def _closed_forms(shape: tuple[int, ...]) -> np.ndarray:
    """T with (T @ v) (g, h) = v dg/dy - g dv/dy - v dh/dx + h dv/dx, for g and h of the degrees of dv/dx and dv/dy."""
    m, n = shape[0] - 1, shape[1] - 1
    unknowns = [("g", q) for q in np.ndindex(m, n + 1)] + [("h", q) for q in np.ndindex(m + 1, n)]
    places: dict[tuple[Any, ...], int] = {}
    entries = []
    for j, p in enumerate(np.ndindex(shape)):
        for i, (name, q) in enumerate(unknowns):
            factor = q[1] - p[1] if name == "g" else p[0] - q[0]
            if factor:
                power = (p[0] + q[0] - (name == "h"), p[1] + q[1] - (name == "g"))
                entries.append((places.setdefault(power, len(places)), i, j, float(factor)))
    return _tensor(entries, (len(places), len(unknowns), math.prod(shape)))


def _tensor(entries: list[tuple[int, int, int, float]], shape: tuple[int, int, int]) -> np.ndarray:
    tensor = np.zeros(shape)
    for row, column, tap, value in entries:
        tensor[row, column, tap] = value
    return tensor
