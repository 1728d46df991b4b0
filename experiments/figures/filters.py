"""Figures of identification: the learned end-to-end filter against the true one, and its error.

Filters of the layers are determined only up to factors between them, so only end-to-end filters are compared.
"""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.figures.series import first_panel, held_fixed, panels, quantiles
from experiments.figures.style import Drawing, Look, canvas, grid, look, plain_ticks, pretty
from experiments.results.layout import sweep_axes

__all__ = ["filter_error", "filters", "learned_filter", "relative_error"]


def learned_filter(dataset: xr.Dataset) -> xr.DataArray:
    """End-to-end filter at the limit, or the last integrated one where no limit was found."""
    return dataset["limit_filter"].where(dataset["limit_filter"].notnull(), dataset["final_filter"])


def relative_error(dataset: xr.Dataset) -> xr.DataArray:
    """|v - v_true| / |v_true| of every flow."""
    difference = learned_filter(dataset) - dataset["true_filter"]
    size = (dataset["true_filter"] ** 2).sum("tap") ** 0.5
    return (difference**2).sum("tap", skipna=False) ** 0.5 / size


def filters(dataset: xr.Dataset, before: str | None = None) -> Drawing | None:
    """Learned filters and, where it is known, the true one, a panel a series; `before` names earlier filters."""
    series, shown = first_panel(dataset)
    if not series:
        return None
    known = "true_filter" in dataset
    figure, axes = grid(len(series), 2.2, xlabel="tap", ylabel="end-to-end filter $v$", alone=3)
    bottom, top = _frame([one.data["true_filter"].values if known else _middle(one.data) for one in series])
    for panel, one in zip(axes, series, strict=True):
        panel.set_ylim(bottom, top)
        if known:
            truth = one.data["true_filter"].values
            panel.bar(np.arange(truth.size), truth, width=0.75, color="#d4d4d4", label="true filter")
        if before is not None:
            _marks(panel, one.data[before], one.look, "before: median, 10% to 90%", shift=-0.17, hollow=True)
        name = "learned" if before is None else "after"
        _marks(panel, learned_filter(one.data), one.look, f"{name}: median, 10% to 90%", shift=0.17 * bool(before))
        panel.axhline(0, color="#555555", linewidth=0.8)
        panel.set_title(one.label)
        panel.grid(axis="x", visible=False)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
    spread = (
        "median over the seeds, bars from the 10% to the 90% quantile. Where seeds end in different critical points "
        "the bars are long"
    )
    if not known:
        caption = f"End-to-end filters that were learned: {spread}. What made the targets is not known."
        return Drawing("filters", "Learned filter", figure, caption + shown)
    return Drawing(
        "filters",
        "Learned and true filter",
        figure,
        f"End-to-end filter that made the targets (grey bars) and the learned ones: {spread}; arrows point to taps "
        "beyond the frame. Losses whose influence is bounded are expected to stay closer to the truth under outliers."
        + shown,
    )


def _frame(filters: list[np.ndarray]) -> tuple[float, float]:
    """Limits of an axis that shows these filters, with room above for others."""
    values = np.concatenate([v[np.isfinite(v)] for v in filters])
    reach = float(np.max(np.abs(values), initial=0.0)) or 1.0
    return (-1.6 if np.min(values, initial=0.0) < -0.2 * reach else -0.8) * reach, 1.6 * reach


def _middle(cell: xr.Dataset) -> np.ndarray:
    return quantiles(learned_filter(cell))[1]


def _marks(panel: Axes, values: xr.DataArray, look: Look, label: str, shift: float = 0, hollow: bool = False) -> None:
    """Median and 10% to 90% of filters over the seeds; arrows stand for medians beyond the frame."""
    low, middle, high = quantiles(values)
    taps = np.arange(middle.size) + shift
    bottom, top = panel.get_ylim()
    inside = (middle > bottom) & (middle < top)
    panel.errorbar(
        taps[inside],
        middle[inside],
        yerr=np.stack([middle - low, high - middle])[:, inside],
        fmt=look.marker,
        color=look.colour,
        markerfacecolor="white" if hollow else look.colour,
        markersize=4.5,
        elinewidth=1.2,
        capsize=2.5,
        label=label,
    )
    for beyond, border, marker in ((middle >= top, top, "$↑$"), (middle <= bottom, bottom, "$↓$")):
        place = np.full(int(beyond.sum()), border - 0.06 * np.sign(border) * (top - bottom))
        panel.plot(taps[beyond], place, linestyle="", marker=marker, color=look.colour, markersize=9)


def filter_error(dataset: xr.Dataset) -> Drawing | None:
    """Relative error of the end-to-end filter, every flow a dot; against a numeric axis if there is one."""
    if "true_filter" not in dataset:
        return None
    numeric = [a for a in sweep_axes(dataset)[:2] if dataset[a].dtype.kind == "f"]
    figure = _against_numbers(dataset, numeric[0]) if numeric else _by_category(dataset)
    return Drawing(
        "filter_error",
        "Error of the filter",
        figure,
        "Relative error ‖v − v*‖ / ‖v*‖ of the learned end-to-end filter: median over the seeds, bars from the "
        "10% to the 90% quantile" + ("" if numeric else "; dots are single flows") + ". The error has two sources: "
        "the noise in the targets, which the loss weighs, and spurious minima, which the seed picks."
        + held_fixed(dataset),
    )


def _by_category(dataset: xr.Dataset) -> Figure:
    facets = list(panels(dataset))
    count = max(len(series) for _, series in facets)
    figure, axes = canvas(len(facets), 1, 0.9 + 0.42 * count, sharex=True)
    for panel, (title, series) in zip(axes, facets, strict=True):
        for row, one in enumerate(series):
            errors = relative_error(one.data)
            error = errors.values
            spread = np.random.default_rng(0).uniform(-0.2, 0.2, error.size)
            panel.plot(error, row + spread, ".", color=one.look.colour, alpha=0.3, markersize=4, markeredgewidth=0)
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
            panel.annotate(
                f"{middle:.3g}",
                (float(middle), row),
                (0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
        panel.set_yticks(range(len(series)), [one.label for one in series])
        panel.set_ylim(len(series) - 0.5, -0.5)
        panel.set(xscale="log", title=title)
        panel.grid(axis="y", visible=False)
        plain_ticks(panel.xaxis)
    axes[-1].set_xlabel("relative error of the end-to-end filter")
    return figure


def _against_numbers(dataset: xr.Dataset, axis: str) -> Figure:
    others = [a for a in sweep_axes(dataset)[:2] if a != axis]
    rest = dataset.isel(dict.fromkeys(sweep_axes(dataset)[2:], 0))
    figure, (panel,) = canvas(1, 1, 3.4)
    for i in range(rest.sizes[others[0]] if others else 1):
        part = rest.isel({others[0]: i}) if others else rest
        low, middle, high = quantiles(relative_error(part))
        style = look(i)
        panel.errorbar(
            part[axis].values * 1.03 ** (i - 0.5 * len(others)),  # side by side, so that bars do not hide each other
            middle,
            yerr=np.stack([middle - low, high - middle]),
            marker=style.marker,
            linestyle=style.line,
            color=style.colour,
            capsize=3,
            label=pretty(part[others[0]].values.item()) if others else None,
        )
    positive = bool((rest[axis] > 0).all())
    panel.set(xscale="log" if positive else "linear", yscale="log")
    plain_ticks(panel.yaxis)
    if rest.sizes[axis] <= 8:
        panel.set_xticks(rest[axis].values, [f"{value:g}" for value in rest[axis].values], minor=False)
        panel.minorticks_off()
    panel.set(xlabel=pretty(axis), ylabel="relative error of the end-to-end filter")
    if others:
        figure.legend(loc="outside right upper", title=pretty(others[0]))
    return figure
