"""Groups of cells that differ only in the seed of their data: many problems of one kind.

The starts on one data set share its landscape and are therefore not independent samples of the kind of problem. The
interval of a share over D data sets is that of Wilson (1927) for the effective number of starts p (1 - p) / (s^2 / D),
but at least D, where s^2 is the variance of the shares of the data sets (E. L. Korn, B. I. Graubard, Survey Methodology
24, 1998, who use the interval of Clopper and Pearson).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from experiments.results.census import certified_share, certified_spurious, is_complete, of_census
from experiments.results.layout import computed_cells, sweep_axes
from experiments.sweeps.labels import value_text
from lcnn_flow.landscape import Share, wilson_interval

__all__ = [
    "DataGroup",
    "axes_of_groups",
    "data_groups",
    "mean_points",
    "share_over_data",
    "starts_in_spurious",
    "with_spurious",
]

_SEED = "data.seed"


@dataclass(frozen=True)
class DataGroup:
    """Cells of one kind of problem; `index` is their index along each of `axes_of_groups`."""

    name: str
    index: tuple[int, ...]
    cells: tuple[xr.Dataset, ...]


def axes_of_groups(dataset: xr.Dataset) -> list[str]:
    """The axes of the sweep without those over `data.seed`."""
    return [axis for axis in sweep_axes(dataset) if dataset[axis].attrs.get("path") != _SEED]


def data_groups(dataset: xr.Dataset) -> list[DataGroup]:
    """All groups with computed cells, in the order of the sweep."""
    axes, kept = sweep_axes(dataset), axes_of_groups(dataset)
    found: dict[tuple[int, ...], list[xr.Dataset]] = {}
    for _, index, cell in computed_cells(of_census(dataset)):
        found.setdefault(tuple(i for axis, i in zip(axes, index, strict=True) if axis in kept), []).append(cell)
    return [
        DataGroup(
            ", ".join(value_text(dataset[axis].values[i]) for axis, i in zip(kept, index, strict=True)) or "all data",
            index,
            tuple(cells),
        )
        for index, cells in sorted(found.items())
    ]


def with_spurious(group: DataGroup) -> tuple[int, int]:
    """Numbers of data sets of a group: with a certified spurious minimum, and with a complete census."""
    complete = [cell for cell in group.cells if is_complete(cell)]
    return sum(len(certified_spurious(cell)) > 0 for cell in complete), len(complete)


def starts_in_spurious(group: DataGroup) -> tuple[float, float, float] | None:
    """`share_over_data` of the starts in certified spurious minima; None without a complete census."""
    shares = [found for cell in group.cells if (found := certified_share(cell)) is not None]
    return share_over_data(shares) if shares else None


def mean_points(group: DataGroup) -> np.ndarray:
    """Mean numbers of the points of index 0, 1, ... over the complete cells; empty without any."""
    found = [cell["point_index"].values for cell in group.cells if is_complete(cell)]
    most = int(max((np.nanmax(index, initial=0) for index in found), default=-1))
    return np.asarray([np.mean([(index == wanted).sum() for index in found]) for wanted in range(most + 1)])


def share_over_data(shares: Sequence[Share]) -> tuple[float, float, float]:
    """Mean of the shares of several data sets, and both ends of its 95% interval.

    Args:
        shares: one share of independent starts per data set; at least one.
    """
    values = np.asarray([one.value for one in shares])
    mean, starts = float(values.mean()), sum(one.total for one in shares)
    effective = float(starts)
    if len(values) > 1:
        between, within = float(values.var(ddof=1)) / len(values), mean * (1 - mean)
        told = within / between if between > 0 else (starts if within > 0 else 0)  # all or none: one per data set
        effective = min(max(float(told), float(len(values))), float(starts))
    return (mean, *wilson_interval(mean * effective, effective))
