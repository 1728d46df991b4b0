"""Figures of identification: the learned end-to-end filter against the true one, and its error.

Filters of the layers are determined only up to factors between them, so only end-to-end filters are compared.
"""

import math

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

import lcnn_flow as lf
from experiments.figures.series import MOST_CELLS, Series, cells, facets, left_out, panels, quantiles, shown_of
from experiments.figures.style import Drawing, Look, canvas, columns_for, grid, look, plain_ticks, pretty
from experiments.results.layout import sweep_axes

__all__ = [
    "EXACT",
    "MOST_ROWS",
    "draw_filters",
    "error_text",
    "filter_error",
    "filter_frame",
    "filters",
    "learned_filter",
    "relative_error",
]

EXACT = 1e-12
"""Relative errors of a filter below this are rounding."""
MOST_ROWS = 6
"""Cells whose filters are drawn beside the fit."""


def learned_filter(dataset: xr.Dataset) -> xr.DataArray:
    """End-to-end filter at the limit, or the last integrated one where no limit was found."""
    return dataset["limit_filter"].where(dataset["limit_filter"].notnull(), dataset["final_filter"])


def relative_error(dataset: xr.Dataset) -> xr.DataArray:
    """|v - v_true| / |v_true| of every flow."""
    truth = dataset["true_filter"]  # NaN fills up cells with fewer taps, and those that were not computed
    difference = (learned_filter(dataset) - truth).where(truth.notnull(), 0.0)
    size = (truth**2).sum("tap") ** 0.5
    return (difference**2).sum("tap", skipna=False) ** 0.5 / size.where(size > 0)


def filters(dataset: xr.Dataset, before: str | None = None) -> Drawing | None:
    """Learned filters and the true one if it is known, one panel per cell; `before` is the name of earlier filters."""
    if "limit_filter" not in dataset:
        return None
    shown = [one for one in cells(dataset) if bool(learned_filter(one.data).notnull().any())]
    if not shown:
        return None
    known = "true_filter" in dataset
    if "shown_target" in dataset and not known and len(shown) <= MOST_ROWS:
        return None  # the figure of the fit shows them
    frame = filter_frame(shown)
    columns = {2: 4 if len(shown) > 6 else 2, 4: 4}.get(len({one.look for one in shown}), columns_for(len(shown)))
    height = 2.2 if len(shown) <= 2 * columns else 1.8
    figure, axes = grid(
        len(shown), height, xlabel="tap", ylabel="end-to-end filter $v$ (target / input)", alone=3, columns=columns
    )
    for panel, one in zip(axes, shown, strict=True):
        panel.set_ylim(*frame)
        draw_filters(panel, one, before)
        panel.set_title(one.label)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
    spread = (
        "median over the seeds, bars from the 10% to the 90% quantile. Where seeds end in different critical points "
        "the bars are long"
    )
    if not known:
        caption = f"End-to-end filters that were learned: {spread}. What made the targets is not known."
        return Drawing("filters", "Learned filter", figure, caption + left_out(dataset, MOST_CELLS))
    return Drawing(
        "filters",
        "Learned and true filter",
        figure,
        f"End-to-end filter that made the targets (grey bars) and the learned ones: {spread}; arrows with a number "
        "stand for taps beyond the frame. Noise in the targets is expected to move them away from the bars, and gross "
        "errors the more so, the faster the loss grows." + left_out(dataset, MOST_CELLS),
    )


def draw_filters(panel: Axes, cell: Series, before: str | None = None) -> None:
    """Draws the filters of one cell within the limits of the panel."""
    if "true_filter" in cell.data:
        truth = cell.data["true_filter"].values
        panel.bar(np.arange(truth.size), truth, width=0.75, color="#d4d4d4", label="true filter")
    if before is not None:
        _marks(panel, cell.data[before], cell.look, "before: median, 10% to 90%", shift=-0.17, hollow=True)
    name = "learned" if before is None else "after"
    _marks(panel, learned_filter(cell.data), cell.look, f"{name}: median, 10% to 90%", shift=0.17 * bool(before))
    panel.axhline(0, color="#555555", linewidth=0.8)
    panel.grid(axis="x", visible=False)
    panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def filter_frame(shown: list[Series]) -> tuple[float, float]:
    """Limits of an axis that shows the true filters of these cells, or the learned ones, with room for others."""
    known = all("true_filter" in one.data for one in shown)
    filters = [one.data["true_filter"].values if known else quantiles(learned_filter(one.data))[1] for one in shown]
    values = np.concatenate([v[np.isfinite(v)] for v in filters])
    reach = float(np.max(np.abs(values), initial=0.0)) or 1.0
    return (-1.6 if np.min(values, initial=0.0) < -0.2 * reach else -0.8) * reach, 1.6 * reach


def _marks(panel: Axes, values: xr.DataArray, look: Look, label: str, shift: float = 0, hollow: bool = False) -> None:
    """Draws median and 10% to 90% of filters over the seeds, within the limits of the panel."""
    lf.plot.filter_marks(panel, values.transpose("seed", "tap").values, look, label, shift, hollow)


def filter_error(dataset: xr.Dataset) -> Drawing | None:
    """Relative error of the end-to-end filter, every flow a dot; against a numeric axis if there is one."""
    if "true_filter" not in dataset:
        return None
    numeric = [axis for axis in sweep_axes(dataset) if dataset[axis].dtype.kind == "f"]
    if not numeric and not any(True for _ in panels(dataset)):
        return None
    figure, missing = _against_numbers(dataset, numeric[0]) if numeric else (_by_category(dataset), left_out(dataset))
    return Drawing(
        "filter_error",
        "Error of the filter",
        figure,
        "Relative error ‖v − v*‖ / ‖v*‖ of the learned end-to-end filter: median over the seeds, bars from the "
        "10% to the 90% quantile" + ("" if numeric else "; dots are single flows") + ". The error has two sources: "
        "the noise in the targets, which the loss weighs, and spurious minima, which the seed picks. Errors below "
        f"{EXACT:g} are rounding, and drawn there as “exact”." + missing,
    )


def error_text(error: float) -> str:
    """A relative error with three digits, or "exact" if it is at the rounding error."""
    return "exact" if error <= EXACT else f"{error:.3g}"


def _by_category(dataset: xr.Dataset) -> Figure:
    shown = list(panels(dataset))
    count = max(len(series) for _, series in shown)
    figure, axes = canvas(len(shown), 1, 0.9 + 0.42 * count, sharex=True)
    for panel, (title, series) in zip(axes, shown, strict=True):
        for row, one in enumerate(series):
            errors = relative_error(one.data).clip(min=EXACT)
            spread = np.random.default_rng(0).uniform(-0.2, 0.2, errors.size)
            panel.plot(
                errors.values, row + spread, ".", color=one.look.colour, alpha=0.3, markersize=4, markeredgewidth=0
            )
            low, middle, high = quantiles(errors)
            panel.errorbar(
                middle,
                row,
                xerr=[[middle - low], [high - middle]],
                fmt=one.look.marker,
                color=one.look.colour,
                markersize=7,
                markeredgecolor="white",
                capsize=4,
                zorder=3,
            )
            panel.text(
                1.01, row, error_text(float(middle)), transform=panel.get_yaxis_transform(), va="center", fontsize=8.5
            )
        panel.set_yticks(range(len(series)), [one.label for one in series])
        panel.set_ylim(len(series) - 0.5, -0.5)
        panel.set(xscale="log", title=title)
        panel.text(1.01, 1.0, "median", transform=panel.transAxes, va="bottom", fontsize=8.5, color="#555555")
        panel.grid(axis="y", visible=False)
        plain_ticks(panel.xaxis)
    axes[-1].set_xlabel("relative error of the end-to-end filter")
    return figure


def _against_numbers(dataset: xr.Dataset, axis: str) -> tuple[Figure, str]:
    """The figure, and a sentence about the cells that it does not show."""
    others = [name for name in sweep_axes(dataset) if name != axis]
    parts = list(facets(dataset, others[1:]))
    label = "relative error of the end-to-end filter"
    figure, axes = grid(len(parts), 2.7, pretty(axis), label, alone=3.4, columns=min(2, len(parts)))
    for panel, (title, rest) in zip(axes, parts, strict=True):
        for i in range(rest.sizes[others[0]] if others else 1):
            part = rest.isel({others[0]: i}) if others else rest
            low, middle, high = quantiles(relative_error(part).clip(min=EXACT))
            style = look(i)
            # Side by side, so that bars do not hide each other.
            aside = 1.03 ** (i - 0.5 * len(others))
            panel.errorbar(
                part[axis].values * aside,
                middle,
                yerr=np.stack([middle - low, high - middle]),
                marker=style.marker,
                linestyle=style.line,
                color=style.colour,
                capsize=3,
                label=pretty(part[others[0]].values.item()) if others else None,
            )
        positive = bool((rest[axis] > 0).all())
        panel.set(xscale="log" if positive else "linear", yscale="log", title=title)
        plain_ticks(panel.yaxis)
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: error_text(value / (1 + 1e-9))))
        if rest.sizes[axis] <= 8:
            panel.set_xticks(rest[axis].values, [f"{value:g}" for value in rest[axis].values], minor=False)
            panel.xaxis.set_minor_locator(NullLocator())
    if others:
        handles = axes[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside right upper", title=pretty(others[0]))
    shown = len(parts) * math.prod(dataset.sizes[name] for name in (axis, *others[:1]))
    return figure, shown_of(dataset, shown)
