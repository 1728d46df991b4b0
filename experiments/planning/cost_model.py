"""What a run takes, as far as that is known before anything is computed: programs, sizes, the least time of flows.

    time >= flows * steps * step_cost / (rate * devices),   steps = 15 for flows, and those asked for, of descents,

`rate` that of this machine in a small matrix product, measured on the spot. Flows take more steps, and reach a share of
that rate that differs by a factor of ten between problems; compilation is not counted. `running.course` says how long
the rest of a run takes, from what its own programs took.
"""

import functools
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

import lcnn_flow as lf
from experiments.computing.build import build_problem
from experiments.errors import UserError
from experiments.planning.batches import Batch, programs_of
from experiments.planning.network_cost import size_of_network
from experiments.schema import Configuration
from experiments.sweeps.sweep import Sweep

__all__ = ["Work", "least_seconds", "machine_rate", "work_of"]

_FEWEST_STEPS = 15
_MOST_LOOKED_AT = 32


@dataclass(frozen=True)
class Work:
    """What is known of a compile group without computing anything."""

    flows: int
    programs: int
    """Batches of different shapes compile separately."""
    least_cost: int
    """Multiply-adds of one flow or descent, at least."""
    working_bytes: int
    """Of the flows that run side by side on all devices, and their data."""
    devices: int
    on_cpu: bool


def work_of(sweep: Sweep, batches: Sequence[Batch]) -> list[Work]:
    """What every compile group takes; where they are many, some stand for their neighbours.

    Raises:
        UserError: the library refused a value, or a flow does not fit into memory.
    """
    groups, program = sweep.groups(), programs_of(sweep, batches)
    programs: dict[int, set[int]] = defaultdict(set)
    for batch in batches:
        programs[batch.cells[0]].add(program[batch.number])
    stride = -(-len(groups) // _MOST_LOOKED_AT)
    work: list[Work] = []
    known: dict[str, Any] = {}
    for number, group in enumerate(groups):
        if number % stride == 0:
            known = _look_at(group[0].configuration)
        own = set().union(*(programs[cell.number] for cell in group))
        work.append(Work(len(group) * sweep.configuration.seeds, len(own), **known))
    return work


def _look_at(configuration: Configuration) -> dict[str, Any]:
    """The numbers of a group that follow from the shapes of its first risk, which is not computed."""
    try:
        risk = jax.eval_shape(lambda: build_problem(configuration)[2])
        found = lf.describe(risk) if risk.network.is_linear else size_of_network(risk)
    except lf.LcnnFlowError as error:
        raise UserError(str(error)) from error
    descent = configuration.descent
    return {
        "least_cost": _FEWEST_STEPS * found.step_cost if descent is None else descent.steps * found.gradient_cost,
        "working_bytes": found.devices * (found.data_bytes + found.lanes * found.lane_bytes),
        "devices": found.devices,
        "on_cpu": found.device.startswith("cpu"),
    }


def least_seconds(work: Sequence[Work], rate: float) -> float:
    """What the flows take at least on CPUs that do `rate` multiply-adds a second on one core."""
    return sum(group.flows * group.least_cost / (rate * group.devices) for group in work)


@functools.cache
def machine_rate() -> float:
    """Multiply-adds a second of one core, in a product of float64 matrices too small to be shared between cores."""
    size, least = 64, np.inf
    matrix = np.random.default_rng(0).normal(size=(size, size))
    started = time.perf_counter()
    while time.perf_counter() - started < 0.05:
        before = time.perf_counter()
        np.matmul(matrix, matrix)
        least = min(least, time.perf_counter() - before)
    return size**3 / least
