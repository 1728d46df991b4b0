"""Figures of descents beside the flow: distance from it, and the sharpness along both with the edge 2/eta."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from experiments.figures.series import Series, cells, left_out, panels, quantiles
from experiments.figures.style import TIME, Drawing, grid, plain_ticks
from experiments.results.rates import rate_of

__all__ = ["distance", "sharpness"]

_MOST_PANELS = 6
_LEAST_DISTANCE = 1e-12


def distance(dataset: xr.Dataset) -> Drawing | None:
    """Distance from the flow against time: a line per cell, medians over the seeds."""
    if "distance_to_flow" not in dataset:
        return None
    facets = list(panels(dataset))
    if not facets:
        return None
    figure, axes = grid(len(facets), 2.8, TIME, r"$\|w_k - w(k\eta)\|$ (filter)", alone=3.4)
    for panel, (title, series) in zip(axes, facets, strict=True):
        for one in series:
            _band(panel, one, "distance_to_flow", one.look.colour, one.look.line, one.label)
        panel.set(xscale="log", yscale="log", title=title)
        panel.xaxis.set_minor_locator(NullLocator())
    if any(one.label for one in facets[0][1]):
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper")
    return Drawing(
        "distance",
        "Distance from the flow",
        figure,
        "Euclidean distance of the descent from the gradient flow of the same start, at the same times: median over "
        "the seeds, band from the 10% to the 90% quantile. For gradient descent the theory expects lines that lie "
        "apart by the ratio of the learning rates." + left_out(dataset),
    )


def sharpness(dataset: xr.Dataset) -> Drawing | None:
    """Sharpness along descent and flow against time, a panel per cell, with the edge 2/eta."""
    if "sharpness" not in dataset or "flow_sharpness" not in dataset:
        return None
    shown = cells(dataset, _MOST_PANELS)
    if not shown:
        return None
    figure, axes = grid(len(shown), 2.7, TIME, "sharpness (risk / filter²)", alone=3.4)
    for panel, one in zip(axes, shown, strict=True):
        edge = 2 / rate_of(one.data)
        for name, colour, line in (("flow_sharpness", "#777777", "--"), ("sharpness", one.look.colour, "-")):
            values = one.data[name].values
            for row in values:
                panel.plot(one.data["learning_time"].values, row, color=colour, linestyle=line, linewidth=0.7)
        panel.plot([], [], color="#777777", linestyle="--", label="flow")
        panel.plot([], [], color="#333333", linestyle="-", label="descent (coloured)")
        panel.axhline(edge, color="#000000", linewidth=1.2, linestyle=":", label="edge 2/η of plain gradient descent")
        panel.set(yscale="log", title=one.label)
        panel.set_xscale("symlog", linthresh=max(float(one.data["learning_time"].values[1]), 1e-12))
        panel.xaxis.set_minor_locator(NullLocator())
        plain_ticks(panel.yaxis)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
    return Drawing(
        "sharpness",
        "Sharpness and the edge of stability",
        figure,
        "Largest eigenvalue of the Hessian along every descent (coloured) and along the gradient flow from the same "
        "start (grey, dashed), with the edge 2/η (dotted). The theory expects plain gradient descent to come to rest "
        "nowhere above the edge, and to follow the flow where it stays far below it; other optimisers have other "
        "edges." + left_out(dataset, _MOST_PANELS),
    )


def _band(panel: Axes, one: Series, name: str, colour: str, line: object, label: str) -> None:
    """Median and 10% to 90% of a quantity against the time of the flow."""
    times = one.data["learning_time"].values
    values = one.data[name].clip(min=_LEAST_DISTANCE)
    seen = times > 0
    low, middle, high = (np.asarray(q)[seen] for q in quantiles(values))
    panel.fill_between(times[seen], low, high, color=colour, alpha=0.16, linewidth=0)
    panel.plot(times[seen], middle, color=colour, linestyle=line, label=label)
