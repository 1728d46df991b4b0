"""Lojasiewicz exponents of every cell, and those that the theory expects."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.lines import Line2D

from experiments.figures.series import panels
from experiments.figures.style import Drawing, grid

__all__ = ["cell_key", "exponents"]


def exponents(dataset: xr.Dataset, expected: Mapping[tuple[str, ...], float]) -> Drawing | None:
    """A row per value of the first axis, a panel per value of the others; `expected` by `cell_key`."""
    shown = list(panels(dataset))
    if "lojasiewicz_exponent" not in dataset or not shown:
        return None
    rows = list(dict.fromkeys(one.label for _, series in shown for one in series))
    figure, axes = grid(len(shown), 0.9 + 0.3 * len(rows), "Łojasiewicz exponent θ", "", columns=min(2, len(shown)))
    for panel, (title, series) in zip(axes, shown, strict=True):
        for one in series:
            row = rows.index(one.label)
            found = one.data["lojasiewicz_exponent"].values
            found = found[np.isfinite(found)]
            panel.plot(found, np.full(found.size, row), linestyle="", marker="o", color=one.look.colour, alpha=0.5)
            theory = expected.get(cell_key(one.data), np.nan)
            panel.plot([theory, theory], [row - 0.35, row + 0.35], color="#222222", linewidth=1.4, zorder=1)
        panel.set(title=title, xlim=(0.28, 1), ylim=(len(rows) - 0.5, -0.5))
        panel.axvline(0.5, color="#bbbbbb", linestyle="--", linewidth=0.9, zorder=0)
        panel.grid(axis="y", visible=False)
    axes[0].set_yticks(range(len(rows)), rows)
    marks = [
        Line2D([], [], linestyle="", marker="o", color="#777777", alpha=0.6, label="flows that are asymptotic"),
        Line2D([], [], color="#222222", label="theory"),
    ]
    figure.legend(handles=marks, loc="outside upper right", ncols=2)
    return Drawing(
        "exponents",
        "Exponents beside the theory",
        figure,
        "Exponent θ̂ fitted to the late part of every flow that is asymptotic, and the exponent that the theory "
        "expects (bar). Right of the dashed line, ½, convergence is a power of time, left of it the flow ends in "
        "finite time.",
    )


def cell_key(cell: xr.Dataset) -> tuple[str, ...]:
    """The scalar coordinates of a cell, which identify it."""
    return tuple(str(cell[name].values) for name in sorted(map(str, cell.coords)) if cell[name].ndim == 0)
