"""Axes, cells and compile groups: what a run computes, known before anything is computed.

A cell is one point of the product of all axes; it holds `seeds` flows. Cells that differ only in numbers
which are data of the compiled program (noise, std, delta) share it: they are one group.
"""

import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import tomli_w

from experiments.faults import Fault
from experiments.schema import Configuration, FileData, SyntheticData
from experiments.toml_values import key_and_values
from lcnn_flow import Architecture, ArchitectureError

__all__ = [
    "Axis",
    "Cell",
    "Sweep",
    "architecture",
    "check_plan",
    "label",
    "name_axes",
    "physical_memory",
    "stored_bytes",
]

_MAX_CELLS = 10_000
_FLOAT = 8  # bytes


@dataclass(frozen=True)
class Axis:
    """One named axis: the dotted key that it varies, and its values."""

    name: str
    path: str
    values: tuple[Any, ...]

    @property
    def labels(self) -> tuple[Any, ...]:
        """Coordinates: numbers as they are, tables by their label, or else by their kind and numbers."""
        return tuple(label(value) for value in self.values)

    @property
    def numeric(self) -> bool:
        """Whether the axis has a scale on which its values can be plotted."""
        return all(isinstance(value, int | float) and not isinstance(value, bool) for value in self.values)


@dataclass(frozen=True)
class Cell:
    """One point of the product: its number, its index along every axis, and its configuration."""

    number: int
    index: tuple[int, ...]
    name: str
    configuration: Configuration


@dataclass(frozen=True)
class Sweep:
    """A checked configuration with its axes; `base` holds the first value of every axis."""

    base: Mapping[str, Any]
    axes: tuple[Axis, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values along every axis."""
        return tuple(len(axis.values) for axis in self.axes)

    @cached_property
    def configuration(self) -> Configuration:
        """The first cell's configuration: seeds, times and module are the same in all cells."""
        return Configuration.model_validate(self.base)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, the last axis varying fastest."""
        return tuple(self._cells())

    def _cells(self) -> Iterator[Cell]:
        for number, index in enumerate(itertools.product(*map(range, self.shape))):
            raw = json.loads(json.dumps(self.base))
            for axis, i in zip(self.axes, index, strict=True):
                *parents, last = axis.path.split(".")
                table = raw
                for parent in parents:
                    table = table.setdefault(parent, {})
                table[last] = axis.values[i]
            labels = [
                f"{axis.name} = {axis.labels[i]}" if axis.numeric else str(axis.labels[i])
                for axis, i in zip(self.axes, index, strict=True)
            ]
            name = ", ".join(labels) or "single cell"
            yield Cell(number, index, name, Configuration.model_validate(raw))

    def groups(self) -> list[list[Cell]]:
        """Cells by compiled program, in the order of their first cell."""
        programs: dict[str, list[Cell]] = {}
        for cell in self.cells:
            programs.setdefault(_program(cell.configuration), []).append(cell)
        return list(programs.values())

    def toml(self) -> str:
        """The resolved configuration, runnable again, with its axes in their order.

        That order numbers the cells; tomli_w alone would move axes of large tables behind the others.
        """
        text = tomli_w.dumps(self.base)
        if not self.axes:
            return text
        return f"{text}\n[sweep]\n{''.join(key_and_values(axis.path, axis.values) for axis in self.axes)}"


def name_axes(paths: Sequence[str]) -> list[str]:
    """Names of dimensions: the last part of a dotted key, or all of it where that is not unique."""
    reserved = {"seed", "time", "layer", "interface", "tap", "steps", "verdict", "sound"}
    last = [path.rsplit(".", 1)[-1] for path in paths]
    return [
        name if last.count(name) == 1 and name not in reserved else path.replace(".", "_")
        for path, name in zip(paths, last, strict=True)
    ]


def label(value: Any) -> Any:
    """A short name of an axis value: its own label, or "l_4", "pseudo_huber(0.1)", "loss.delta + weights", 0.5."""
    if isinstance(value, Mapping):
        if value.get("label") is not None:
            return str(value["label"])
        numbers = [label(v) for key, v in value.items() if key != "kind" and v is not None]
        kind = str(value.get("kind", ""))
        if kind == "lp" and len(numbers) == 1:
            return f"l_{_short(numbers[0])}"
        return f"{kind}({', '.join(map(_short, numbers))})" if numbers else kind
    if isinstance(value, list | tuple):
        if value and all(isinstance(entry, str) for entry in value):
            return " + ".join(value)
        return "[" + ", ".join(_short(label(v)) for v in value) + "]"
    return value


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _program(configuration: Configuration) -> str:
    """What decides the compiled program: shapes, kind of loss and its static numbers, options of the flow."""
    data, loss = configuration.data, configuration.loss
    key = configuration.model_dump(mode="json", include={"network", "flow", "compute", "seeds"})
    key["loss"] = [loss.kind, *(getattr(loss, name) for name in loss.changes_program)]
    if isinstance(data, FileData):
        key["samples"] = data.path
    else:
        key["samples"] = data.samples or data.inputs.model_dump(mode="json")
    return json.dumps(key, sort_keys=True)


def architecture(configuration: Configuration) -> Architecture:
    """The network of a configuration; raises lcnn_flow.ArchitectureError."""
    network = configuration.network
    return Architecture(network.input_shape, network.kernel_sizes, network.strides, network.channels)


def stored_bytes(configuration: Configuration) -> int:
    """Size of the results of one cell, uncompressed."""
    arch = architecture(configuration)
    taps = _size(arch.end_to_end_filter_shape)
    flow = 24 + 3 * taps + 2 * arch.num_parameters
    if configuration.flow.times is not None:
        flow += (configuration.flow.times.count + 1) * (4 + taps + arch.num_parameters + 2 * arch.depth)
    return configuration.seeds * flow * _FLOAT


def check_plan(sweep: Sweep) -> list[Fault]:
    """Faults that only whole cells show: names and sizes that do not fit, and runs that no machine could hold."""
    if named_alike := [fault for axis in sweep.axes for fault in _name_faults(axis)]:
        return named_alike
    cells = 1
    for axis in sweep.axes:
        cells *= len(axis.values)
    if cells > _MAX_CELLS:
        return [Fault("sweep", f"the axes make {cells} cells; at most {_MAX_CELLS} are allowed")]
    found: dict[Fault, Cell] = {}
    total, largest = 0, 0
    for cell in sweep.cells:
        try:
            arch = architecture(cell.configuration)
        except ArchitectureError as error:
            found.setdefault(Fault("network", str(error)), cell)
            continue
        for fault in _filter_faults(cell, arch) + _tolerance_faults(cell.configuration):
            found.setdefault(fault, cell)
        total += stored_bytes(cell.configuration)
        largest = max(largest, _working_bytes(cell.configuration, arch))
    where = {fault: f" (first in the cell {cell.name})" if sweep.axes else "" for fault, cell in found.items()}
    faults = [Fault(f.path, f"{f.message}{where[f]}") for f in found]
    limit = physical_memory() // 2
    if total > limit:
        faults.append(
            Fault(
                "seeds",
                f"{cells} cells of {sweep.configuration.seeds} seeds would need {_gib(total)} for their "
                f"results, and this "
                f"machine can hold {_gib(limit)}; lower seeds, flow.times.count or the number of cells",
            )
        )
    if largest > limit:
        faults.append(
            Fault(
                "data.samples",
                f"data and patches would need {_gib(largest)} and this machine can hold {_gib(limit)}; "
                "lower data.samples or network.input_shape",
            )
        )
    return faults


def _name_faults(axis: Axis) -> Iterator[Fault]:
    """Values of one axis that results could not tell apart by name."""
    firsts: dict[Any, int] = {}
    for number, name in enumerate(axis.labels):
        if (first := firsts.setdefault(name, number)) < number:
            remedy = "give each its own label" if axis.path == "data" else "write them as different values"
            message = f"called {_shown(name)}, as is {axis.path}[{first}]; {remedy}"
            yield Fault(f"sweep.{axis.path}[{number}]", message)


def _shown(name: Any) -> str:
    return f'"{name}"' if isinstance(name, str) else str(name)


def _filter_faults(cell: Cell, arch: Architecture) -> list[Fault]:
    """Lists of filters in the configuration must have the network's shapes."""
    configuration, faults = cell.configuration, []
    filters = {"initializer.filters": getattr(configuration.initializer, "filters", None)}
    if isinstance(configuration.data, SyntheticData):
        filters["data.targets.filters"] = getattr(configuration.data.targets, "filters", None)
        values = getattr(configuration.data.targets, "values", None)
        if values is not None and len(values) != _size(arch.end_to_end_filter_shape):
            needed = _size(arch.end_to_end_filter_shape)
            faults.append(Fault("data.targets.values", f"{len(values)} numbers; the end-to-end filter has {needed}"))
    needed = [_size(shape) for shape in arch.layer_shapes]
    for path, given in filters.items():
        if given is not None and [len(f) for f in given] != needed:
            faults.append(Fault(path, f"filters of lengths {[len(f) for f in given]}; the network has {needed}"))
    norms = getattr(configuration.initializer, "norms", None)
    if norms is not None and len(norms) != arch.depth:
        faults.append(Fault("initializer.norms", f"{len(norms)} norms; the network has {arch.depth} layers"))
    return faults


def _tolerance_faults(configuration: Configuration) -> list[Fault]:
    """Tolerances that the precision cannot resolve, by the rules of `lcnn_flow.gradient_flow`."""
    precision, flow, faults = configuration.compute.precision, configuration.flow, []
    rounding = 2.0**-52 if precision == "float64" else 2.0**-23
    limits = {"rtol": 10 * rounding} | ({} if flow.gradient_atol else {"gradient_rtol": 100 * rounding})
    for name, least in limits.items():
        value = getattr(flow, name)
        if value is not None and value < least:
            faults.append(Fault(f"flow.{name}", f"found {value}; {precision} resolves no less than {least:.1e}"))
    return faults


def _working_bytes(configuration: Configuration, arch: Architecture) -> int:
    data = configuration.data
    samples = (data.samples or 1) if isinstance(data, SyntheticData) else 1
    rows = samples * arch.outputs_per_sample
    patches = samples * _size(arch.sample_shape) + rows * _size(arch.end_to_end_kernel_size)
    return 2 * _FLOAT * patches


def _size(shape: Sequence[int]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


def physical_memory() -> int:
    """Bytes of physical memory, or 8 GiB where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 * 2**30


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"
