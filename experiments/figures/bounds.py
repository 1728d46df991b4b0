"""A-priori bounds on the filters against the largest norms that flows reached."""

from typing import Any

import numpy as np
import xarray as xr

from experiments.figures.series import left_out, panels
from experiments.figures.style import Drawing, grid, plain_ticks

__all__ = ["bound_figure", "tightness"]


def tightness(dataset: xr.Dataset) -> np.ndarray:
    """Bound divided by the largest norm along the flow, for every filter; NaN if either is unknown or not finite."""
    if "norm_bound" not in dataset or "squared_norms" not in dataset:
        return np.zeros(0)
    ratio = dataset["norm_bound"] / dataset["squared_norms"].max("time") ** 0.5
    return ratio.where(np.isfinite(ratio)).values.ravel()


def bound_figure(dataset: xr.Dataset) -> Drawing | None:
    """Bounds against largest norms, both logarithmic, one dot per flow and layer; above the diagonal bounds hold."""
    shown = list(panels(dataset))
    if not shown or not np.isfinite(tightness(dataset)).any():
        return None
    figure, axes = grid(len(shown), 2.5, "largest norm along the flow (filter)", "a-priori bound (filter)", alone=3.8)
    handles = {}
    for panel, (title, series) in zip(axes, shown, strict=True):
        for one in series:
            reached = one.data["squared_norms"].max("time").values.ravel() ** 0.5
            bound = one.data["norm_bound"].values.ravel()
            here = np.isfinite(bound) & np.isfinite(reached)
            style: dict[str, Any] = {
                "marker": one.look.marker,
                "color": one.look.colour,
                "alpha": 0.5,
            }
            (dots,) = panel.plot(reached[here], bound[here], linestyle="", markersize=3.5, label=one.label, **style)
            handles.setdefault(one.label, dots)
        panel.set(xscale="log", yscale="log", title=title)
    low = min(panel.get_xlim()[0] for panel in axes)
    high = max(panel.get_xlim()[1] for panel in axes)
    for panel in axes:
        (diagonal,) = panel.plot([low, high], [low, high], color="#333333", linewidth=0.9, zorder=1, label="equal")
        handles["equal"] = diagonal
    plain_ticks(axes[0].xaxis)  # shared by all panels
    figure.legend(handles=list(handles.values()), loc="outside upper right", ncols=4)
    return Drawing(
        "bounds",
        "Bounds and what was reached",
        figure,
        "A dot per flow and layer: the bound that initial filters and data give before the flow "
        "is computed, against the largest norm that the filter then has. The theory expects every "
        "dot above the diagonal." + left_out(dataset),
    )
