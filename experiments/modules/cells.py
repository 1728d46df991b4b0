"""Cells of stored results beside the configurations that made them, for claims that compare with a formula."""

from collections.abc import Iterator

import xarray as xr

from experiments.results.layout import named_cells
from experiments.results.variables import NOT_COMPUTED
from experiments.schema import Configuration
from experiments.sweeps.sweep import sweep_of_toml

__all__ = ["configured_cells"]


def configured_cells(dataset: xr.Dataset) -> Iterator[tuple[str, xr.Dataset, Configuration]]:
    """Name, with those of the axes, results and configuration of every cell in which a flow was computed."""
    made = sweep_of_toml(dataset.attrs["configuration"]).cells
    for (_, index), cell in zip(named_cells(dataset), made, strict=True):
        results = dataset.isel(index)
        if bool((results["verdict"] != NOT_COMPUTED).any()):
            yield cell.name, results, cell.configuration
