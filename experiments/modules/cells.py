"""Cells of stored results beside the configurations that made them, for claims that compare with a formula."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from experiments.results.layout import named_cells
from experiments.results.variables import NOT_COMPUTED
from experiments.schema import Configuration
from experiments.sweeps.sweep import sweep_of_toml

__all__ = ["COMMON_ROOT_GAP", "configured_cells", "is_optimal"]

COMMON_ROOT_GAP = 1e-6
"""Gap up to which two filters share a root."""
_OPTIMAL = 1e-9
"""Gap to the least risk over all filters, relative to the initial risk, up to which a limit is optimal."""


def configured_cells(dataset: xr.Dataset) -> Iterator[tuple[str, xr.Dataset, Configuration]]:
    """Name, with those of the axes, results and configuration of every cell in which a flow was computed."""
    made = sweep_of_toml(dataset.attrs["configuration"]).cells
    for (_, index), cell in zip(named_cells(dataset), made, strict=True):
        results = dataset.isel(index)
        if bool((results["verdict"] != NOT_COMPUTED).any()):
            yield cell.name, results, cell.configuration


def is_optimal(cell: xr.Dataset) -> np.ndarray:
    """Which flows of a cell have a limit of the least risk over all filters; (seeds,)."""
    start = cell["final_risk"].values + cell["final_energy"].values
    return np.nan_to_num(cell["optimality_gap"].values, nan=np.inf) <= _OPTIMAL * np.nan_to_num(start)
