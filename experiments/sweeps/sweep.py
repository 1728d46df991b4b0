"""Cells and compile groups of a sweep: what a run computes, known before anything is computed.

A cell is one point of the product of all axes; it holds `seeds` flows. Cells that differ only in numbers
which are data of the compiled program (noise, std, delta) share it: they are one group.
"""

import functools
import itertools
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import tomli_w
from pydantic import ValidationError

from experiments.faults import ConfigurationError, Fault, faults_of
from experiments.networks import architecture
from experiments.planning.written_axes import written_axes
from experiments.schema import Configuration, FileData, SyntheticData
from experiments.schema.dynamics import Descent
from experiments.sweeps.axes import Axis, axes_toml, named_axes

__all__ = ["SHOWN_DATA", "Cell", "Sweep", "put", "stored_bytes", "sweep_of_toml"]

_FLOAT = 8  # bytes
SHOWN_DATA = 24_000
"""Numbers of a data file that are stored beside the flows of a cell, at most (unless one patch is longer)."""
_Key = Any  # made of frozen models, which can be hashed; type checkers do not see that


@dataclass(frozen=True, slots=True)
class Cell:
    """One point of the product: its number, its index along every axis, and its configuration."""

    number: int
    index: tuple[int, ...]
    name: str
    configuration: Configuration


@dataclass(frozen=True)
class Sweep:
    """A configuration with its axes; `base` holds the first value of every axis."""

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

    @property
    def noun(self) -> str:
        """ "flow" or "descent": what is run."""
        return "flow" if self.configuration.descent is None else "descent"

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, the last axis varying fastest.

        Raises:
            ConfigurationError: values of several axes do not go together.
        """
        return tuple(self._cells())

    def _cells(self) -> Iterator[Cell]:
        base = self.configuration
        keys = {key.path.partition(".")[0] for axis in self.axes for key in axis.keys}
        parts = [_Part(self, name) for name in sorted(keys)]
        texts = [axis.texts for axis in self.axes]
        for number, index in enumerate(itertools.product(*map(range, self.shape))):
            name = ", ".join([text[i] for text, i in zip(texts, index, strict=True)]) or "single cell"
            try:
                update = {part.name: part.at(index) for part in parts}
            except ValidationError as error:
                where = f"(first in the cell {name})"
                faults = [Fault(f.path, f"{f.message} {where}") for f in faults_of(error, Configuration)]
                raise ConfigurationError("sweep", faults) from None
            yield Cell(number, index, name, base.model_copy(update=update))

    def groups(self) -> list[list[Cell]]:
        """Cells by compiled program, in the order of their first cell."""
        programs: dict[_Key, list[Cell]] = {}
        for cell in self.cells:
            programs.setdefault(_program(cell.configuration), []).append(cell)
        return list(programs.values())

    def toml(self) -> str:
        """The resolved configuration, runnable again, with its axes in their order: that order numbers the cells."""
        return tomli_w.dumps(self.base) + axes_toml(self.axes)


class _Part:
    """A section of the configuration, or a number outside of all, in every cell: checked once, shared between cells."""

    def __init__(self, sweep: Sweep, name: str) -> None:
        self.name = name
        self._sweep = sweep
        self._axes = [
            number
            for number, axis in enumerate(sweep.axes)
            if any(key.path.partition(".")[0] == name for key in axis.keys)
        ]
        self._others = {key: getattr(sweep.configuration, key) for key in sweep.configuration.model_fields_set}
        self._known: dict[tuple[int, ...], Any] = {}

    def at(self, index: tuple[int, ...]) -> Any:
        """The section in the cell of that index; raises pydantic.ValidationError."""
        here = tuple([index[number] for number in self._axes])
        if here not in self._known:
            written = {self.name: self._sweep.base.get(self.name)}
            for number, i in zip(self._axes, here, strict=True):
                for key in self._sweep.axes[number].keys:
                    if key.path.partition(".")[0] == self.name:
                        written = put(written, key.path, key.values[i])
            checked = Configuration.model_validate({**self._others, **written})
            self._known[here] = getattr(checked, self.name)
        return self._known[here]


def put(table: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A table with a dotted key set, tables on its way being made; the given one stays as it is."""
    first, _, rest = key.partition(".")
    if rest:
        inner = table.get(first)
        value = put(inner if isinstance(inner, Mapping) else {}, rest, value)
    return {**table, first: value}


def sweep_of_toml(text: str) -> Sweep:
    """The sweep that wrote `text`, by `Sweep.toml`; nothing is checked again."""
    base = tomllib.loads(text)
    axes, _ = written_axes(base.pop("sweep", {}))
    return Sweep(base, named_axes(axis.lists for axis in axes))


def _program(configuration: Configuration) -> _Key:
    """What decides the compiled program: shapes, kind of loss and its static numbers, options of the flow."""
    data, loss = configuration.data, configuration.loss
    if isinstance(data, FileData):
        samples: _Key = data.model_copy(update={"label": None})
    else:
        samples = data.inputs if isinstance(data, SyntheticData) and data.samples is None else data.samples
    fixed = (loss.kind, *[getattr(loss, name) for name in loss.changes_program])
    dynamics = configuration.dynamics
    if isinstance(dynamics, Descent):  # numbers of an optimiser are arguments of its program
        dynamics = dynamics.model_copy(update={"optimizer": dynamics.optimizer.kind, "seed": 0})
    shared = (configuration.network, dynamics, configuration.flow, configuration.compute, configuration.seeds)
    return *shared, configuration.analysis.sharpness, fixed, samples


def stored_bytes(configuration: Configuration) -> int:
    """Size of the results of one cell, uncompressed."""
    own = SHOWN_DATA * _FLOAT if isinstance(configuration.data, FileData) else 0
    if configuration.analysis.census:
        own += _census_bytes(architecture(configuration))
    return configuration.seeds * _stored_bytes(architecture(configuration), configuration.records) + own


@functools.lru_cache(maxsize=1024)
def _census_bytes(arch: Any) -> int:
    """Size of as many critical points as there may be; 0 for networks that have no census, which is a fault."""
    import lcnn_flow as lf  # here: the status of a run is told without JAX

    if not isinstance(arch, lf.Architecture) or arch.channels is not None or not arch.is_linear:
        return 0
    return lf.critical_count(arch).number * (6 + math.prod(arch.end_to_end_filter_shape)) * _FLOAT


@functools.lru_cache(maxsize=1024)
def _stored_bytes(arch: Any, records: int) -> int:
    """The same of one flow."""
    taps = math.prod(arch.end_to_end_filter_shape)
    numbers = 24 + 3 * taps + 2 * arch.num_parameters
    numbers += records * (8 + taps + arch.num_parameters + 2 * arch.depth)
    return numbers * _FLOAT
