"""Lower bounds on the work of a run, known before anything is computed: programs, sizes, and the time of all flows.

    time >= flows * steps * step_cost / (rate * devices),

where `steps` is 15 for flows and the configured number for descents, and `rate` is the number of multiply-adds per
second of this machine in a small matrix product, which is measured when it is needed. Flows take more steps than 15 and
reach a fraction of that rate that differs by a factor of ten between problems; compilation is not counted. While a run
goes on, `running.course` estimates the remaining time from the time that its own programs took.
"""

import functools
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

import lcnn_flow as lf
from experiments.computing.build import build_problem
from experiments.errors import UserError
from experiments.planning.batches import Batch
from experiments.planning.network_cost import size_of_network
from experiments.schema import Configuration
from experiments.sweeps.sweep import Sweep

__all__ = ["Work", "least_seconds", "machine_rate", "work_of"]

_FEWEST_STEPS = 15
"""Number of steps that every flow takes at least."""
_MOST_LOOKED_AT = 32
"""Largest number of compile groups whose problems are looked at."""


@dataclass(frozen=True)
class Work:
    """Size and least cost of a compile group, known without computing anything."""

    flows: int
    programs: int
    """Number of compiled programs: batches of different shapes are compiled separately."""
    least_cost: int
    """Lower bound on the multiply-adds of one flow or descent."""
    working_bytes: int
    """Memory of the flows that run at the same time on all devices, and of their data."""
    lanes: int
    """Number of lanes per device, in each of which one flow follows another; 0 if the flows run in lockstep."""
    devices: int
    on_cpu: bool


def work_of(sweep: Sweep, batches: Sequence[Batch], programs: Mapping[int, int]) -> tuple[Work, ...]:
    """The work of every compile group; of more than 32 groups, some are looked at and stand for their neighbours.

    Args:
        sweep: the sweep.
        batches: all its batches.
        programs: the number of the compiled program of every batch, by the number of the batch.

    Raises:
        UserError: the library refused a value, or a flow does not fit into memory.
    """
    programs_of_cell: dict[int, set[int]] = defaultdict(set)
    for batch in batches:
        programs_of_cell[batch.cells[0]].add(programs[batch.number])
    stride = -(-len(sweep.groups) // _MOST_LOOKED_AT)
    work: list[Work] = []
    sizes: dict[str, Any] = {}
    for number, group in enumerate(sweep.groups):
        if number % stride == 0:
            sizes = _sizes_of_group(group[0].configuration)
        own = set[int]().union(*(programs_of_cell[cell.number] for cell in group))
        work.append(Work(len(group) * sweep.configuration.seeds, len(own), **sizes))
    return tuple(work)


def _sizes_of_group(configuration: Configuration) -> dict[str, Any]:
    """The fields of `Work` that follow from the shapes of the first problem of a group, which is not built."""
    try:
        risk = jax.eval_shape(lambda: build_problem(configuration)[2])
        found = lf.describe(risk) if risk.network.is_linear else size_of_network(risk)
    except lf.LcnnFlowError as error:
        raise UserError(str(error)) from error
    descent = configuration.descent
    return {
        "least_cost": _FEWEST_STEPS * found.step_cost if descent is None else descent.steps * found.gradient_cost,
        "working_bytes": found.devices * (found.data_bytes + found.lanes * found.lane_bytes),
        "lanes": found.lanes if risk.network.is_linear and configuration.flow.times is None else 0,
        "devices": found.devices,
        "on_cpu": found.device.startswith("cpu"),
    }


def least_seconds(work: Sequence[Work], rate: float) -> float:
    """Lower bound on the seconds of all flows, on CPUs with `rate` multiply-adds per second and core."""
    return sum(group.flows * group.least_cost / (rate * group.devices) for group in work)


@functools.cache
def machine_rate() -> float:
    """Multiply-adds per second of one core, in a product of float64 matrices that is too small for several cores."""
    size, least = 64, np.inf
    matrix = np.random.default_rng(0).normal(size=(size, size))
    started = time.perf_counter()
    while time.perf_counter() - started < 0.05:
        before = time.perf_counter()
        np.matmul(matrix, matrix)
        least = min(least, time.perf_counter() - before)
    return size**3 / least
