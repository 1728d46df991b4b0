"""What stored results say of the censuses of their cells: which are complete, and who ended in spurious minima."""

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
    """Names and results of the computed cells whose critical points were counted, whatever came of it."""
    if "census_status" not in dataset:
        return []
    return [(name, cell) for name, _, cell in computed_cells(of_census(dataset)) if status_of_census(cell)]


def of_census(dataset: xr.Dataset) -> xr.Dataset:
    """The results without what is not read here: cells of few variables are cut out in a fraction of the time."""
    names = [name for name in map(str, dataset.data_vars) if name in _NEEDED or name.startswith(_FAMILIES)]
    return dataset[names]


def status_of_census(cell: xr.Dataset) -> str:
    """A word of `CENSUSES`; empty where there is no census."""
    code = int(cell["census_status"]) if "census_status" in cell else NOT_COMPUTED
    return CENSUSES.get(code, "")


def is_complete(cell: xr.Dataset) -> bool:
    """Whether it is proved that the cell has no other critical points than those stored."""
    return status_of_census(cell) == CENSUSES[0]


def real_points(cell: xr.Dataset) -> int:
    """Number of the real critical points of a cell, which come first; other cells may have more."""
    return int(np.isfinite(cell["point_risk"].values).sum()) if "point_risk" in cell else 0


def certified_spurious(cell: xr.Dataset) -> np.ndarray:
    """Numbers of the minima that are certified to lie above the global one; none unless the census is complete."""
    if not is_complete(cell):
        return np.zeros(0, int)
    return np.flatnonzero((cell["point_index"].values == 0) & (cell["point_is_lowest"].values == 0))


def certified_share(cell: xr.Dataset) -> Share | None:
    """Starts of a cell that ended in certified spurious minima; None unless the census is complete."""
    if not is_complete(cell):
        return None
    total = int((cell["verdict"].values != NOT_COMPUTED).sum())
    return Share(int(np.isin(cell["census_point"].values, certified_spurious(cell)).sum()), total)
