"""Change of the balance of neighbouring layers along stored trajectories, cell by cell.

|w_l|^2 - p |w_{l+1}|^2 is conserved by flows of networks without biases whose activation is positively homogeneous of
degree p (p = 1: linear, relu). For other activations p = 1 is used.
"""

from typing import Any

import numpy as np
import xarray as xr

from experiments.networks import architecture
from experiments.results.layout import named_cells
from experiments.sweeps.sweep import sweep_of_toml

__all__ = ["layer_drift", "networks_of"]


def networks_of(dataset: xr.Dataset) -> list[Any]:
    """The network of every cell, in the order of `named_cells`."""
    return [architecture(cell.configuration) for cell in sweep_of_toml(dataset.attrs["configuration"]).cells]


def layer_drift(dataset: xr.Dataset) -> xr.DataArray:
    """Largest change of the balance over times and layers, relative to the largest squared norm; axes, then seed.

    For trajectories that end early, the maximum is over the part that exists.
    """
    drift = xr.full_like(dataset["verdict"], np.nan, dtype=float)
    for (_, index), network in zip(named_cells(dataset), networks_of(dataset), strict=True):
        squares = dataset["squared_norms"].isel(index).transpose("seed", "time", "layer").values[..., : network.depth]
        degree = 1.0 if network.activation is None else network.activation.degree or 1.0
        balance = squares[..., :-1] - degree * squares[..., 1:]
        moved = np.nan_to_num(np.abs(balance - balance[:, :1])).max(axis=(1, 2))
        drift[index] = moved / np.nan_to_num(squares).max(axis=(1, 2))
    return drift
