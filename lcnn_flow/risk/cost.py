"""What one evaluation of the risk costs in every form: multiply-adds a flow, counted from the shapes.

rows = samples x outputs a sample, q = columns of the patch matrix, c = output channels. Chooses the form where the
user does not; measured speeds differ from the counts by the shapes of the matrices.
"""

import math
from typing import NamedTuple

from lcnn_flow.network.architecture import Architecture
from lcnn_flow.risk.lane_forms import moment_numbers

__all__ = ["EvaluationCost", "evaluation_cost", "gradient_cost", "moments_pay", "step_cost"]

_STAGES = 6
"""Gradients a step of Rodas4."""
_MOST_MOMENTS = 2**25
"""Numbers that moments, and the tables they are made of, may take."""


class EvaluationCost(NamedTuple):
    """Multiply-adds a flow."""

    gradient: int
    """grad l at one end-to-end filter."""
    curvature: int
    """l'' there, beyond the gradient."""


def evaluation_cost(form: str, rows: int, q: int, c: int, p: float) -> EvaluationCost:
    """Cost of the forms "reduced", "patches" and "moments", the last of the l_p loss."""
    if form == "reduced":
        return EvaluationCost(q * q * c, 0)
    if form == "moments":
        return EvaluationCost(moment_numbers(q, int(p)) * c, 0)
    return EvaluationCost(2 * rows * q * c, rows * q * (q + 1) // 2 * c)


def moments_pay(p: float, rows: int, q: int, c: int) -> bool:
    """Whether moments drive an l_p flow cheaper than patches: even p >= 4, and fewer multiply-adds a step."""
    if p < 4 or p % 2 != 0:
        return False
    tables = rows * (moment_numbers(q, int(p)) // ((q + 1) * (q + 2) // 2) + (q + 1) * (q + 2) // 2)
    if moment_numbers(q, int(p)) * c > _MOST_MOMENTS or tables > _MOST_MOMENTS:
        return False
    step = {form: evaluation_cost(form, rows, q, c, p) for form in ("moments", "patches")}
    ours, theirs = (_STAGES * cost.gradient + cost.curvature for cost in (step["moments"], step["patches"]))
    return ours < theirs


def gradient_cost(arch: Architecture, form: str, rows: int, q: int, c: int, p: float) -> int:
    """Multiply-adds of grad L: that of l, pi(w), and as much again for every layer to pull it back."""
    return evaluation_cost(form, rows, q, c, p).gradient + 3 * _composition(arch)


def step_cost(arch: Architecture, form: str, rows: int, q: int, c: int, p: float) -> int:
    """Multiply-adds of one step of Rodas4: six gradients, l'', the Hessian, its inverse and six products with it."""
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


def _layers(arch: Architecture):
    return zip(arch.kernel_sizes, arch.cumulative_strides, strict=True)
