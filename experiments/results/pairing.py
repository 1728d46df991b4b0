"""Cells and flows that two runs have in common: cells by the labels of their axes, flows by their seeds."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from experiments.results.layout import sweep_axes
from experiments.results.slabs import read, slabs
from experiments.results.variables import NOT_COMPUTED

__all__ = ["Pair", "pair_up"]

_SLAB_BYTES = 32 * 2**20
_ITEM = 8  # bytes of a number
_MOST_SHOWN = 6


@dataclass(frozen=True)
class Pair:
    """Two stores, and where in each of them the common cells and seeds lie, in the order of the first."""

    stores: tuple[xr.Dataset, xr.Dataset]
    places: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]
    """By dimension, axes and then seed: the index of every common value in the first, and in the second."""

    @property
    def rows(self) -> tuple[str, ...]:
        """Axes of the sweep, then seed."""
        return tuple(self.places[0])

    @cached_property
    def computed(self) -> tuple[np.ndarray, np.ndarray]:
        """Whether a flow was computed in the first, and in the second; by axes and seed."""
        shape = tuple(len(place) for place in self.places[0].values())
        found = np.zeros(shape, bool), np.zeros(shape, bool)
        for part, *values in self.slabs("verdict"):
            for which in range(2):
                found[which][part] = values[which] != NOT_COMPUTED
        return found

    @cached_property
    def both(self) -> np.ndarray:
        """Whether a flow was computed in both."""
        return self.computed[0] & self.computed[1]

    def rows_of(self, name: str) -> tuple[str, ...]:
        """Those of `rows` that a variable has: without seed it belongs to a cell as a whole."""
        return tuple(row for row in self.rows if row in self.stores[0][name].dims)

    def entry_dims(self, name: str) -> tuple[str, ...]:
        """The other dimensions of a variable, such as time and tap."""
        return tuple(str(d) for d in self.stores[0][name].dims if d not in self.rows)

    def slabs(self, name: str) -> Iterator[tuple[tuple[slice, ...], np.ndarray, np.ndarray]]:
        """A variable in the common cells and seeds, slab by slab: which rows, and its values in the first and second.

        Dimensions are `rows_of`, then `entry_dims`. Where those differ in length, as for networks of different depth,
        the shorter is filled up with NaN.
        """
        rows, rest = self.rows_of(name), self.entry_dims(name)
        shape = [len(self.places[0][row]) for row in rows]
        lengths = tuple(max(store.sizes[d] for store in self.stores) for d in rest)
        for part in slabs(shape, _SLAB_BYTES // (_ITEM * max(1, math.prod(lengths)))):
            values = []
            for store, places in zip(self.stores, self.places, strict=True):
                where = {row: _slice(places[row][rows_here]) for row, rows_here in zip(rows, part, strict=True)}
                values.append(_fill_up(read(store[name].transpose(*rows, *rest), where), lengths))
            yield part, *values

    def cell_name(self, index: tuple[int, ...]) -> str:
        """Name of a common cell for people, such as "l_4, noise = 0.1"."""
        words = []
        for axis, i in zip(self.rows[:-1], index, strict=True):
            for name, values in _coordinates(self.stores[0], axis).items():
                value = values[self.places[0][axis][i]]
                if not isinstance(value, str):
                    words.append(f"{name} = {value:g}")
                elif name == axis:
                    words.append(value)
        return ", ".join(words) or "the only cell"

    def name_of(self, name: str, index: tuple[int, ...], entry: tuple[int, ...]) -> str:
        """Where a value stands: cell, seed if the variable has one, and its place along other dimensions."""
        words = [self.cell_name(index[: len(self.rows) - 1])]
        if "seed" in self.rows_of(name):
            words.append(f"seed {self.stores[0]['seed'].values[self.places[0]['seed'][index[-1]]]}")
        for dim, place in zip(self.entry_dims(name), entry, strict=True):
            words.append(f"time {self.stores[0]['time'].values[place]:g}" if dim == "time" else f"{dim} {place}")
        return ", ".join(words)


def pair_up(stores: tuple[xr.Dataset, xr.Dataset], names: tuple[str, str]) -> tuple[Pair | None, list[str]]:
    """What two runs have in common, and in words what only one of them has; no pair if their axes are not the same."""
    axes = sweep_axes(stores[0])
    keys = [{axis: sorted(_coordinates(store, axis)) for axis in sweep_axes(store)} for store in stores]
    if keys[0] != keys[1]:
        words = [", ".join(sweep_axes(store)) or "none" for store in stores]
        return None, [f"axes: {words[0]} in {names[0]}, {words[1]} in {names[1]}"]
    places: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] = {}, {}
    unmatched = []
    for axis in axes:
        known = [_labels(store, axis) for store in stores]
        common = [label for label in known[0] if label in known[1]]
        for which, other in ((0, 1), (1, 0)):
            places[which][axis] = np.array([known[which][label] for label in common], int)
            alone = [label[0] for label in known[which] if label not in known[other]]
            unmatched += [f"{axis} = {_shortened(alone)}: only in {names[which]}"] * bool(alone)
    seeds = [store["seed"].values for store in stores]
    _, places[0]["seed"], places[1]["seed"] = np.intersect1d(*seeds, assume_unique=True, return_indices=True)
    for which, other in ((0, 1), (1, 0)):
        alone = np.setdiff1d(seeds[which], seeds[other], assume_unique=True)
        unmatched += [f"seed = {_shortened(alone)}: only in {names[which]}"] * bool(len(alone))
    return Pair(stores, places), unmatched


def _coordinates(store: xr.Dataset, axis: str) -> dict[str, list[Any]]:
    """Values of an axis, and of what varies together with it."""
    names = [axis, *(str(name) for name, c in store.coords.items() if c.dims == (axis,) and name != axis)]
    return {name: store[name].values.tolist() for name in names}


def _labels(store: xr.Dataset, row: str) -> dict[tuple[Any, ...], int]:
    """Place of every value of an axis; what varies together with it is part of the value."""
    found = _coordinates(store, row)
    columns = [found[name] for name in (row, *sorted(set(found) - {row}))]
    return {values: place for place, values in enumerate(zip(*columns, strict=True))}


def _shortened(values: Sequence[Any] | np.ndarray) -> str:
    if len(values) <= _MOST_SHOWN:
        return ", ".join(map(str, values))
    return f"{values[0]}, {values[1]}, ..., {values[-1]} ({len(values)} of them)"


def _slice(places: np.ndarray) -> slice | np.ndarray:
    """The same places as a slice, where they follow each other."""
    if len(places) and np.array_equal(places, np.arange(places[0], places[0] + len(places))):
        return slice(int(places[0]), int(places[-1]) + 1)
    return places


def _fill_up(values: np.ndarray, lengths: tuple[int, ...]) -> np.ndarray:
    """Lengthens the last dimensions with NaN."""
    leading = values.ndim - len(lengths)
    missing = [(0, 0)] * leading + [(0, n - old) for n, old in zip(lengths, values.shape[leading:], strict=True)]
    return np.pad(values, missing, constant_values=np.nan) if any(n for _, n in missing) else values
