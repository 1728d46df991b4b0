"""Shares as heat maps: the first axis of the sweep down, the second across, a panel for every value of the others."""

from collections.abc import Callable

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from experiments.figures.series import facets
from experiments.figures.style import Drawing, grid, pretty
from experiments.results.layout import sweep_axes
from lcnn_flow.landscape import wilson_interval

__all__ = ["heat_map"]

_COLOURS = LinearSegmentedColormap.from_list("share", ["#f4f7fa", "#9fc5e0", "#0072B2", "#04314f"])
_MOST_PANELS = 9
_DARK = 0.45  # share from which numbers are written in white
_MOST_INTERVALS = 7  # columns of a panel for which the intervals are legible

Count = Callable[[xr.Dataset], tuple[int, int]]
"""Of one cell: how many starts, of how many."""


def heat_map(
    dataset: xr.Dataset, name: str, title: str, caption: str, count: Count, marked: Callable[[xr.Dataset], bool]
) -> Drawing | None:
    """Share of the starts in every cell, with its 95% interval of Wilson; `marked` cells get a dotted frame."""
    axes = sweep_axes(dataset)
    if len(axes) < 2:
        return None
    rows, columns = axes[:2]
    shown = list(facets(dataset, axes[2:], _MOST_PANELS))
    figure, panels = grid(
        len(shown), 0.9 + 0.42 * dataset.sizes[rows], pretty(columns), pretty(rows), columns=min(2, len(shown))
    )
    for panel, (words, part) in zip(panels, shown, strict=True):
        for i in range(part.sizes[rows]):
            for j in range(part.sizes[columns]):
                _cell(panel, i, j, part.isel({rows: i, columns: j}), count, marked, part.sizes[columns])
        panel.set(title=words, xlim=(-0.5, part.sizes[columns] - 0.5), ylim=(part.sizes[rows] - 0.5, -0.5))
        panel.set_xticks(range(part.sizes[columns]), [pretty(v) for v in part[columns].values])
        panel.set_yticks(range(part.sizes[rows]), [pretty(v) for v in part[rows].values])
        panel.tick_params(length=0)
        panel.grid(visible=False)
        for side in panel.spines.values():
            side.set_visible(False)
    return Drawing(name, title, figure, caption)


def _cell(
    panel: Axes,
    row: int,
    column: int,
    cell: xr.Dataset,
    count: Count,
    marked: Callable[[xr.Dataset], bool],
    columns: int,
) -> None:
    seen, total = count(cell)
    if total == 0:
        panel.text(column, row, "–", ha="center", va="center", color="#777777")
        return
    share, (low, high) = seen / total, wilson_interval(seen, total)
    panel.fill_between([column - 0.48, column + 0.48], row - 0.46, row + 0.46, color=_COLOURS(share), linewidth=0)
    interval = f"\n{100 * low:.0f}–{100 * high:.0f}" if columns <= _MOST_INTERVALS else ""
    colour = "white" if share >= _DARK else "#222222"
    panel.text(column, row, f"{100 * share:.0f}%{interval}", ha="center", va="center", color=colour, fontsize=7.5)
    if marked(cell):
        x, y = np.array([-0.44, 0.44, 0.44, -0.44, -0.44]), np.array([-0.42, -0.42, 0.42, 0.42, -0.42])
        panel.plot(column + x, row + y, color=colour, linestyle=":", linewidth=1)
