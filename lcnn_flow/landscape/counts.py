"""The number of complex critical orbits of a generic problem, from the sizes of its filters alone.

N(k), the generic Euclidean distance degree of the Segre variety of the filters of sizes k_l, with n = sum (k_l - 1):

    N(k) = sum_i (-1)^i (2^{n+1-i} - 1) deg c_i,
    deg c_i = coefficient of prod_l h_l^{k_l-1} in [prod_l (1 + h_l)^{k_l}]_i (sum_l h_l)^{n-i}

(J. Draisma, E. Horobet, G. Ottaviani, B. Sturmfels, R. Thomas, The Euclidean distance degree of an algebraic variety,
Found. Comput. Math. 16, 2016, theorem 5.8). It depends on the filter sizes alone, not on their order nor on strides.
Where P^T P is a multiple of the identity and no two taps meet, the finite ones are the singular vector tuples of a
tensor (S. Friedland, G. Ottaviani, The number of singular vector tuples and uniqueness of best rank-one approximation
of tensors, Found. Comput. Math. 14, 2014).
"""

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lcnn_flow.arguments import check_kind
from lcnn_flow.errors import ArchitectureError
from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.filters import tap_offsets

__all__ = ["CriticalCount", "critical_count", "filter_sizes", "generic_count", "singular_tuples"]

Terms = dict[tuple[int, ...], int]
"""Coefficients of a polynomial by exponents."""


@dataclass(frozen=True)
class CriticalCount:
    """Number of complex critical orbits with v != 0 of the square loss, solutions at infinity counted."""

    number: int
    """N(k), for generic data of full rank; for special data at most as many are isolated."""
    family: tuple[int, ...]
    """Sizes of the filters with more than one tap, largest first: all architectures of a family have the same N(k)."""
    singular_tuples: int | None
    """Number of finite ones where P^T P is a multiple of the identity; None where two products of taps meet in one tap
    of the end-to-end filter, where no such number is known."""

    def __repr__(self) -> str:
        words = f"CriticalCount({self.number} complex critical orbits, family {self.family}"
        if self.singular_tuples is not None:
            words += f"; {self.singular_tuples} finite ones where P^T P is a multiple of the identity"
        return words + ")"


def critical_count(arch: Architecture) -> CriticalCount:
    """The number N(k) of critical orbits that `census` has to find for an architecture.

    Args:
        arch: a single-channel linear convolutional network.

    Returns:
        `CriticalCount`: the number of complex solutions, an integer, and how it is made up.

    Raises:
        ArchitectureError: not an `Architecture`, channels, or an activation.
    """
    check_kind("critical_count", "arch", arch, Architecture, "write lf.Architecture(...)", ArchitectureError)
    if arch.channels is not None or not arch.is_linear:
        what = "channels: its critical points are not isolated" if arch.channels is not None else "an activation"
        raise ArchitectureError(f"critical_count: only single-channel linear networks are counted, not with {what}")
    sizes = filter_sizes(arch)
    sums = [sum(taps) for taps in itertools.product(*tap_offsets(arch))]
    apart = len(set(sums)) == len(sums)
    return CriticalCount(generic_count(sizes), sizes, singular_tuples(sizes) if apart else None)


def filter_sizes(arch: Architecture) -> tuple[int, ...]:
    """Numbers of taps of the filters that have more than one, largest first."""
    sizes = [math.prod(kernel) for kernel in arch.kernel_sizes]
    return tuple(sorted((size for size in sizes if size > 1), reverse=True))


def generic_count(sizes: Sequence[int]) -> int:
    """The number N(k) for filters of these sizes."""
    dims = [size - 1 for size in sizes]
    n, found = sum(dims), 0
    for taken in itertools.product(*(range(d + 1) for d in dims)):
        left = [d - e for d, e in zip(dims, taken, strict=True)]
        chern = math.prod(math.comb(d + 1, e) for d, e in zip(dims, taken, strict=True))
        paths = math.factorial(sum(left)) // math.prod(map(math.factorial, left))
        found += (-1) ** sum(taken) * (2 ** (n + 1 - sum(taken)) - 1) * chern * paths
    return found


def singular_tuples(sizes: Sequence[int]) -> int:
    """Number of singular vector tuples of a generic tensor: the coefficient of prod_l t_l^{k_l-1} in

    prod_l sum_{a < k_l} s_l^a t_l^{k_l-1-a},   s_l = sum_{m != l} t_m.
    """
    top = tuple(size - 1 for size in sizes)
    result: Terms = {(0,) * len(top): 1}
    for layer, size in enumerate(sizes):
        others: Terms = {_unit(len(top), m, 1): 1 for m in range(len(top)) if m != layer}
        power: Terms = {(0,) * len(top): 1}
        factor: Counter[tuple[int, ...]] = Counter()
        for a in range(size):
            factor.update(_product(power, {_unit(len(top), layer, size - 1 - a): 1}, top))
            power = _product(power, others, top)
        result = _product(result, factor, top)
    return result.get(top, 0)


def _unit(length: int, place: int, exponent: int) -> tuple[int, ...]:
    return tuple(exponent * (m == place) for m in range(length))


def _product(left: Terms, right: Terms, top: tuple[int, ...]) -> Terms:
    """The product without terms whose degree in a variable is above its entry of `top`."""
    result: Counter[tuple[int, ...]] = Counter()
    for (a, x), (b, y) in itertools.product(left.items(), right.items()):
        exponents = tuple(i + j for i, j in zip(a, b, strict=True))
        if all(i <= j for i, j in zip(exponents, top, strict=True)):
            result[exponents] += x * y
    return dict(result)
