"""How long a run will take, before anything is computed: a range, from counts and a few measured constants.

    time = start + programs * compilation + flows * steps * (a + step_cost / (e r)) / devices + certificates,

with r the rate of this machine in a small matrix product, measured on the spot, and a, e the overhead of a step and the
share of r that a step reaches. Constants were measured on two cores of a server, with programs that were not in the
cache. They are good to a factor of three: numbers of steps depend on the data, and other work slows a machine down.
"""

import functools
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

import lcnn_flow as lf
from experiments.computing.build import build_problem
from experiments.errors import UserError
from experiments.planning.batches import Batch
from experiments.planning.network_cost import size_of_network
from experiments.schema import Configuration, Lp
from experiments.sweeps.sweep import Cell

__all__ = ["Work", "machine_rate", "seconds", "steps_of", "work_of"]

_START = 6.0
"""Seconds from the command to the first program, and for the report."""
_CELL = 0.03
"""Seconds to make the data of a cell, and to classify and store its limits."""
_PROGRAM = {"limits": 3.0, "times": 5.2}
"""Seconds to compile flows and classification, times 1 + (depth / 4)^2."""
_TUNING_PROGRAM = 2
"""How many such programs the derivative of the limits counts for."""
_OVERHEAD = {"limits": 1.5e-6, "times": 5e-6}
"""Seconds a step of a flow."""
_EFFICIENCY = {"limits": 0.075, "times": 0.03}
_OVERHEAD_OF_DESCENTS = 2e-7
"""Seconds a step of a descent."""
_CERTIFICATE = 25e-6
"""Seconds for a row of the patch matrix and a parameter."""
_MOST_CERTIFIERS = 8
_STEPS = {"limits": 45, "times": 250}
"""At the default tolerances."""
_DEFAULT_RTOL = 1e-6
_FEWEST, _MOST = 150, 600
_ROUGH = 1500
"""Steps for l_p losses of p < 2, whose second derivative is infinite at 0."""
_CHECKS_OF_TUNING = 6
"""Evaluations besides one an iteration."""
_UNCERTAINTY = {"programs": 2.0, "flows": 3.0}
_SIDE_BY_SIDE = 64
"""Flows that keep a device busy."""
_MOST_LOOKED_AT = 32


@dataclass(frozen=True)
class Work:
    """What is known of a compile group without computing anything."""

    configuration: Configuration
    """Of its first cell."""
    cells: int
    programs: int
    """Batches of different shapes compile separately."""
    depth: int
    parameters: int
    rows: int
    step_cost: int
    """Multiply-adds of one step of a flow."""
    gradient_cost: int
    """Multiply-adds of one step of a descent."""
    working_bytes: int
    """Of the flows that run side by side on all devices, and their data."""
    devices: int
    on_cpu: bool
    provable: bool = True
    """Whether limits are put to the proof."""


def work_of(groups: Sequence[Sequence[Cell]], batches: Sequence[Batch]) -> list[Work]:
    """What every compile group takes; where they are many, some stand for their neighbours.

    Raises:
        UserError: the library refused a value, or a flow does not fit into memory.
    """
    group_of = {cell.number: number for number, group in enumerate(groups) for cell in group}
    shapes = {(group_of[batch.cells[0]], len(batch.cells), batch.stop - batch.start) for batch in batches}
    programs = Counter(number for number, *_ in shapes)
    stride = -(-len(groups) // _MOST_LOOKED_AT)
    work = []
    for number, group in enumerate(groups):
        if number % stride == 0:
            known = _look_at(group[0].configuration)
        work.append(Work(group[0].configuration, len(group), programs[number], **known))
    return work


def _look_at(configuration: Configuration) -> dict[str, Any]:
    """The numbers of a group that follow from the shapes of its first risk, which is not computed."""
    try:
        risk = jax.eval_shape(lambda: build_problem(configuration)[2])
        if not risk.network.is_linear:
            return size_of_network(risk)
        found = lf.describe(risk)
    except lf.LcnnFlowError as error:
        raise UserError(str(error)) from error
    return {
        "depth": risk.arch.depth,
        "parameters": found.parameters,
        "rows": found.rows,
        "step_cost": found.step_cost,
        "gradient_cost": found.gradient_cost,
        "working_bytes": found.devices * (found.data_bytes + found.lanes * found.lane_bytes),
        "devices": found.devices,
        "on_cpu": found.device.startswith("cpu"),
    }


def seconds(work: Sequence[Work], rate: float) -> tuple[float, float]:
    """Least and most seconds of a run on CPUs, for a machine that does `rate` multiply-adds a second on one core."""
    programs = sum(_compilation(group) for group in work)
    flows = sum(_flows(group, rate) + _certificates(group) + _CELL * group.cells for group in work)
    least = _START + programs / _UNCERTAINTY["programs"] + flows / _UNCERTAINTY["flows"]
    return least, 2 * _START + programs * _UNCERTAINTY["programs"] + flows * _UNCERTAINTY["flows"]


def _kind(configuration: Configuration) -> str:
    return "times" if configuration.records else "limits"


def _compilation(group: Work) -> float:
    programs = group.programs + (_TUNING_PROGRAM if group.configuration.tune is not None else 0)
    return programs * _PROGRAM[_kind(group.configuration)] * (1 + (group.depth / 4) ** 2)


def _flows(group: Work, rate: float) -> float:
    """Seconds of all flows of a group."""
    configuration = group.configuration
    flows = group.cells * configuration.seeds
    kind = _kind(configuration)
    parallel = min(group.devices, max(1, configuration.seeds // _SIDE_BY_SIDE))
    if configuration.descent is not None:
        gradients = flows * configuration.descent.steps
        return gradients * (_OVERHEAD_OF_DESCENTS + group.gradient_cost / (_EFFICIENCY["times"] * rate)) / parallel
    found = flows * steps_of(configuration) * _step(group, kind, rate) / parallel
    if configuration.tune is not None:
        evaluations = configuration.tune.iterations + _CHECKS_OF_TUNING
        found *= 2  # before the tuning and after it
        found += evaluations * flows * _STEPS["limits"] * _step(group, "times", rate)
    return found


def _step(group: Work, kind: str, rate: float) -> float:
    return _OVERHEAD[kind] + group.step_cost / (_EFFICIENCY[kind] * rate)


def steps_of(configuration: Configuration) -> float:
    """Typical number of steps of a flow. With times it grows like rtol^(-1/4), the method being of order 4."""
    if isinstance(configuration.loss, Lp) and configuration.loss.p < 2:
        return _ROUGH
    if configuration.flow.times is None:
        return _STEPS["limits"]
    rtol = configuration.flow.rtol or _DEFAULT_RTOL
    return min(_MOST, max(_FEWEST, _STEPS["times"] * (_DEFAULT_RTOL / rtol) ** 0.25))


def _certificates(group: Work) -> float:
    configuration = group.configuration
    if not group.provable:
        return 0.0
    count = group.cells * min(configuration.analysis.certificates, configuration.seeds)
    cores = min(_MOST_CERTIFIERS, os.cpu_count() or 1)
    return count * _CERTIFICATE * group.rows * group.parameters / cores


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
