"""Which series a figure shows: the first axis of the sweep makes the series, a second one the panels.

Further axes are shown at their first value, and the caption says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr

from experiments.figures.style import Look, look, pretty
from experiments.results.layout import sweep_axes
from experiments.results.variables import NOT_COMPUTED

__all__ = ["Series", "first_panel", "held_fixed", "panels", "quantiles"]

_MOST_SERIES = 8
_MOST_PANELS = 4


@dataclass(frozen=True)
class Series:
    """One line of a figure: its label, its look, and the flows of its cell."""

    label: str
    look: Look
    data: xr.Dataset


def panels(dataset: xr.Dataset) -> Iterator[tuple[str, list[Series]]]:
    """Title and series of every panel; cells that were not computed are left out."""
    series, facets, dataset = _roles(dataset)
    for facet in _evenly(dataset.sizes[facets], _MOST_PANELS) if facets else [None]:
        part = dataset if facet is None else dataset.isel({facets: facet})
        title = "" if facet is None else f"{pretty(facets)} = {pretty(part[facets].values.item())}"
        yield title, list(_series(part, series))


def first_panel(dataset: xr.Dataset) -> tuple[list[Series], str]:
    """Series of the first panel that has any, and the end of its caption: what it shows, and what is held fixed."""
    title, series = next((panel for panel in panels(dataset) if panel[1]), ("", []))
    return series, (f" Shown for {title}." if title else "") + held_fixed(dataset)


def _series(dataset: xr.Dataset, axis: str | None) -> Iterator[Series]:
    if axis is None:
        if _computed(dataset):
            yield Series("", look(0), dataset)
        return
    for i in _evenly(dataset.sizes[axis], _MOST_SERIES):
        cell = dataset.isel({axis: i})
        value = cell[axis].values.item()
        if _computed(cell):
            name = f"{pretty(axis)} = {pretty(value)}" if isinstance(value, float) else pretty(value)
            yield Series(name, look(i), cell)


def held_fixed(dataset: xr.Dataset) -> str:
    """Sentence for a caption: which axes are shown at their first value only, or in part."""
    axes = sweep_axes(dataset)
    notes = [f"{pretty(a)} = {pretty(dataset[a].values[0])}" for a in axes[2:]]
    text = f" Shown for {', '.join(notes)}." if notes else ""
    if any(dataset.sizes[a] > most for a, most in zip(axes, (_MOST_SERIES, _MOST_PANELS), strict=False)):
        text += " Of long axes, evenly spaced values are shown."
    return text


def quantiles(values: xr.DataArray, over: str = "seed") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """10%, 50% and 90% quantiles; NaN where fewer than half of the flows have a value."""
    enough = values.notnull().mean(over) >= 0.5
    q = values.where(enough, 0.0).quantile([0.1, 0.5, 0.9], dim=over, skipna=True).where(enough)
    return q[0].values, q[1].values, q[2].values


def _roles(dataset: xr.Dataset) -> tuple[str | None, str | None, xr.Dataset]:
    axes = sweep_axes(dataset)
    dataset = dataset.isel(dict.fromkeys(axes[2:], 0))
    return (axes[0] if axes else None), (axes[1] if len(axes) > 1 else None), dataset


def _evenly(count: int, most: int) -> list[int]:
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))})


def _computed(dataset: xr.Dataset) -> bool:
    return bool((dataset["verdict"] != NOT_COMPUTED).any())
