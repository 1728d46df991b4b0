"""Cost of one evaluation of the risk in each form: multiply-adds per flow, counted from the shapes.

rows = samples times outputs per sample, q = columns of the patch matrix, c = output channels. The counts select the
form if the user does not; measured times also depend on the shapes of the matrices.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

from lcnn_flow.network.architecture import Architecture
from lcnn_flow.risk.lane_forms import moment_numbers

__all__ = ["EvaluationCost", "evaluation_cost", "gradient_cost", "moments_pay", "step_cost"]

_STAGES = 6
"""Number of gradients in one step of Rodas4."""
_MOST_MOMENTS = 2**25
"""Largest number of entries allowed for moments and for the tables from which they are computed."""


class EvaluationCost(NamedTuple):
    """Multiply-adds of one evaluation, per flow."""

    gradient: int
    """Gradient of l at one end-to-end filter."""
    curvature: int
    """Second derivative of l there, in addition to the gradient."""


def evaluation_cost(form: str, rows: int, q: int, c: int, p: float) -> EvaluationCost:
    """Cost of one evaluation in the form "reduced", "patches" or "moments"; p is the exponent of the l_p loss."""
    if form == "reduced":
        return EvaluationCost(q * q * c, 0)
    if form == "moments":
        return EvaluationCost(moment_numbers(q, int(p)) * c, 0)
    return EvaluationCost(2 * rows * q * c, rows * q * (q + 1) // 2 * c)


def moments_pay(p: float, rows: int, q: int, c: int) -> bool:
    """Whether moments evaluate an l_p flow with fewer multiply-adds per step than patches; requires even p >= 4."""
    if p < 4 or p % 2 != 0:
        return False
    tables = rows * (moment_numbers(q, int(p)) // ((q + 1) * (q + 2) // 2) + (q + 1) * (q + 2) // 2)
    if moment_numbers(q, int(p)) * c > _MOST_MOMENTS or tables > _MOST_MOMENTS:
        return False
    step = {form: evaluation_cost(form, rows, q, c, p) for form in ("moments", "patches")}
    moments, patches = (_STAGES * cost.gradient + cost.curvature for cost in (step["moments"], step["patches"]))
    return moments < patches


def gradient_cost(arch: Architecture, form: str, rows: int, q: int, c: int, p: float) -> int:
    """Multiply-adds of grad L: the gradient of l, pi(w), and twice the cost of pi(w) for its transposed derivative."""
    return evaluation_cost(form, rows, q, c, p).gradient + 3 * _composition(arch)


def step_cost(arch: Architecture, form: str, rows: int, q: int, c: int, p: float) -> int:
    """Multiply-adds of one step of Rodas4: six gradients, l'', the Hessian, its inverse and six products with the
    inverse."""
    n = arch.num_parameters
    hessian = evaluation_cost(form, rows, q, c, p).curvature + c * q * q * n + c * q * n * n + n * _composition(arch)
    return _STAGES * (gradient_cost(arch, form, rows, q, c, p) + n * n) + hessian + 2 * n**3


def _composition(arch: Architecture) -> int:
    """Multiply-adds of the end-to-end filter."""
    total, size = 0, math.prod(arch.kernel_sizes[0])
    channels = (1,) * (arch.depth + 1) if arch.channels is None else arch.channels
    spans = [[1 + (k - 1) * s for k, s in zip(*layer, strict=True)] for layer in _layers(arch)]
    reach = list(arch.kernel_sizes[0])
    for layer in range(1, arch.depth):
        taps = math.prod(arch.kernel_sizes[layer])
        total += channels[layer + 1] * channels[layer] * channels[0] * taps * size
        reach = [a + b - 1 for a, b in zip(reach, spans[layer], strict=True)]
        size = math.prod(reach)
    return total


def _layers(arch: Architecture) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    return zip(arch.kernel_sizes, arch.cumulative_strides, strict=True)
