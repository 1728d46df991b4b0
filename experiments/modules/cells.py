"""Cells of stored results together with their configurations, for claims that compare results with a formula."""

from collections.abc import Callable, Iterator

import numpy as np
import xarray as xr

from experiments.claims import Claim, cell_by_cell
from experiments.results.layout import named_cells
from experiments.results.variables import NOT_COMPUTED
from experiments.schema import Configuration
from experiments.sweeps.sweep import sweep_of_toml

__all__ = ["COMMON_ROOT_GAP", "Finding", "claim_by_cell", "configured_cells", "is_optimal"]

COMMON_ROOT_GAP = 1e-6
"""Largest gap at which two filters count as sharing a root."""
_OPTIMAL = 1e-9
"""Largest gap to the least risk over all filters, relative to the initial risk, at which a limit counts as optimal."""

Finding = tuple[str, bool] | None
"""What was observed in a cell, and whether it agrees with a claim; None where the claim does not concern the cell."""


def configured_cells(dataset: xr.Dataset) -> Iterator[tuple[str, xr.Dataset, Configuration]]:
    """Name, results and configuration of every cell in which a flow was computed."""
    made = sweep_of_toml(dataset.attrs["configuration"]).cells
    for (_, index), cell in zip(named_cells(dataset), made, strict=True):
        results = dataset.isel(index)
        if bool((results["verdict"] != NOT_COMPUTED).any()):
            yield cell.name, results, cell.configuration


def claim_by_cell(
    dataset: xr.Dataset, statement: str, expected: str, finding: Callable[[xr.Dataset, Configuration], Finding]
) -> Claim | None:
    """A claim that is judged in every computed cell; None if it concerns none of them.

    Args:
        dataset: the results.
        statement: the claim.
        expected: what must be observed for the claim to agree.
        finding: judges one cell, given its results and its configuration.
    """
    findings = [(name, finding(cell, configuration)) for name, cell, configuration in configured_cells(dataset)]
    rows = [(name, found[0], "agrees" if found[1] else "disagrees") for name, found in findings if found is not None]
    return cell_by_cell(statement, expected, rows)


def is_optimal(cell: xr.Dataset) -> np.ndarray:
    """Which flows of a cell have a limit with the least risk over all filters; (seeds,)."""
    start = cell["final_risk"].values + cell["final_energy"].values
    return np.nan_to_num(cell["optimality_gap"].values, nan=np.inf) <= _OPTIMAL * np.nan_to_num(start)
