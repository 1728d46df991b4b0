"""Figures of censuses over data: shares in spurious minima, critical points by index, and Morse graphs."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

import lcnn_flow as lf
from experiments.figures.style import Drawing, canvas, grid, look, pretty, put_legend
from experiments.results.census import certified_spurious, is_complete, real_points, with_census
from experiments.results.data_groups import (
    DataGroup,
    axes_of_groups,
    data_groups,
    mean_points,
    starts_in_spurious,
    with_spurious,
)
from lcnn_flow.landscape import wilson_interval

__all__ = ["morse_graphs", "points_by_index", "spurious_over_data"]

_MOST_SERIES = 7
_MOST_PANELS = 6
_MOST_INDEX = 4
_Interval = tuple[float, float, float]


def spurious_over_data(dataset: xr.Dataset) -> Drawing | None:
    """How many data sets have a spurious minimum, and how many starts end in one."""
    if not with_census(dataset):
        return None
    figure, (left, right) = canvas(1, 2, 3.4, sharex=True)
    for number, (label, groups) in enumerate(list(_series(dataset).items())[:_MOST_SERIES]):
        shift = 0.07 * (number - 1)
        _line(left, groups, [_data_with_spurious(group) for group in groups], number, shift, label)
        _line(right, groups, [starts_in_spurious(group) for group in groups], number, shift, label)
    left.set_title("data sets with a spurious minimum")
    right.set_title("starts that end in one")
    for panel in (left, right):
        panel.set_ylim(bottom=0)
        _across(panel, dataset)
    left.set_ylabel("share, with its 95% interval")
    handles, labels = left.get_legend_handles_labels()
    if any(labels):
        figure.legend(handles, labels, loc="outside upper right", ncols=min(4, len(labels)))
    return Drawing(
        "spurious_over_data",
        "Spurious minima over data sets",
        figure,
        "Left: share of the data sets that have a minimum certified to lie above the global one, of those with a "
        "complete census, with its 95% interval of Wilson. Right: share of the starts that end in such a minimum, "
        "averaged over data sets, with an interval that takes into account that starts on the same data have the same "
        "landscape. The theory is silent on both.",
    )


def points_by_index(dataset: xr.Dataset) -> Drawing | None:
    """Mean numbers of critical points by index, a panel per series."""
    series = list(_series(dataset).items())[:_MOST_PANELS] if with_census(dataset) else []
    if not series:
        return None
    figure, panels = grid(len(series), 2.7, pretty(_axis_across(dataset) or ""), "critical points, mean over data sets")
    for panel, (label, groups) in zip(panels, series, strict=True):
        for index in range(_MOST_INDEX):
            values = [_mean_of_index(group, index) for group in groups]
            style = look(index)
            if np.nansum(values) > 0:
                words = "minima" if index == 0 else f"saddles of index {index}"
                panel.plot(
                    _places(groups), values, color=style.colour, linestyle=style.line, marker=style.marker, label=words
                )
        panel.set_title(label)
        _across(panel, dataset)
        panel.set_xlabel("")
    panels[0].set_ylim(bottom=0)  # which all panels share
    put_legend(figure, panels, 4)
    return Drawing(
        "points_by_index",
        "Critical points by index",
        figure,
        "Mean number of real critical points with v ≠ 0 up to rescaling, by the number of negative curvatures, over "
        "the data sets with a complete census. The sum over all points of (-1)^index is the same for all data in "
        "general position of one architecture.",
    )


def morse_graphs(dataset: xr.Dataset) -> Drawing | None:
    """Minima and the saddles that join them, for the data set of every series with most spurious minima."""
    chosen = _chosen_cells(dataset)
    if not chosen:
        return None
    columns = min(3, len(chosen))
    figure, panels = canvas(-(-len(chosen) // columns), columns, 3.2)
    for panel in panels[len(chosen) :]:
        panel.remove()
    for panel, (label, cell) in zip(panels, chosen, strict=False):
        count = real_points(cell)
        risk = cell["point_risk"].values[:count]
        lowest = np.flatnonzero(cell["point_is_lowest"].values[:count] == 1) if is_complete(cell) else None
        ends = cell["point_flows_to"].values[:count]
        lf.plot.morse_marks(panel, risk, cell["point_index"].values[:count], ends, lowest)
        panel.axhline(float(cell["census_risk_at_zero"]), color="#999999", linestyle=":", linewidth=1)
        panel.set_title(label)
        panel.grid(axis="x", visible=False)
    figure.supylabel("risk at the critical point", fontsize=9.5)
    put_legend(figure, panels[: len(chosen)], 5)
    return Drawing(
        "morse_graphs",
        "Morse graphs",
        figure,
        "All critical points of one data set per panel, that with most spurious minima: minima and saddles by their "
        "risk, the places across mean nothing. Lines are the two flows down from every saddle of index 1 on the leaf "
        "of balancedness 0; where they end in minima the graph is expected to be connected. Flows that end in another "
        "saddle are those of filters that stay parallel. Saddles of higher index stand at the right; the dotted line "
        "is the risk of the filter 0.",
    )


def _axis_across(dataset: xr.Dataset) -> str | None:
    """The horizontal axis of the figures: the second axis of the groups, or the only one."""
    axes = axes_of_groups(dataset)
    return axes[min(1, len(axes) - 1)] if axes else None


def _series(dataset: xr.Dataset) -> dict[str, list[DataGroup]]:
    """Groups by their values of all axes but the horizontal one."""
    axes = axes_of_groups(dataset)
    across = _axis_across(dataset)
    found: dict[str, list[DataGroup]] = {}
    for group in data_groups(dataset):
        values = {axis: dataset[axis].values[i] for axis, i in zip(axes, group.index, strict=True) if axis != across}
        found.setdefault(", ".join(_named(axis, value) for axis, value in values.items()), []).append(group)
    return found


def _named(axis: str, value: object) -> str:
    """The value of an axis, with its name before lists of numbers."""
    text = pretty(value)
    return f"{pretty(axis)} = {text}" if text.startswith("[") else text


def _places(groups: list[DataGroup]) -> np.ndarray:
    return np.asarray([group.index[min(1, len(group.index) - 1)] if group.index else 0 for group in groups], float)


def _across(panel: Axes, dataset: xr.Dataset) -> None:
    """Sets ticks and label of the horizontal axis, on which values have equal distances."""
    if (axis := _axis_across(dataset)) is not None:
        values = dataset[axis].values
        panel.set_xticks(range(len(values)), [pretty(value) for value in values])
        panel.set_xlabel(pretty(axis))
    else:
        panel.set_xticks([])


def _line(
    panel: Axes, groups: list[DataGroup], found: list[_Interval | None], number: int, shift: float, label: str
) -> None:
    known = [(place, one) for place, one in zip(_places(groups), found, strict=True) if one is not None]
    if not known:
        return
    places = np.asarray([place for place, _ in known]) + shift
    middle, low, high = (np.asarray([one[part] for _, one in known]) for part in range(3))
    style = look(number)
    errors = np.maximum(0, [middle - low, high - middle])
    panel.errorbar(
        places,
        middle,
        yerr=errors,
        color=style.colour,
        linestyle=style.line,
        marker=style.marker,
        markersize=5,
        capsize=2.5,
        elinewidth=1,
        label=label,
    )


def _data_with_spurious(group: DataGroup) -> _Interval | None:
    count, total = with_spurious(group)
    return (count / total, *wilson_interval(count, total)) if total else None


def _mean_of_index(group: DataGroup, index: int) -> float:
    """Mean number of the points of an index; NaN without a complete census."""
    means = mean_points(group)
    if not means.size:
        return np.nan
    return float(means[index]) if index < means.size else 0.0


def _chosen_cells(dataset: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    """For every series, the complete cell with most spurious minima; among equals the one with most minima."""
    if "point_flows_to" not in dataset:
        return []
    across, chosen = _axis_across(dataset), []
    for label, groups in list(_series(dataset).items())[:_MOST_PANELS]:
        cells = [cell for group in groups for cell in group.cells if is_complete(cell)]
        if not cells:
            continue
        cell = max(cells, key=lambda one: (len(certified_spurious(one)), int(one["census_minima"])))
        place = "" if across is None else f"{pretty(across)} = {pretty(cell[across].values.item())}"
        chosen.append(("\n".join(part for part in (label, place) if part), cell))
    return chosen
