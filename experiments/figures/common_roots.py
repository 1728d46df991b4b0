"""How far the limits are from a root that two layers share: a column of dots per value of the first axis."""

import numpy as np
import xarray as xr

from experiments.figures.series import left_out, panels
from experiments.figures.style import Drawing, grid, pretty
from experiments.results.layout import sweep_axes

__all__ = ["common_roots"]

_FLOOR = 1e-17


def common_roots(dataset: xr.Dataset) -> Drawing | None:
    """Common-root gaps of all limits, next to each other by cell, on a logarithmic scale."""
    shown = list(panels(dataset))
    if not shown or not np.isfinite(dataset["common_root_gap"].values).any():
        return None
    across = next(iter(sweep_axes(dataset)), None)
    figure, axes = grid(len(shown), 2.6, pretty(across or ""), "common-root gap", alone=3.6)
    for panel, (title, series) in zip(axes, shown, strict=True):
        for place, one in enumerate(series):
            gap = one.data["common_root_gap"].values
            gap = np.sort(np.clip(gap[np.isfinite(gap)], _FLOOR, None))
            aside = place + np.linspace(-0.35, 0.35, gap.size)
            panel.plot(aside, gap, linestyle="", marker=one.look.marker, markersize=3, color=one.look.colour, alpha=0.7)
        panel.set(yscale="log", title=title, ylim=(_FLOOR / 2, 2))
        values = [pretty(one.data[across].values.item()) if across else "" for one in series]
        panel.set_xticks(range(len(series)), values, rotation=60 if len(series) > 3 else 0)
        panel.grid(axis="x", visible=False)
        panel.axhspan(_FLOOR / 2, 1e-7, color="#f1f1f1", zorder=0)
    return Drawing(
        "common_roots",
        "Distance of the limits from a common root",
        figure,
        "Smallest singular value of the Sylvester matrices of pairs of layers at every limit, in order of size: 0, up "
        "to rounding (grey), exactly if two layers have a root in common. At stride 1 the theory expects that of "
        "every limit but the least-squares filter; with all strides above 1 of none." + left_out(dataset),
    )
