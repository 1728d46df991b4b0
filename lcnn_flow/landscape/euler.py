"""The sum of (-1)^index over all critical orbits, which topology determines: an independent check of a census.

With Z = {[w] : c^T v(w) = 0} in the product of real projective spaces RP^{k_l - 1},

    sum over orbits with v != 0 of (-1)^index = chi(prod_l RP^{k_l-1}) + chi(Z)    where Z is smooth:

min over s of the risk at s v(w) is a function on the product that is Morse off Z, with the same indices, and largest
along Z. chi(Z) follows from the fibres of Z over all factors but one. Derived.
"""

import itertools
import math

import numpy as np

__all__ = ["expected_index_sum"]

_NEAR = 1e-6
"""Imaginary parts of roots, relative to 1 + |root|, within which it is not said whether they are real."""


def expected_index_sum(sizes: tuple[int, ...], load: np.ndarray) -> int | None:
    """The expected sum; None if no closed form is known.

    Args:
        sizes: of the filters with more than one tap.
        load: A^T c, (prod k_l,).
    """
    n, product = sum(sizes) - len(sizes), math.prod(_projective(size - 1) for size in sizes)
    if n == 0:
        return 1  # Z is empty
    if n % 2 == 0:
        return product  # Z is a closed manifold of odd dimension
    for m, size in enumerate(sizes):
        if size > n + 1 - size:  # no fibre over the other factors is the whole of RP^{k_m-1}
            others = math.prod(_projective(other - 1) for i, other in enumerate(sizes) if i != m)
            return product + _projective(size - 2) * others
    if len(sizes) == 3 and sorted(sizes)[0] == 2 and sorted(sizes)[1] == sorted(sizes)[2]:
        size = max(sizes)
        whole = _whole_fibres(sizes, load)
        if whole is None:
            return None
        base = _projective(size - 1) * _projective(1)
        return product + base * _projective(size - 2) + whole * (_projective(size - 1) - _projective(size - 2))
    return None


def _projective(dimension: int) -> int:
    """The Euler characteristic of the real projective space of dimension d."""
    return 1 if dimension >= 0 and dimension % 2 == 0 else 0


def _whole_fibres(sizes: tuple[int, ...], load: np.ndarray) -> int | None:
    """Real roots of det(T_0 + s T_1) for the (a, a, 2) tensor: where a fibre of Z is a whole projective space."""
    tensor = np.moveaxis(load.reshape(sizes), sizes.index(2), -1)
    size = tensor.shape[0]
    nodes = np.exp(2j * np.pi * np.arange(size + 1) / (size + 1))
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(2, 2)))[0]  # no root at infinity
    first, second = tensor @ turn[:, 0], tensor @ turn[:, 1]
    values = np.asarray([np.linalg.det(first + node * second) for node in nodes])
    coefficients = np.real(np.fft.fft(values) / (size + 1))[::-1]  # highest power first
    if not abs(coefficients[0]) > _NEAR * np.max(np.abs(coefficients)):
        return None
    roots = np.roots(coefficients)
    sizes_of = 1 + np.abs(roots)
    if any(abs(a - b) < _NEAR * s for (a, s), (b, _) in itertools.combinations(zip(roots, sizes_of, strict=True), 2)):
        return None
    return int(np.sum(np.abs(roots.imag) < _NEAR * sizes_of))
