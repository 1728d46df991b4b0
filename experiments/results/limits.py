"""The flow with the lowest limit, which represents a cell in figures and answers."""

import numpy as np
import xarray as xr

from lcnn_flow.critical import Kind

__all__ = ["lowest_flow"]


def lowest_flow(cell: xr.Dataset) -> int | None:
    """Seed of the minimum with the lowest risk or, without minima, of the lowest final risk; None without any risk."""
    minimum = np.where(cell["kind"].values == Kind.MINIMUM, cell["limit_risk"].values, np.nan)
    for risk in (minimum, cell["final_risk"].values):
        if np.isfinite(risk).any():
            return int(np.nanargmin(risk))
    return None
