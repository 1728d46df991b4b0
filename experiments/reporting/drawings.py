"""Which figures a report has: those of its module, then those that its results call for, whatever the module."""

from collections.abc import Iterator

import xarray as xr

from experiments.figures import Drawing, fit, house_style, sharpness_over_time
from experiments.modules import Module
from experiments.schema import FileData
from experiments.sweeps.sweep import sweep_of_toml

__all__ = ["drawings"]


def drawings(dataset: xr.Dataset, module: Module) -> list[Drawing]:
    """The figures in the order of the report, without those that have nothing to show."""
    with house_style():
        return list(_drawn(dataset, module))


def _drawn(dataset: xr.Dataset, module: Module) -> Iterator[Drawing]:
    own_data = (fit,) if _is_from_files(dataset) else ()
    asked = (sharpness_over_time,) if "sharpness" in dataset else ()
    for draw in dict.fromkeys((*module.figures, *own_data, *asked)):
        if (drawing := draw(dataset)) is not None:
            yield drawing


def _is_from_files(dataset: xr.Dataset) -> bool:
    """Whether some cell has data of the user's own."""
    cells = sweep_of_toml(dataset.attrs["configuration"]).cells
    return any(isinstance(cell.configuration.data, FileData) for cell in cells)
