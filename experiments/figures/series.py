"""Series and panels of a figure: one series per value of the first axis, one panel per combination of the others."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr

import lcnn_flow as lf
from experiments.figures.style import Look, look, pretty
from experiments.results.layout import sweep_axes
from experiments.results.variables import NOT_COMPUTED

__all__ = [
    "MOST_CELLS",
    "Series",
    "cells",
    "evenly_spaced",
    "facets",
    "left_out",
    "panels",
    "quantiles",
    "shown_of",
]

_MOST_SERIES = 8
_MOST_PANELS = 16
MOST_CELLS = 24
"""Cells that a figure with a panel per cell shows, at most."""


@dataclass(frozen=True)
class Series:
    """One line of a figure: its label, its look, and the flows of its cell."""

    label: str
    look: Look
    data: xr.Dataset


def panels(dataset: xr.Dataset, most: int = _MOST_PANELS) -> Iterator[tuple[str, list[Series]]]:
    """Title and series of every panel, at most `most` panels; cells that were not computed are left out."""
    axes = sweep_axes(dataset)
    for title, part in facets(dataset, axes[1:], most):
        found = list(_series(part, axes[0] if axes else None))
        if found:
            yield title, found


def cells(dataset: xr.Dataset, most: int = MOST_CELLS) -> list[Series]:
    """Every cell, at most `most` cells, for figures with one panel per cell; labels name series and panel."""
    return [
        Series("\n".join(filter(None, (one.label, title))), one.look, one.data)
        for title, found in panels(dataset, _panels_of(dataset, most))
        for one in found
    ]


def facets(dataset: xr.Dataset, axes: list[str], most: int = _MOST_PANELS) -> Iterator[tuple[str, xr.Dataset]]:
    """Name and part of the results for every combination of values of `axes`, at most `most` combinations."""
    chosen = _chosen([dataset.sizes[axis] for axis in axes], most)
    for index in np.ndindex(*map(len, chosen)):
        part = dataset.isel({axis: values[i] for axis, values, i in zip(axes, chosen, index, strict=True)})
        yield ", ".join(_named(part, axis, alone=len(axes) == 1) for axis in axes), part


def evenly_spaced(dataset: xr.Dataset, most: int) -> xr.Dataset:
    """The results at evenly spaced values of every axis, in `most` cells at the most."""
    axes = sweep_axes(dataset)
    sizes = [dataset.sizes[axis] for axis in axes]
    if axes:
        sizes[0] = min(sizes[0], _MOST_SERIES)
    counts = [len(values) for values in _chosen(sizes, most)]
    return dataset.isel({a: _evenly(dataset.sizes[a], count) for a, count in zip(axes, counts, strict=True)})


def left_out(dataset: xr.Dataset, most_cells: int | None = None) -> str:
    """A sentence for the caption if `panels`, or at most so many `cells`, do not show the whole sweep."""
    most = _MOST_PANELS if most_cells is None else _panels_of(dataset, most_cells)
    sizes = [dataset.sizes[axis] for axis in sweep_axes(dataset)[1:]]
    return shown_of(dataset, _series_count(dataset) * math.prod(map(len, _chosen(sizes, most))))


def shown_of(dataset: xr.Dataset, shown: int) -> str:
    """A sentence for the caption if not all cells are shown; otherwise empty."""
    total = math.prod(dataset.sizes[axis] for axis in sweep_axes(dataset))
    if shown == total:
        return ""
    return f" Evenly spaced values of long axes: {shown} of {total} cells are shown; all are in the tables."


def quantiles(values: xr.DataArray, over: str = "seed") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """10%, 50% and 90% quantiles; NaN if fewer than half of the flows have a value."""
    return lf.plot.quantiles(values.transpose(over, ...).values)


def _series(dataset: xr.Dataset, axis: str | None) -> Iterator[Series]:
    if axis is None:
        if _computed(dataset):
            yield Series("", look(0), dataset)
        return
    for i in _evenly(dataset.sizes[axis], _MOST_SERIES):
        cell = dataset.isel({axis: i})
        if _computed(cell):
            yield Series(_named(cell, axis, alone=True), look(i), cell)


def _named(cell: xr.Dataset, axis: str, alone: bool) -> str:
    """The value of an axis, with its name before numbers and lists, and before all where it does not stand `alone`."""
    value = cell[axis].values.item()
    if alone and not isinstance(value, float) and not str(value).startswith("["):
        return pretty(value)
    return f"{pretty(axis)} = {pretty(value)}"


def _chosen(sizes: list[int], most: int) -> list[list[int]]:
    """Evenly spaced indices along every axis, of which there are `most` combinations at the most."""
    counts = list(sizes)
    while math.prod(counts) > most:
        longest = max(range(len(counts)), key=lambda i: counts[i])
        counts[longest] -= 1
    return [_evenly(size, count) for size, count in zip(sizes, counts, strict=True)]


def _evenly(count: int, most: int) -> list[int]:
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))})


def _panels_of(dataset: xr.Dataset, most_cells: int) -> int:
    """Panels of series that make at most so many cells."""
    return max(1, most_cells // _series_count(dataset))


def _series_count(dataset: xr.Dataset) -> int:
    """Series in a panel."""
    axes = sweep_axes(dataset)
    return min(_MOST_SERIES, dataset.sizes[axes[0]]) if axes else 1


def _computed(dataset: xr.Dataset) -> bool:
    return bool((dataset["verdict"] != NOT_COMPUTED).any())
