"""Figures of margin losses: the norm against its power of log t, the normalised margin, and the risk against 1/t."""

from collections.abc import Callable

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from experiments.figures.series import Series, left_out, panels, quantiles
from experiments.figures.style import TIME, Drawing, grid, plain_ticks
from lcnn_flow import Verdict

__all__ = ["margin_growth", "norm_law", "risk_law"]

_FROM = np.e
"""Time from which on log t is at least 1."""
_MEDIANS = "Medians over the starts, bands from the 10% to the 90% quantile"

Guide = Callable[[Series, np.ndarray, np.ndarray], np.ndarray | None]
"""Of a series, its times and its medians: what the theory expects at the times; None where it expects nothing."""


def norm_law(dataset: xr.Dataset) -> Drawing | None:
    """Norm of all parameters against log t, both logarithmic, with the power 1/N where the flows DIVERGED."""

    def guide(one: Series, times: np.ndarray, middle: np.ndarray) -> np.ndarray | None:
        depth = int((one.data["squared_norms"].isel(seed=0, time=0)).notnull().sum())
        return middle[-1] * (np.log(times) / np.log(times[-1])) ** (1 / depth) if _diverged(one) else None

    return _drawn(
        dataset,
        ("norm", "The norm and its law", r"$\log t$", r"$\|w(t)\|$"),
        lambda cell: cell["squared_norms"].sum("layer", min_count=1) ** 0.5,
        guide,
        np.log,
        f"{_MEDIANS}. Dashed: the power 1/N of log t, N the number of layers, through the last point, which the theory "
        "expects of flows on separable data. On other data the norm levels off.",
    )


def margin_growth(dataset: xr.Dataset) -> Drawing | None:
    """Smoothed normalised margin against time, with the largest possible margin if it is known."""
    if "largest_normalized_margin" not in dataset or not bool(dataset["smoothed_margin"].notnull().any()):
        return None

    def guide(one: Series, times: np.ndarray, middle: np.ndarray) -> np.ndarray | None:
        largest = float(one.data["largest_normalized_margin"])
        return np.full_like(middle, largest) if largest > 0 else None

    return _drawn(
        dataset,
        ("margin", "The normalised margin", TIME, r"smoothed margin $q(t) / \|w(t)\|^N$"),
        lambda cell: cell["smoothed_margin"],
        guide,
        lambda times: times,
        f"{_MEDIANS}, from the time on at which the risk shows that all margins are positive. The theory expects no "
        "curve to fall. Dashed: the largest normalised margin of any dense network, from the support vectors.",
        decades=False,
    )


def risk_law(dataset: xr.Dataset) -> Drawing | None:
    """Risk against time, with the power -1 where the flows DIVERGED."""

    def guide(one: Series, times: np.ndarray, middle: np.ndarray) -> np.ndarray | None:
        return middle[-1] * times[-1] / times if _diverged(one) else None

    return _drawn(
        dataset,
        ("risk", "The risk and its law", TIME, r"risk $L(t)$"),
        lambda cell: cell["risk"],
        guide,
        lambda times: times,
        f"{_MEDIANS}. Dashed: 1/t through the last point, which the theory expects of flows on separable data, up to "
        "powers of log t. On other data the risk levels off.",
    )


def _diverged(one: Series) -> bool:
    """Whether most flows of a cell have the verdict DIVERGED, because they separate the data."""
    return bool((one.data["verdict"] == int(Verdict.DIVERGED)).mean() > 0.5)


def _drawn(
    dataset: xr.Dataset,
    words: tuple[str, str, str, str],
    quantity: Callable[[xr.Dataset], xr.DataArray],
    guide: Guide,
    abscissa: Callable[[np.ndarray], np.ndarray],
    caption: str,
    decades: bool = True,
) -> Drawing | None:
    """A panel per combination of the further axes; `words` are name, title and labels of the axes."""
    facets = list(panels(dataset)) if "squared_norms" in dataset else []
    if not facets:
        return None
    name, title, xlabel, ylabel = words
    figure, axes = grid(len(facets), 2.7, xlabel, ylabel, alone=3.4)
    handles: dict[str, Line2D] = {}
    for panel, (heading, series) in zip(axes, facets, strict=True):
        for one in series:
            line = _curve(panel, one, quantity(one.data), guide, abscissa)
            if line is not None:
                handles.setdefault(one.label, line)
        panel.set(xscale="log", yscale="log" if decades else "linear", title=heading)
        if name == "norm":  # of one decade or two
            plain_ticks(panel.xaxis)
    marks = [handle for label, handle in handles.items() if label]
    marks.append(Line2D([], [], color="#777777", linestyle="--", label="theory"))
    figure.legend(handles=marks, loc="outside upper right", ncols=4)
    return Drawing(name, title, figure, caption + left_out(dataset))


def _curve(
    panel: Axes, one: Series, values: xr.DataArray, guide: Guide, abscissa: Callable[[np.ndarray], np.ndarray]
) -> Line2D | None:
    """Draws median, band and guide of a series, if it has values."""
    times = values["time"].values
    low, middle, high = quantiles(values)
    seen = (times > _FROM) & np.isfinite(middle)
    if not seen.any():
        return None
    x = abscissa(times[seen])
    panel.fill_between(x, low[seen], high[seen], color=one.look.colour, alpha=0.16, linewidth=0)
    (line,) = panel.plot(x, middle[seen], color=one.look.colour, linestyle=one.look.line, label=one.label)
    expected = guide(one, times[seen], middle[seen])
    if expected is not None:
        panel.plot(x, expected, color="#555555", linestyle="--", linewidth=1.1, zorder=3)
    return line
