"""Matches the cells of two runs by the labels of their axes, and their flows by their seeds."""

from collections.abc import Sequence
from typing import Any

import xarray as xr

from experiments.results.layout import sweep_axes

__all__ = ["cell_name", "pair_up"]

_MOST_SHOWN = 6


def pair_up(stores: Sequence[xr.Dataset], names: Sequence[str]) -> tuple[list[xr.Dataset], list[str]]:
    """The common part of two runs, in the order of the first, and sentences about what only one of them has.

    Returns:
        Both runs with the same cells and seeds, and dimensions in the order axes, seed, others; an empty list if their
        axes differ. Then a sentence per axis with values that only one run has.
    """
    keys = [{axis: sorted(_coordinates(store, axis)) for axis in sweep_axes(store)} for store in stores]
    if keys[0] != keys[1]:
        words = [", ".join(sweep_axes(store)) or "none" for store in stores]
        return [], [f"axes: {words[0]} in {names[0]}, {words[1]} in {names[1]}"]
    rows, unmatched = [*sweep_axes(stores[0]), "seed"], []
    for row in rows:
        places = [_places(store, row) for store in stores]
        common = [label for label in places[0] if label in places[1]]
        for which, name in enumerate(names):
            alone = [label[0] for label in places[which] if label not in places[1 - which]]
            unmatched += [f"{row} = {_shortened(alone)}: only in {name}"] * bool(alone)
        if any(list(known) != common for known in places):  # selecting by index is slower than reading the whole
            chosen = [[known[label] for label in common] for known in places]
            stores = [store.isel({row: here}) for store, here in zip(stores, chosen, strict=True)]
    return [store.transpose(*rows, ...) for store in stores], unmatched


def cell_name(store: xr.Dataset, index: Sequence[int]) -> str:
    """Name of the cell at an index along the axes, such as "l_4, noise = 0.1"."""
    words = []
    for axis, place in zip(sweep_axes(store), index, strict=True):
        for name, values in _coordinates(store, axis).items():
            if not isinstance(values[place], str):
                words.append(f"{name} = {values[place]:g}")
            elif name == axis:
                words.append(values[place])
    return ", ".join(words) or "the only cell"


def _coordinates(store: xr.Dataset, axis: str) -> dict[str, list[Any]]:
    """Values of an axis, and of the keys that vary together with it."""
    names = [axis, *(str(name) for name, c in store.coords.items() if c.dims == (axis,) and name != axis)]
    return {name: store[name].values.tolist() for name in names}


def _places(store: xr.Dataset, row: str) -> dict[tuple[Any, ...], int]:
    """Index of every value of an axis; the values of keys that vary together with it are part of the value."""
    found = _coordinates(store, row)
    columns = [found[name] for name in (row, *sorted(set(found) - {row}))]
    return {values: place for place, values in enumerate(zip(*columns, strict=True))}


def _shortened(values: Sequence[Any]) -> str:
    if len(values) <= _MOST_SHOWN:
        return ", ".join(map(str, values))
    return f"{values[0]}, {values[1]}, ..., {values[-1]} ({len(values)} of them)"
