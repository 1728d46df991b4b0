"""Checks of whole cells: sections that do not fit together, and runs that are too large for this machine."""

import functools
import itertools
import math
from collections.abc import Iterator
from typing import Any

from experiments.faults import ConfigurationError, Fault
from experiments.machine import physical_memory
from experiments.networks import architecture
from experiments.planning.census_checks import census_faults
from experiments.schema import Configuration, FileData, SyntheticData
from experiments.schema.configuration import Flow
from experiments.schema.data import Labels
from experiments.schema.numbers import hashable
from experiments.sweeps.axes import Axis
from experiments.sweeps.sizes import stored_bytes
from experiments.sweeps.sweep import Cell, Sweep
from lcnn_flow import ArchitectureError, Dense

__all__ = ["MOST_CELLS", "check_plan", "faults_of_names", "gibibytes", "working_bytes"]

MOST_CELLS = 100_000
_FLOAT = 8  # bytes


def check_plan(sweep: Sweep) -> list[Fault]:
    """Faults of the cells, each with the first cell that has it, and faults of the size of the run."""
    try:
        cells = sweep.cells
    except ConfigurationError as error:
        return list(error.faults)
    found: dict[Fault, Cell] = {}
    total, largest = 0, 0
    for cell in cells:
        try:
            arch = architecture(cell.configuration)
        except ArchitectureError as error:
            found.setdefault(Fault("network", str(error)), cell)
            continue
        one = cell.configuration
        found_in = (_tolerance_faults, _loss_faults, _dynamics_faults, census_faults, _sharpness_faults)
        for fault in itertools.chain(_filter_faults(one, arch), *(faults(one) for faults in found_in)):
            found.setdefault(fault, cell)
        total += stored_bytes(cell.configuration)
        largest = max(largest, working_bytes(cell.configuration))
    where = {fault: f" (first in the cell {cell.name})" if sweep.axes else "" for fault, cell in found.items()}
    faults = [Fault(f.path, f"{f.message}{where[f]}") for f in found]
    return faults + _size_faults(sweep, total, largest)


def _size_faults(sweep: Sweep, total: int, largest: int) -> list[Fault]:
    limit, faults = physical_memory() // 2, []
    cells, seeds = len(sweep.cells), sweep.configuration.seeds
    if total > limit:
        message = (
            f"{cells} cells of {seeds} seeds would need {gibibytes(total)} for their results, and this machine can "
            f"hold {gibibytes(limit)}; lower seeds, flow.times.count or the number of cells"
        )
        faults.append(Fault("seeds", message))
    if largest > limit:
        message = (
            f"data and patches would need {gibibytes(largest)} and this machine can hold {gibibytes(limit)}; "
            "lower data.samples or network.input_shape"
        )
        faults.append(Fault("data.samples", message))
    return faults


def faults_of_names(axis: Axis, place: str) -> Iterator[Fault]:
    """Faults of values with equal labels, which results could not distinguish; `place` is where they are written."""
    firsts: dict[object, int] = {}
    for number, name in enumerate(axis.labels):
        if (first := firsts.setdefault(name, number)) < number:
            remedy = "give each its own label" if axis.path == "data" else "write them as different values"
            if axis.further:
                remedy = f"put first a key whose values differ, or {remedy}"
            shown = f'"{name}"' if isinstance(name, str) else str(name)
            yield Fault(f"{place}.{axis.path}[{number}]", f"called {shown}, as is {axis.path}[{first}]; {remedy}")


def _filter_faults(configuration: Configuration, arch: Any) -> list[Fault]:
    """Faults of filters in the configuration that do not have the shapes of the network's filters."""
    faults, data = [], configuration.data
    filters = {"initializer.filters": getattr(configuration.initializer, "filters", None)}
    if isinstance(data, SyntheticData):
        place, targets = "data.targets", data.targets
        if isinstance(targets, Labels):
            place, targets = f"{place}.source", targets.source
        filters[f"{place}.filters"] = getattr(targets, "filters", None)
        values = getattr(targets, "values", None)
        if values is not None and not arch.is_linear:
            message = 'found "filter"; a network that is not linear has no end-to-end filter: use planted or unrelated'
            faults.append(Fault(f"{place}.kind", message))
        elif values is not None and len(values) != (needed := math.prod(arch.end_to_end_filter_shape)):
            faults.append(Fault(f"{place}.values", f"{len(values)} numbers; the end-to-end filter has {needed}"))
    for path, given in filters.items():
        if given is None:
            continue
        lengths, needed = [len(f) for f in given], [math.prod(shape) for shape in arch.layer_shapes]
        if lengths != needed:
            faults.append(Fault(path, f"filters of lengths {lengths}; the network has {needed}"))
    norms = getattr(configuration.initializer, "norms", None)
    if norms is not None and len(norms) != arch.depth:
        faults.append(Fault("initializer.norms", f"{len(norms)} norms; the network has {arch.depth} layers"))
    return faults


def _loss_faults(configuration: Configuration) -> list[Fault]:
    """Faults of margin losses with targets that are not labels."""
    data, loss = configuration.data, configuration.loss
    if loss.kind not in ("logistic", "exponential") or isinstance(data, FileData):
        return []
    found = data.targets.kind if isinstance(data, SyntheticData) else data.kind
    if found == "labels":
        return []
    remedy = 'write [data] with targets = { kind = "labels" }, or loss.kind = "square"'
    return [Fault("loss.kind", f'found "{loss.kind}", whose targets are -1 or 1, beside "{found}": {remedy}')]


_OF_DESCENTS = ("gradient_rtol", "gradient_atol", "norm_bound")
"""Options of `[flow]` that descents use too."""


def _dynamics_faults(configuration: Configuration) -> list[Fault]:
    """Faults of descents: options of flows that descents do not use, and minibatches larger than the data."""
    descent, data = configuration.descent, configuration.data
    if descent is None:
        return []
    given = [name for name in configuration.flow.model_fields_set if name not in (*_OF_DESCENTS, "polish")]
    given += ["polish"] if not configuration.flow.polish else []
    remedies = {"times": "dynamics.record_every stores trajectories", "max_steps": "dynamics.steps is their number"}
    faults = [
        Fault(f"flow.{name}", f"descents have no such option: leave it out; {remedies.get(name, 'it is one of flows')}")
        for name in sorted(given)
        if getattr(configuration.flow, name) is not None
    ]
    samples = data.samples if isinstance(data, SyntheticData) else None
    if descent.batch_size is not None and samples is not None and descent.batch_size > samples:
        message = f"found {descent.batch_size}, and data.samples = {samples}: write at most {samples}"
        faults.append(Fault("dynamics.batch_size", message))
    return faults


def _sharpness_faults(configuration: Configuration) -> list[Fault]:
    """The sharpness along trajectories where none are stored."""
    if not configuration.analysis.sharpness or configuration.records > 2:
        return []
    remedy = "flow.times" if configuration.descent is None else "dynamics.record_every"
    return [Fault("analysis.sharpness", f"found true; it is seen along trajectories alone: write {remedy}")]


def _tolerance_faults(configuration: Configuration) -> tuple[Fault, ...]:
    return _unresolved(hashable(configuration.flow), configuration.compute.precision)


@functools.lru_cache(maxsize=1024)
def _unresolved(flow: Flow, precision: str) -> tuple[Fault, ...]:
    """Faults of tolerances below the rounding of the precision, by the rules of `lcnn_flow.gradient_flow`."""
    faults = []
    rounding = 2.0**-52 if precision == "float64" else 2.0**-23
    limits = {"rtol": 10 * rounding} | ({} if flow.gradient_atol else {"gradient_rtol": 100 * rounding})
    for name, least in limits.items():
        value = getattr(flow, name)
        if value is not None and value < least:
            faults.append(Fault(f"flow.{name}", f"found {value}; {precision} resolves no less than {least:.1e}"))
    return tuple(faults)


def working_bytes(configuration: Configuration) -> int:
    """Size of data and patch matrix of one cell while its flows run; for a data file, the size of one sample."""
    arch, data = architecture(configuration), configuration.data
    samples = (data.samples or 1) if isinstance(data, SyntheticData) else 1
    return 2 * _FLOAT * samples * _numbers_of_a_sample(arch)


@functools.lru_cache(maxsize=1024)
def _numbers_of_a_sample(arch: Any) -> int:
    if isinstance(arch, Dense) and not arch.is_linear:
        return 2 * sum(arch.widths)
    arch = arch.convolution()
    return math.prod(arch.sample_shape) + arch.outputs_per_sample * math.prod(arch.end_to_end_kernel_size)


def gibibytes(size: int) -> str:
    """A size in bytes as a text in GiB."""
    return f"{size / 2**30:,.1f} GiB"
