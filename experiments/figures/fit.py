"""How well the learned filter explains the data: predictions, targets and residuals."""

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from experiments.figures.filters import MOST_ROWS, draw_filters, filter_frame, learned_filter
from experiments.figures.series import cells, left_out
from experiments.figures.style import Drawing, canvas
from experiments.results.limits import lowest_flow

__all__ = ["Fit", "fit", "fit_of"]


_MOST_VECTORS = 200
"""Points that are drawn one by one in vector graphics; more are one picture in them."""


class Fit(NamedTuple):
    """Targets, predictions and weights of the stored part of the data of a cell, all (points,)."""

    target: np.ndarray
    predicted: np.ndarray
    weight: np.ndarray

    @property
    def residual(self) -> np.ndarray:
        """Prediction minus target, as in the risk."""
        return self.predicted - self.target


def fit_of(cell: xr.Dataset) -> Fit | None:
    """The fit of the lowest limit of a cell; None if the data are not stored or no flow was computed."""
    seed = lowest_flow(cell)
    if "shown_target" not in cell or seed is None:
        return None
    learned = np.nan_to_num(learned_filter(cell.isel(seed=seed)).values)  # cells with fewer taps are filled up
    known = np.isfinite(cell["shown_target"].values)
    if not known.any():  # a network without an end-to-end filter
        return None
    patches = np.nan_to_num(cell["shown_patches"].values[known])
    return Fit(cell["shown_target"].values[known], patches @ learned, cell["shown_weight"].values[known])


def fit(dataset: xr.Dataset) -> Drawing | None:
    """Learned filters, and targets and residuals of the lowest limit against its predictions, a row per cell."""
    if "shown_target" not in dataset:
        return None
    rows = [(one, found) for one in cells(dataset, MOST_ROWS) if (found := fit_of(one.data)) is not None]
    if not rows:
        return None
    figure, axes = canvas(len(rows), 3, 2.7)
    frame = filter_frame([one for one, _ in rows])
    handles: dict[str, Any] = {}
    for number, (one, found) in enumerate(rows):
        learned, measured, residuals = axes[3 * number : 3 * number + 3]
        learned.set_ylim(*frame)
        draw_filters(learned, one)
        learned.set(title=one.label, xlabel="tap", ylabel="filter $v$ (target / input)")
        _fit(measured, residuals, one.look.colour, found)
        for panel in (learned, measured):
            handles |= {label: handle for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, loc="outside upper right", ncols=4)
    points = max(len(found.target) for _, found in rows)
    return Drawing(
        "fit",
        "Learned filter, fit and residuals",
        figure,
        "Left: learned end-to-end filters, median over the seeds, bars from the 10% to the 90% quantile. Middle and "
        f"right: targets, and predictions less targets, against the predictions of the lowest limit, at {points} "
        "outputs (evenly spaced where there are more), in the units of the data. A network that can express what made "
        "the targets is expected to leave residuals without trend, as large as the noise; points far from the rest are "
        "gross errors. The scale of residuals is logarithmic away from zero." + left_out(dataset, MOST_ROWS),
    )


def _fit(measured: Axes, residuals: Axes, colour: str, found: Fit) -> None:
    """Targets and residuals against predictions."""
    style: dict[str, Any] = {"linestyle": "", "marker": ".", "markersize": 5, "alpha": 0.6, "markeredgewidth": 0}
    style["rasterized"] = len(found.target) > _MOST_VECTORS
    used = found.weight > 0
    for here, shade, label in ((used, colour, "data"), (~used, "#999999", "data of weight zero")):
        if here.any():
            measured.plot(found.predicted[here], found.target[here], color=shade, label=label, **style)
            residuals.plot(found.predicted[here], found.residual[here], color=shade, **style)
    ends = [float(np.min(found.predicted)), float(np.max(found.predicted))]
    measured.plot(ends, ends, color="#333333", linewidth=0.8, zorder=1, label="target = prediction")
    residuals.axhline(0, color="#333333", linewidth=0.8, zorder=1)
    typical = float(np.median(np.abs(found.residual[used]))) if used.any() else 0.0
    if typical > 0:
        residuals.set_yscale("symlog", linthresh=10 ** np.ceil(np.log10(3 * typical)))
        residuals.margins(y=0.1)
    residuals.set_title(f"median |residual| {typical:.2g}")
    measured.set(xlabel="prediction", ylabel="target")
    residuals.set(xlabel="prediction", ylabel="residual")
    for panel in (measured, residuals):
        panel.xaxis.set_major_locator(MaxNLocator(4))
