"""Figures over time: risk, gradient norm, path length and conserved quantities, as medians over the seeds.

Bands reach from the 10% to the 90% quantile.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import ArrayLike

import lcnn_flow as lf
from experiments.figures.series import Series, left_out, panels, quantiles
from experiments.figures.style import Drawing, columns_for, grid, time_label
from experiments.results.layout import noun_of

__all__ = ["balancedness_drift", "excess_risk", "gradient_norm", "path_length", "risk", "sharpness_over_time"]

_MOST_TOGETHER = 3  # series in one panel
_MEDIANS = "median over the seeds, band from the 10% to the 90% quantile"
_MANY_DECADES = 1e4  # minor ticks would only be grey noise, and they take most of the time of drawing
_UNDERFLOW = 1e-18  # relative values below are rounding


def risk(dataset: xr.Dataset) -> Drawing | None:
    """Risk against time, relative to its initial value."""
    figure = _over_time(dataset, "risk", lambda s: s["risk"] / s["risk"].isel(time=0), r"risk $L(t) / L(0)$")
    return figure and Drawing(
        "risk",
        "Risk",
        figure,
        f"Risk against time, relative to its initial value: {_MEDIANS}. The theory expects every curve to fall and to "
        "level off; the level is what no filter explains, such as noise, or that of a spurious minimum."
        + _context(dataset),
    )


def excess_risk(dataset: xr.Dataset) -> Drawing | None:
    """Risk above that of the limit against time, relative to its initial value."""

    def quantity(s: xr.Dataset) -> xr.DataArray:
        excess = s["risk"] - s["limit_risk"]
        return (excess / excess.isel(time=0)).clip(min=_UNDERFLOW)

    def rounding(s: xr.Dataset) -> xr.DataArray:
        start = s["risk"].isel(time=0)
        return 4 * np.finfo(float).eps * start / (start - s["limit_risk"])

    label = r"excess $(L(t) - L_\infty) \,/\, (L(0) - L_\infty)$"
    figure = _over_time(dataset, "risk", quantity, label, floor=rounding)
    return figure and Drawing(
        "excess_risk",
        "Risk above its limit",
        figure,
        f"Risk less the risk of the flow's own limit, relative to the start: {_MEDIANS}, of flows that have a limit. "
        "The theory expects it to fall to zero: a power of time is a straight line here, exponential convergence "
        "bends down ever more steeply. In the grey region the difference of two risks is rounding." + _context(dataset),
    )


def gradient_norm(dataset: xr.Dataset) -> Drawing | None:
    """Gradient norm against time, relative to its initial value."""
    figure = _over_time(
        dataset,
        "gradient_norm",
        lambda s: s["gradient_norm"] / s["gradient_norm"].isel(time=0),
        r"$\|\nabla L(t)\| / \|\nabla L(0)\|$",
        floor=lambda s: s["gradient_tolerance"] / s["gradient_norm"].isel(time=0),
    )
    return figure and Drawing(
        "gradient_norm",
        "Gradient",
        figure,
        f"Norm of the gradient against time, relative to its initial value: {_MEDIANS}. The theory expects it to tend "
        "to zero for every loss. In the grey region it is below the tolerance of the verdict, and the curves show no "
        "more than the error of the integration; the limit itself is computed by Newton's method." + _context(dataset),
    )


def path_length(dataset: xr.Dataset) -> Drawing | None:
    """Path length against time, relative to its length at the end of the flow."""
    figure = _over_time(
        dataset,
        "path_length",
        lambda s: s["path_length"] / s["final_path_length"],
        "path length / final length",
        log=False,
    )
    return figure and Drawing(
        "path_length",
        "Path length",
        figure,
        "Length of the path of all filters, ∫‖∇L‖ dt, relative to its length at the end of the flow: "
        f"{_MEDIANS}. The theory expects a finite length: every curve reaches one "
        "and stays there." + _context(dataset),
    )


def balancedness_drift(dataset: xr.Dataset) -> Drawing | None:
    """Drift of the conserved quantities against time."""
    if dataset.sizes.get("interface", 0) == 0 or noun_of(dataset) == "descent":
        return None

    def drift(s: xr.Dataset) -> xr.DataArray:
        h = s["balancedness"]
        scale = s["squared_norms"].max(["time", "layer"])
        return (abs(h - h.isel(time=0)).max("interface", skipna=False) / scale).clip(min=1e-17)

    figure = _over_time(dataset, "balancedness", drift, r"$\max_l |h_l(t) - h_l(0)| \,/\, \max \|w_l\|^2$")
    return figure and Drawing(
        "balancedness_drift",
        "Conserved quantities",
        figure,
        "Drift of the balancedness h_l = (‖w_l‖² − ‖w_{l+1}‖²)/2, largest over the layers and relative to "
        f"the largest squared filter norm: {_MEDIANS}. The theory expects "
        "zero; what is seen is the "
        "error of the integration." + _context(dataset),
    )


def sharpness_over_time(dataset: xr.Dataset) -> Drawing | None:
    """Largest eigenvalue of the Hessian against time, with the largest learning rate of a stable rest beside it."""
    if "flow_sharpness" in dataset:  # another figure shows both
        return None
    figure = _over_time(dataset, "sharpness", lambda s: s["sharpness"], r"sharpness $\lambda$ (risk / filter²)")
    if figure is None:
        return None
    for panel in figure.axes:
        place = panel.get_subplotspec()
        if place is not None and not place.is_last_col() and panel is not figure.axes[-1]:
            continue
        beside = panel.secondary_yaxis("right", functions=(_twice_inverse, _twice_inverse))
        beside.set_ylabel(r"learning rate $2/\lambda$")
    descends = noun_of(dataset) == "descent"
    edge = " Plain gradient descent of the learning rate η rests at λ ≤ 2/η alone." if descends else ""
    return Drawing(
        "sharpness_over_time",
        "Sharpness",
        figure,
        f"Largest eigenvalue λ of the Hessian against time: {_MEDIANS}. The right axis has 2/λ, the learning rate "
        "beyond which gradient descent is expected to leave the neighbourhood of such a point; flows have no such "
        "bound." + edge + _context(dataset),
    )


def _twice_inverse(values: ArrayLike) -> np.ndarray:
    """2/x: infinite at 0, which logarithmic axes do not show."""
    with np.errstate(divide="ignore"):
        return 2 / np.asarray(values, float)


def _over_time(
    dataset: xr.Dataset,
    needed: str,
    quantity: Callable[[xr.Dataset], xr.DataArray],
    ylabel: str,
    log: bool = True,
    floor: Callable[[xr.Dataset], xr.DataArray] | None = None,
) -> Figure | None:
    """One panel per facet, one line per series, grey below the `floor` of all; None without trajectories."""
    if needed not in dataset:
        return None
    facets = list(_known(panels(dataset), quantity))
    if not facets:
        return None
    alone = _apart(facets)
    if alone:  # bands of many series would hide each other: a panel each, the other medians in grey
        shown = [(one.label, [one], facets[0][1]) for one in facets[0][1]]
    else:
        shown = [(title, series, []) for title, series in facets]
    height = {1: 3.3, 2: 2.9, 3: 2.2}[columns_for(len(shown))]
    figure, axes = grid(len(shown), height, xlabel=time_label(dataset), ylabel=ylabel)
    for panel, (title, series, context) in zip(axes, shown, strict=True):
        for one in context:
            _line(panel, quantity(one.data))
        for one in series:
            _band(panel, one, quantity(one.data), banded=len(series) <= _MOST_TOGETHER)
        panel.set(xscale="log", title=title)
        if floor is not None:
            tolerance = max(float(floor(one.data).median()) for one in series)
            panel.axhspan(0, tolerance, color="#f1f1f1", zorder=0)
        if log:
            panel.set_yscale("log")
            if panel.get_ylim()[0] < _UNDERFLOW:
                panel.set_ylim(_UNDERFLOW, 10)
            if panel.get_ylim()[1] / panel.get_ylim()[0] > _MANY_DECADES:
                panel.yaxis.set_minor_locator(NullLocator())
        else:
            panel.set_ylim(0, 1.05)
        panel.xaxis.set_minor_locator(NullLocator())
    if not alone and any(one.label for one in shown[0][1]):
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper")
    return figure


def _known(
    facets: Iterable[tuple[str, list[Series]]], quantity: Callable[[xr.Dataset], xr.DataArray]
) -> Iterator[tuple[str, list[Series]]]:
    """The panels with only the series that have a quantity, which may be undefined, as the drift of some networks."""
    for title, series in facets:
        found = [one for one in series if bool(quantity(one.data).notnull().any())]
        if found:
            yield title, found


def _context(dataset: xr.Dataset) -> str:
    """The last sentences of captions: what the grey lines are, and which axes are held fixed."""
    facets = list(panels(dataset))
    if _apart(facets):
        return " Grey lines: the medians of the other panels." + left_out(dataset)
    crowded = any(len(series) > _MOST_TOGETHER for _, series in facets)
    return (" Bands are left out, because many lines share a panel." if crowded else "") + left_out(dataset)


def _apart(facets: list[tuple[str, list[Series]]]) -> bool:
    """Whether every series gets a panel of its own."""
    return len(facets) == 1 and len(facets[0][1]) > _MOST_TOGETHER


def _line(panel: Axes, values: xr.DataArray) -> None:
    """The median of another series, for comparison."""
    times = values["time"].values
    panel.plot(times[times > 0], quantiles(values)[1][times > 0], color="#c8c8c8", linewidth=1, zorder=1)


def _band(panel: Axes, series: Series, values: xr.DataArray, banded: bool) -> None:
    curves = values.transpose("seed", "time").values
    lf.plot.band(panel, values["time"].values, curves, series.look, series.label, banded)
