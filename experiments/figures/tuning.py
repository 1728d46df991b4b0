"""Figures of the tuning of loss parameters and sample weights by the derivative of the limit."""

import dataclasses
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.ticker import MaxNLocator

from experiments.figures.filters import filters
from experiments.figures.series import MOST_CELLS, cells, left_out, panels
from experiments.figures.style import Drawing, canvas, grid, plain_ticks

__all__ = ["before_and_after", "objective", "tuned_weights"]

_NUMBERS = {
    "tuned_delta": r"loss parameter $\delta$ (units of targets)",
    "tuned_a": r"loss parameter $a$ (1 / units of targets)",
    "tuned_b": r"loss parameter $b$",
}


def objective(dataset: xr.Dataset) -> Drawing | None:
    """Squared error of the limit, and the tuned loss parameters, against the iteration."""
    if "objective" not in dataset:
        return None
    shown = list(panels(dataset))
    if not shown:
        return None
    moved = [name for name in _NUMBERS if name in dataset]
    figure, axes = canvas(len(shown), 1 + len(moved), 3.1 if len(shown) == 1 else 2.5)
    labels = [r"squared error $\|v - v^*\|^2 / \|v^*\|^2$", *(_NUMBERS[name] for name in moved)]
    rows = [(facet, name, label) for facet in shown for name, label in zip(["objective", *moved], labels, strict=True)]
    for panel, ((title, series), name, label) in zip(axes, rows, strict=True):
        for one in series:
            values = one.data[name].values
            if np.isfinite(values).any():
                style: dict[str, Any] = {
                    "color": one.look.colour,
                    "linestyle": one.look.line,
                    "marker": one.look.marker,
                }
                panel.plot(values, markevery=[-1], label=one.label, **style)
        positive = name != "tuned_b"
        panel.set(xlabel="iteration of Adam", ylabel=label, yscale="log" if positive else "linear")
        panel.set_title(title if name == "objective" else "")
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if positive and name != "objective":
            plain_ticks(panel.yaxis)
    if any(one.label for _, series in shown for one in series):
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
    lost = int((dataset.sizes["seed"] - dataset["sound_flows"]).max())
    seeds = (
        f"At most {lost} of {dataset.sizes['seed']} seeds had to be left out" if lost else "No seed had to be left out"
    )
    return Drawing(
        "objective",
        "Tuning",
        figure,
        "Squared relative error of the end-to-end filter at the limit, mean over the seeds whose limit has a "
        "derivative, against the iteration of Adam, and the loss parameter on its way. The theory expects the limit "
        "to be differentiable, so that the error can be made to fall; one loss parameter alone is expected to level "
        f"off, weights to bring the error close to zero. {seeds}." + left_out(dataset),
    )


def before_and_after(dataset: xr.Dataset) -> Drawing | None:
    """True filter, and the limits before and after tuning."""
    drawing = filters(dataset, before="untuned_filter")
    return drawing and dataclasses.replace(
        drawing,
        title="Filter before and after tuning",
        caption="End-to-end filter that made the targets (grey bars), and the limits before tuning (hollow) and after: "
        "median over the seeds, bars from the 10% to the 90% quantile. Tuning is expected to bring the limit towards "
        "the grey bars, all the way where it may choose the weights." + left_out(dataset, MOST_CELLS),
    )


def tuned_weights(dataset: xr.Dataset) -> Drawing | None:
    """Tuned weight of every sample against the size of the error in its targets."""
    if "weight" not in dataset:
        return None
    series = [one for one in cells(dataset) if float(abs(one.data["weight"] - 1).max()) > 0]
    if not series:
        return None
    xlabel = "error of a sample: rms residual of the true filter (units of targets)"
    figure, axes = grid(len(series), 2.5, xlabel=xlabel, ylabel="tuned weight (mean 1)", alone=3.1)
    for panel, one in zip(axes, series, strict=True):
        panel.axhline(1, color="#555555", linewidth=1, linestyle="--", label="equal weights")
        panel.plot(
            one.data["gross_error"].values,
            one.data["weight"].values,
            one.look.marker,
            color=one.look.colour,
            alpha=0.75,
            markersize=5,
            markeredgewidth=0,
            clip_on=False,
            label="one sample",
        )
        panel.set(xscale="log", title=one.label)
        panel.set_ylim(bottom=0)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return Drawing(
        "tuned_weights",
        "Weights of the samples",
        figure,
        "Tuned weight of every sample against the error in its targets, measured by the residual of the true filter "
        "and so independent of the loss. Samples hit by outliers stand on the right. The oracle is expected to take "
        "weight from them on the whole; it need not take it from each, because errors that cancel do no harm."
        + left_out(dataset, MOST_CELLS),
    )
