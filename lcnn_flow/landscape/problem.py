"""The square loss of the end-to-end filter in exact numbers, v^T G v / 2 - c^T v + const, and what is refused.

G = P^T W P and c = P^T W y are formed in ball arithmetic from the data as the floats they are, divided by powers of
2 that make them of order 1; nothing is rounded without a bound, so what is proved holds for these data.
"""

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np
from flint import arb, arb_mat, ctx

from lcnn_flow.arguments import check_kind
from lcnn_flow.critical.plain_numbers import PlainRisk, plain_risk
from lcnn_flow.errors import ArchitectureError, RiskError
from lcnn_flow.landscape.counts import filter_sizes, generic_count, singular_tuples
from lcnn_flow.landscape.system import TapSums
from lcnn_flow.losses.named import Square
from lcnn_flow.network.architecture import Architecture
from lcnn_flow.risk.empirical import EmpiricalRisk
from lcnn_flow.risk.linear import LinearRisk, check_linear

__all__ = ["BITS", "SquareProblem", "check_countable", "square_problem"]

BITS = 128
"""Precision of all ball arithmetic here."""


@dataclass(frozen=True)
class SquareProblem:
    """All numbers that determine the critical points of one risk."""

    arch: Architecture
    sums: TapSums
    """Of the layers with more than one tap, in their order."""
    offsets: tuple[tuple[int, ...], ...]
    """Tap of the end-to-end filter that every tap of these layers adds, layer by layer."""
    gram: arb_mat
    """2^-gram_exponent G, (k_v, k_v)."""
    moment: arb_mat
    """2^-moment_exponent c, (k_v, 1)."""
    energy: arb
    """Weighted sum of squared targets."""
    weight: arb
    """Sum of the weights of the samples: the risk is (v^T G v - 2 c^T v + energy) / (2 weight)."""
    gram_exponent: int
    moment_exponent: int

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """Layers with more than one tap."""
        sizes = [math.prod(kernel) for kernel in self.arch.kernel_sizes]
        return tuple(layer for layer, size in enumerate(sizes) if size > 1)

    @cached_property
    def float_gram(self) -> np.ndarray:
        """Midpoints of `gram` as floats, for tracking only and not for proofs."""
        return np.asarray([[float(x.mid()) for x in row] for row in self.gram.tolist()])

    @cached_property
    def float_moment(self) -> np.ndarray:
        """Midpoints of `moment` as floats."""
        return np.asarray([float(x.mid()) for x in self.moment.entries()])

    @cached_property
    def count(self) -> int:
        """N(k)."""
        return generic_count(self.sums.sizes)

    @cached_property
    def finite_count(self) -> int | None:
        """Number of finite solutions for this G and generic c, if a theorem gives it; otherwise None.

        It does where no two products of taps meet and G is exactly a multiple of the identity.
        """
        if len(set(self.sums.taps)) < len(self.sums.taps) or len(self.sums.taps) < self.sums.width:
            return None
        first = self.gram[0, 0]
        for i, j in itertools.product(range(self.sums.width), repeat=2):
            x = self.gram[i, j]
            if not x.is_exact() or (x != first if i == j else x != 0):
                return None
        return singular_tuples(self.sums.sizes)


def check_countable(function: str, risk: Any) -> LinearRisk:
    """Returns the risk, single or a batch, if its critical points can be counted; otherwise raises RiskError.

    Raises:
        RiskError: not the square loss of a linear single-channel network, or floats of 32 bits.
    """
    remedy = "write lf.EmpiricalRisk(arch, lf.losses.Square(), data)"
    check_kind(function, "risk", risk, EmpiricalRisk, remedy, RiskError)
    risk = check_linear(function, risk)
    if not isinstance(risk.loss, Square):
        raise RiskError(
            f"{function}: the loss is {risk.loss!r}, and critical points are counted for lf.losses.Square() alone: "
            "some of them are found by lf.search_critical_points(risk, starts)"
        )
    if risk.arch.channels is not None:
        raise RiskError(f"{function}: with channels critical points are not isolated: write channels=None")
    if not jax.config.read("jax_enable_x64"):
        raise RiskError(
            f'{function}: paths are tracked in float64: call jax.config.update("jax_enable_x64", True) before'
        )
    return risk


def square_problem(function: str, risk: LinearRisk, max_paths: int) -> SquareProblem:
    """The numbers of a single risk that has passed `check_countable`.

    Raises:
        ArchitectureError: more solutions than `max_paths`.
        RiskError: data without full rank, or P^T y = 0.
    """
    sizes = filter_sizes(risk.arch)
    if (count := generic_count(sizes)) > max_paths:
        once, each = _cost(sizes, count)
        raise ArchitectureError(
            f"{function}: filters {sizes} have {count} complex critical orbits, more than max_paths = {max_paths}: "
            f"{function}(risk, max_paths={count}) would take about {once:.0f} CPU seconds once, for a start set, and "
            f"{each:.0f} for each data set; or use smaller filters"
        )
    width = math.prod(risk.arch.end_to_end_kernel_size)
    if (rank := int(risk.outer.rank)) < width:
        raise RiskError(
            f"{function}: the patch matrix has rank {rank} and the end-to-end filter {width} taps, so critical points "
            "are not isolated: use more samples, or inputs of full rank"
        )
    with ctx.workprec(BITS):
        return _problem(function, risk.arch, plain_risk(risk))


def _cost(sizes: tuple[int, ...], count: int) -> tuple[float, float]:
    """CPU seconds to make a start set, and to track and certify one data set: measured up to N(k) = 435."""
    each = 2.5e-3 * count * ((sum(sizes) - len(sizes) + 1) / 7) ** 2 * max(1, math.prod(sizes) / 16)
    return 12 * each, each


def _problem(function: str, arch: Architecture, plain: PlainRisk) -> SquareProblem:
    kept = [offsets for offsets in plain.offsets if len(offsets) > 1]
    taps = tuple(sum(index) for index in itertools.product(*kept))
    sums = TapSums(tuple(map(len, kept)), taps, plain.taps)
    rows = [i for i in range(len(plain.targets)) if plain.weights[i] > 0]
    weights = [arb(float(plain.weights[i])) for i in rows]
    table = [[arb(float(x)) for x in (*plain.patches[i], plain.targets[i])] for i in rows]
    weighted = arb_mat([[w * x for x in row] for w, row in zip(weights, table, strict=True)])
    product = (weighted.transpose() * arb_mat(table)).tolist()
    gram = [row[:-1] for row in product[:-1]]
    moment = [row[-1] for row in product[:-1]]
    if all(x == 0 for x in moment):
        raise RiskError(f"{function}: P^T y = 0, so v = 0 is the only critical filter: there is nothing to count")
    spectrum = np.linalg.eigvalsh([[float(x.mid()) for x in row] for row in gram])
    size = math.sqrt(max(spectrum[0], 1e-14 * spectrum[-1]) * spectrum[-1])
    length = math.hypot(*(float(x.mid()) for x in moment))
    e, f = math.frexp(size)[1], math.frexp(length)[1]
    return SquareProblem(
        arch=arch,
        sums=sums,
        offsets=tuple(tuple(offsets) for offsets in kept),
        gram=arb_mat([[x * arb(2) ** -e for x in row] for row in gram]),
        moment=arb_mat([[x * arb(2) ** -f] for x in moment]),
        energy=product[-1][-1],
        weight=sum((arb(float(w)) for w in plain.weights[:: plain.outputs]), arb(0)),
        gram_exponent=e,
        moment_exponent=f,
    )
