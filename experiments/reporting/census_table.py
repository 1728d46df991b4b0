"""The table of all critical points of every cell, with the share of the starts that ended at each."""

import numpy as np
import xarray as xr

from experiments.reporting.tables import Table, table_by_cell
from experiments.results.census import certified_spurious, is_complete, real_points, status_of_census
from experiments.results.variables import NOT_COMPUTED
from lcnn_flow.landscape import wilson_interval

__all__ = ["census_table"]

_MOST_POINTS = 12
"""Of a cell: the lowest ones, and those at which flows ended."""
_MOST_ROWS = 80
_HEADER = ("point", "kind", "index", "risk", "above the lowest", "rank dv/dw", "starts", "share (95%)")


def census_table(dataset: xr.Dataset) -> Table | None:
    """Critical points by risk; None where none were counted."""
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

    table = table_by_cell(dataset, _HEADER, cells, "")
    rows = table.rows[:_MOST_ROWS]
    left = sum(hidden) + len(table.rows) - len(rows)
    note = (
        "All critical points with v ≠ 0 up to rescaling of the layers, the lowest risk first; exchanged filters make "
        "different ones. The index is the certified number of negative curvatures. “Global” and “spurious” are said "
        "where it is certified that there are no other critical points; elsewhere the census may lack some. The share "
        "of the starts estimates the measure of the basin."
    )
    note += f" {left} more points are in results.zarr." if left else ""
    return Table(table.header, rows, table.labels, note, grouped=True)


def _rows(cell: xr.Dataset) -> tuple[list[tuple[str, ...]], int]:
    """Rows of one cell, and how many points have none."""
    count, ends = real_points(cell), cell["census_point"].values
    seeds = int((cell["verdict"].values != NOT_COMPUTED).sum())
    risk, index = cell["point_risk"].values[:count], cell["point_index"].values[:count]
    starts = np.asarray([int((ends == number).sum()) for number in range(count)])
    order = sorted(range(count), key=lambda number: (starts[number] == 0, index[number] != 0, number))
    shown, rows = sorted(order[:_MOST_POINTS]), []
    for number in shown:
        low, high = wilson_interval(int(starts[number]), seeds)
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
                f"{starts[number] / seeds:.0%} ({low:.0%}–{high:.0%})",
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
