"""Cells and compile groups of a sweep, known before anything is computed.

A cell is one point of the product of all axes, and has `seeds` flows. A compile group consists of the cells that share
a compiled program, because they differ only in numbers that are arguments of the program (noise, std, delta).
"""

import itertools
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import tomli_w
from pydantic import ValidationError

from experiments.faults import ConfigurationError, Fault, faults_of
from experiments.schema import Configuration, FileData, SyntheticData
from experiments.schema.dynamics import Descent
from experiments.sweeps.axes import Axis, axes_toml, named_axes
from experiments.sweeps.written_axes import written_axes

__all__ = ["Cell", "Sweep", "put", "sweep_of_toml"]

_Key = Any  # a tuple of frozen models, which can be hashed; type checkers do not know that


@dataclass(frozen=True, slots=True)
class Cell:
    """One point of the product: its number, its index along every axis, and its configuration."""

    number: int
    index: tuple[int, ...]
    name: str
    configuration: Configuration


@dataclass(frozen=True)
class Sweep:
    """A configuration with its axes.

    Attributes:
        base: the configuration with the first value of every axis, as TOML tables.
        axes: the axes, in the order in which they number the cells.
    """

    base: Mapping[str, Any]
    axes: tuple[Axis, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values along every axis."""
        return tuple(len(axis.values) for axis in self.axes)

    @cached_property
    def configuration(self) -> Configuration:
        """The configuration of the first cell; number of seeds, times and module are the same in all cells."""
        return Configuration.model_validate(self.base)

    @property
    def noun(self) -> str:
        """What is computed: "flow" or "descent"."""
        return "flow" if self.configuration.descent is None else "descent"

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """All cells; the last axis varies fastest.

        Raises:
            ConfigurationError: values of several axes cannot be combined.
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

    @cached_property
    def groups(self) -> tuple[tuple[Cell, ...], ...]:
        """Compile groups: the cells that share a compiled program, in the order of their first cell."""
        programs: dict[_Key, list[Cell]] = {}
        for cell in self.cells:
            programs.setdefault(_program(cell.configuration), []).append(cell)
        return tuple(map(tuple, programs.values()))

    def toml(self) -> str:
        """The resolved configuration with its axes, as a text that can be run again and gives the same cells."""
        return tomli_w.dumps(self.base) + axes_toml(self.axes)


class _Part:
    """A section of the configuration, or a number outside all sections, checked once per value and shared by cells."""

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
        """The section in the cell with that index along the axes; raises pydantic.ValidationError."""
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
    """A copy of a table in which a dotted key is set; tables that are missing are created."""
    first, _, rest = key.partition(".")
    if rest:
        inner = table.get(first)
        value = put(inner if isinstance(inner, Mapping) else {}, rest, value)
    return {**table, first: value}


def sweep_of_toml(text: str) -> Sweep:
    """The sweep from which `Sweep.toml` made a text, without checking it again."""
    base = tomllib.loads(text)
    axes, _ = written_axes(base.pop("sweep", {}))
    return Sweep(base, named_axes(axis.lists for axis in axes))


def _program(configuration: Configuration) -> _Key:
    """What determines the compiled program: shapes, kind of loss and its static numbers, options of the flow."""
    data, loss = configuration.data, configuration.loss
    if isinstance(data, FileData):
        samples: Any = data.model_copy(update={"label": None})
    else:
        samples = data.inputs if isinstance(data, SyntheticData) and data.samples is None else data.samples
    fixed = (loss.kind, *[getattr(loss, name) for name in loss.changes_program])
    dynamics = configuration.dynamics
    if isinstance(dynamics, Descent):  # the numbers of an optimiser are arguments of its program
        dynamics = dynamics.model_copy(update={"optimizer": dynamics.optimizer.kind, "seed": 0})
    shared = (configuration.network, dynamics, configuration.flow, configuration.compute, configuration.seeds)
    return *shared, configuration.analysis.sharpness, fixed, samples
