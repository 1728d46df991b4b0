"""Learning rates of stored descents, and groups of cells that differ only in the learning rate."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from experiments.results.layout import named_cells, sweep_axes
from experiments.results.variables import NOT_COMPUTED

__all__ = ["RATE", "groups_by_rate", "rate_of", "stable_sharpness"]

RATE = "dynamics.optimizer.learning_rate"


def rate_of(cell: xr.Dataset) -> float:
    """Learning rate of a cell, computed from its times; NaN if nothing was computed."""
    return float(cell["learning_time"].isel(time=1) / cell["time"].isel(time=1))


def stable_sharpness(dataset: xr.Dataset) -> xr.DataArray:
    """2/eta of every cell, the largest sharpness at which a minimum is stable under gradient descent."""
    return 2 * dataset["time"].isel(time=1) / dataset["learning_time"].isel(time=1)


def groups_by_rate(dataset: xr.Dataset) -> Iterator[tuple[str, list[tuple[float, xr.Dataset]]]]:
    """Name and cells, with decreasing learning rates, of every group of cells that differ only in the learning rate."""
    axes = sweep_axes(dataset)
    found: dict[tuple[int, ...], list[tuple[float, xr.Dataset]]] = {}
    names: dict[tuple[int, ...], str] = {}
    for _, index in named_cells(dataset):
        cell = dataset.isel(index)
        if bool((cell["verdict"] == NOT_COMPUTED).all()):
            continue
        rest = {axis: i for axis, i in index.items() if dataset[axis].attrs.get("path") != RATE}
        key = tuple(rest.values())
        names[key] = ", ".join(str(dataset[axis].values[i]) for axis, i in rest.items()) or "all descents"
        found.setdefault(key, []).append((rate_of(cell), cell))
    assert axes or len(found) <= 1
    for key, cells in found.items():
        known = [pair for pair in cells if np.isfinite(pair[0])]
        yield names[key], sorted(known, key=lambda pair: -pair[0])
