"""Censuses in stored results: which are complete, and how many starts ended in certified spurious minima."""

import numpy as np
import xarray as xr

from experiments.results.layout import computed_cells
from experiments.results.variables import CENSUSES, NOT_COMPUTED
from lcnn_flow.landscape import Share

__all__ = [
    "certified_share",
    "certified_spurious",
    "is_complete",
    "of_census",
    "real_points",
    "status_of_census",
    "with_census",
]

_NEEDED = ("verdict", "pull", "curvature")
_FAMILIES = ("census_", "point_", "final_w")


def with_census(dataset: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    """Names and results of the computed cells for which a census was made, whatever its status."""
    if "census_status" not in dataset:
        return []
    return [(name, cell) for name, _, cell in computed_cells(of_census(dataset)) if status_of_census(cell)]


def of_census(dataset: xr.Dataset) -> xr.Dataset:
    """The results with only the variables that are read here: selecting cells of few variables is much faster."""
    names = [name for name in map(str, dataset.data_vars) if name in _NEEDED or name.startswith(_FAMILIES)]
    return dataset[names]


def status_of_census(cell: xr.Dataset) -> str:
    """The status of the census, a value of `CENSUSES`; empty if there is no census."""
    code = int(cell["census_status"]) if "census_status" in cell else NOT_COMPUTED
    return CENSUSES.get(code, "")


def is_complete(cell: xr.Dataset) -> bool:
    """Whether it is proved that the stored critical points are all that the cell has."""
    return status_of_census(cell) == CENSUSES[0]


def real_points(cell: xr.Dataset) -> int:
    """Number of the real critical points of a cell; they come first, and the rest of the array is NaN."""
    return int(np.isfinite(cell["point_risk"].values).sum()) if "point_risk" in cell else 0


def certified_spurious(cell: xr.Dataset) -> np.ndarray:
    """Numbers of the minima that are certified to be above the global one; none unless the census is complete."""
    if not is_complete(cell):
        return np.zeros(0, int)
    return np.flatnonzero((cell["point_index"].values == 0) & (cell["point_is_lowest"].values == 0))


def certified_share(cell: xr.Dataset) -> Share | None:
    """Share of the starts of a cell that ended in certified spurious minima; None unless the census is complete."""
    if not is_complete(cell):
        return None
    total = int((cell["verdict"].values != NOT_COMPUTED).sum())
    return Share(int(np.isin(cell["census_point"].values, certified_spurious(cell)).sum()), total)
