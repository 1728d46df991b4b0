"""Cells that differ in the seed of their data alone, as one group: many problems of one kind.

The starts of one data set share its landscape, so that they tell less of another data set than their number says: the
interval of a share over data sets is that of Wilson (1927) for the effective number of starts p (1 - p) / (s^2 / D),
s^2 being the variance of the shares of D data sets, and no less than D (as E. L. Korn, B. I. Graubard, Survey
Methodology 24, 1998, who take that of Clopper and Pearson).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from experiments.results.census import of_census
from experiments.results.layout import computed_cells, sweep_axes
from lcnn_flow.landscape import Share, wilson_interval

__all__ = ["DataGroup", "axes_of_groups", "data_groups", "share_over_data"]

_SEED = "data.seed"


@dataclass(frozen=True)
class DataGroup:
    """Cells of one kind of problem; `index` has a number for each of `axes_of_groups`."""

    name: str
    index: tuple[int, ...]
    cells: tuple[xr.Dataset, ...]


def axes_of_groups(dataset: xr.Dataset) -> list[str]:
    """The axes of the sweep but those over `data.seed`."""
    return [axis for axis in sweep_axes(dataset) if dataset[axis].attrs.get("path") != _SEED]


def data_groups(dataset: xr.Dataset) -> list[DataGroup]:
    """All groups with computed cells, in the order of the sweep."""
    axes, kept = sweep_axes(dataset), axes_of_groups(dataset)
    found: dict[tuple[int, ...], list[xr.Dataset]] = {}
    for _, index, cell in computed_cells(of_census(dataset)):
        found.setdefault(tuple(i for axis, i in zip(axes, index, strict=True) if axis in kept), []).append(cell)
    return [
        DataGroup(
            ", ".join(_text(dataset[axis].values[i]) for axis, i in zip(kept, index, strict=True)) or "all data",
            index,
            tuple(cells),
        )
        for index, cells in sorted(found.items())
    ]


def share_over_data(shares: Sequence[Share]) -> tuple[float, float, float]:
    """Mean of the shares of several data sets, and its 95% interval.

    Args:
        shares: one per data set, of independent starts; at least one.
    """
    values = np.asarray([one.value for one in shares])
    mean, starts = float(values.mean()), sum(one.total for one in shares)
    effective = float(starts)
    if len(values) > 1:
        between, within = float(values.var(ddof=1)) / len(values), mean * (1 - mean)
        told = within / between if between > 0 else (starts if within > 0 else 0)  # all or none: one per data set
        effective = min(max(float(told), float(len(values))), float(starts))
    return (mean, *wilson_interval(mean * effective, effective))


def _text(value: object) -> str:
    return f"{float(value):g}" if isinstance(value, np.floating) else str(value)
