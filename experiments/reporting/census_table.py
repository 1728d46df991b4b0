"""Tables of censuses: all critical points of every cell, and their mean numbers over data of one kind."""

import numpy as np
import xarray as xr

from experiments.reporting.tables import Table, share_label, shortened, table_by_cell
from experiments.results.census import certified_spurious, is_complete, real_points, status_of_census
from experiments.results.data_groups import (
    DataGroup,
    axes_of_groups,
    data_groups,
    mean_points,
    starts_in_spurious,
    with_spurious,
)
from experiments.results.variables import NOT_COMPUTED
from experiments.sweeps.labels import value_text

__all__ = ["census_table", "landscape_table"]

_MOST_POINTS = 12
"""Of a cell: the lowest ones, and those at which flows ended."""
_MOST_ROWS = 80
_MOST_INDEX = 3
_HEADER = ("point", "kind", "index", "risk", "above the lowest", "rank dv/dw", "starts", "share (95%)")


def census_table(dataset: xr.Dataset) -> Table | None:
    """Critical points of every cell by risk; None if no census was made."""
    if "census_status" not in dataset:
        return None
    hidden: list[int] = []

    def cells(cell: xr.Dataset) -> list[tuple[str, ...]]:
        if not real_points(cell):
            status = status_of_census(cell).replace("_", " ") or "not counted"
            return [("–", f"census {status}", *["–"] * (len(_HEADER) - 2))]
        rows, left = _rows(cell)
        hidden.append(left)
        return rows

    note = (
        "All critical points with v ≠ 0 up to rescaling of the layers, the lowest risk first; exchanged filters make "
        "different ones. The index is the certified number of negative curvatures. “Global” and “spurious” are said "
        "where it is certified that there are no other critical points; elsewhere the census may lack some. The share "
        "of the starts estimates the measure of the basin."
    )
    table = table_by_cell(dataset, _HEADER, cells, note)
    return shortened(table, _MOST_ROWS, hidden, "points")


def _rows(cell: xr.Dataset) -> tuple[list[tuple[str, ...]], int]:
    """Rows of one cell, and the number of its points that are left out."""
    count, ends = real_points(cell), cell["census_point"].values
    seeds = int((cell["verdict"].values != NOT_COMPUTED).sum())
    risk, index = cell["point_risk"].values[:count], cell["point_index"].values[:count]
    starts = np.asarray([int((ends == number).sum()) for number in range(count)])
    order = sorted(range(count), key=lambda number: (starts[number] == 0, index[number] != 0, number))
    shown, rows = sorted(order[:_MOST_POINTS]), []
    for number in shown:
        known = np.isfinite(index[number])
        rows.append(
            (
                str(number),
                _kind(cell, number, float(index[number])),
                str(int(index[number])) if known else "?",
                f"{risk[number]:.6g}",
                "0" if number == 0 else f"{risk[number] - risk[0]:.3g}",
                f"{cell['point_jacobian_rank'].values[number]:.0f}",
                str(starts[number]),
                share_label(int(starts[number]), seeds),
            )
        )
    return rows, count - len(shown)


def _kind(cell: xr.Dataset, number: int, index: float) -> str:
    if not np.isfinite(index):
        return "index not certified"
    if index > 0:
        return "strict saddle"
    if not is_complete(cell):
        return "minimum"
    return "spurious minimum" if number in certified_spurious(cell) else "global minimum"


def landscape_table(dataset: xr.Dataset) -> Table | None:
    """Spurious minima and mean numbers of critical points by kind of data; None without several data sets of a kind."""
    groups = data_groups(dataset) if "census_status" in dataset else []
    known = [(group, count) for group in groups if (count := with_spurious(group)[1])]
    if not any(count > 1 for _, count in known):
        return None
    axes = axes_of_groups(dataset)
    header = (*axes, "data sets", "with spurious minima (95%)", "starts in them (95%)", "minima", "spurious minima")
    header += tuple(f"index {index}" for index in range(1, _MOST_INDEX + 1))
    rows = []
    for group, _ in known:
        labels = [value_text(dataset[axis].values[i]) for axis, i in zip(axes, group.index, strict=True)]
        rows.append((*labels, *_over_data(group)))
    note = (
        "Over data sets that differ in their seed alone, those with a complete census. Last columns: mean numbers of "
        "minima, of certified spurious ones, and of saddles by index; exchanged filters make different ones. The "
        "interval of the share of the starts takes into account that starts on the same data have the same landscape."
    )
    return Table(header, tuple(rows), len(axes), note)


def _over_data(group: DataGroup) -> list[str]:
    """Entries for one kind of data, for which at least one census is complete."""
    having, total = with_spurious(group)
    found = starts_in_spurious(group)
    assert found is not None
    mean, least, most = found
    counts = np.zeros(_MOST_INDEX + 1)
    means = mean_points(group)[: counts.size]
    counts[: means.size] = means
    spurious = np.mean([len(certified_spurious(cell)) for cell in group.cells if is_complete(cell)])
    return [
        str(total),
        share_label(having, total),
        f"{mean:.1%} ({least:.1%}–{most:.1%})",
        *(f"{number:.2f}" for number in (counts[0], spurious, *counts[1:])),
    ]
