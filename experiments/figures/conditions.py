"""Figures of the conditions on the data: shares of verdicts with the hypotheses, and the growth of the filters."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from experiments.figures.series import Series, left_out, panels
from experiments.figures.style import TIME, Drawing, grid
from experiments.results.variables import NOT_COMPUTED, VERDICTS
from lcnn_flow import Verdict

__all__ = ["filter_growth", "verdict_shares"]

_FILLS = {
    Verdict.CONVERGED: ("#0072B2", ""),
    Verdict.AT_SADDLE: ("#CC79A7", "||"),
    Verdict.DEGENERATE: ("#56B4E9", ".."),
    Verdict.DIVERGED: ("#E69F00", "///"),
    Verdict.TIME_LIMIT: ("#cccccc", "--"),
    Verdict.STEP_LIMIT: ("#cccccc", "++"),
    Verdict.NOT_FINITE: ("#ffffff", "xx"),
    Verdict.UNDECIDED: ("#ffffff", "//"),
}
_CONDITIONS = {"A": "full_rank_inputs", "B": "full_rank_patches", "C": "injective_on_attainable"}
_WIDTHS = (1.1, 2.4)
_GROUPS = ("thin: flows that did not diverge", "thick: DIVERGED")
_NARROW = 0.12  # share of a bar in which a number has no place


def verdict_shares(dataset: xr.Dataset) -> Drawing | None:
    """Shares of the verdicts as stacked bars, a row each value of the first axis, with its (A), (B), (C)."""
    facets = list(panels(dataset))
    names = list(dict.fromkeys(one.label for _, series in facets for one in series))
    if not names:
        return None
    figure, axes = grid(len(facets), 1.1 + 0.52 * len(names), "share of the flows", "")
    seen: set[int] = set()
    for panel, (title, series) in zip(axes, facets, strict=True):
        for one in series:
            seen |= _stack(panel, names.index(one.label), one.data["verdict"].values)
        panel.set(title=title, xlim=(0, 1), ylim=(len(names) - 0.5, -0.5))
        panel.set_xticks([0, 0.5, 1], ["0", "50%", "100%"])
        panel.grid(axis="y", visible=False)
        panel.tick_params(axis="y", length=0)
    marks = [_marks([one for _, series in facets for one in series if one.label == name]) for name in names]
    labels = ["\n".join(filter(None, pair)) for pair in zip(names, marks, strict=True)]
    axes[0].set_yticks(range(len(names)), labels)
    fills = [
        Patch(facecolor=colour, hatch=hatch, edgecolor="#333333", linewidth=0.6, label=verdict.name)
        for verdict, (colour, hatch) in _FILLS.items()
        if verdict in seen
    ]
    figure.legend(handles=fills, loc="outside upper right", ncols=min(4, len(fills)))
    return Drawing(
        "verdict_shares",
        "Conditions and verdicts",
        figure,
        "What the flows ended as, with their number, beside the conditions that the data satisfy: (A) X Xᵀ of full "
        "rank, (B) patch matrix P of full column rank, (C) no attainable filter but 0 in the kernel of P. The theory "
        "expects no DIVERGED flow where (C) holds, whatever (A) and (B) say; where (C) fails it allows both."
        + left_out(dataset),
    )


def _stack(panel: Axes, row: int, verdict: np.ndarray) -> set[int]:
    """One stacked bar; returns the verdicts that occur."""
    computed = verdict[verdict != NOT_COMPUTED]
    left, seen, aside = 0.0, set(), -0.37
    for code in VERDICTS:
        share = float((computed == code).mean())
        if share == 0:
            continue
        colour, hatch = _FILLS[Verdict(code)]
        panel.barh(row, share, 0.5, left, color=colour, hatch=hatch, edgecolor="#333333", linewidth=0.6)
        narrow = share < _NARROW
        panel.text(
            min(max(left + share / 2, 0.04), 0.96),
            row + (aside if narrow else 0),
            str(int((computed == code).sum())),
            ha="center",
            va="center",
            fontsize=8,
            bbox=None if narrow else {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"},
        )
        aside = -aside if narrow else aside  # numbers of neighbours would touch on one side
        left += share
        seen.add(code)
    return seen


def _marks(series: list[Series]) -> str:
    """`(A) yes  (B) no  (C) no` for all cells of a row; empty for networks that are not linear."""
    words = []
    if not all("full_rank_inputs" in one.data and bool(one.data["full_rank_inputs"].notnull()) for one in series):
        return ""
    for letter, name in _CONDITIONS.items():
        values = np.unique([float(one.data[name]) for one in series])  # of NaN one is left
        known = {0.0: "no", 1.0: "yes"}
        word = "varies" if values.size > 1 else known.get(float(values[0]), "?")
        words.append(f"({letter}) {word}")
    return "  ".join(words)


def filter_growth(dataset: xr.Dataset) -> Drawing | None:
    """Largest filter norm against time: medians of the flows that diverged, and of those that did not."""
    facets = list(panels(dataset))
    if "squared_norms" not in dataset or not any(series for _, series in facets):
        return None
    figure, axes = grid(len(facets), 2.6, TIME, r"largest filter norm $\max_l \|w_l\|$", alone=3.4)
    handles: dict[str, Line2D] = {}
    for panel, (title, series) in zip(axes, facets, strict=True):
        for one in series:
            handles.setdefault(one.label, _growth(panel, one))
        panel.set(xscale="log", yscale="log", title=title)
        panel.margins(x=0.02)
    drawn = [Line2D([], [], color="#777777", linewidth=w, label=text) for w, text in zip(_WIDTHS, _GROUPS, strict=True)]
    figure.legend(handles=[*handles.values(), *drawn], loc="outside upper center", ncols=3)
    return Drawing(
        "filter_growth",
        "Growth of the filters",
        figure,
        "Largest filter norm against time, both logarithmic: medians over the flows of each kind of data, separately "
        "for those with verdict DIVERGED (thick, with the exponent of their growth at the end) and the others (thin). "
        "Power laws are straight lines. The theory expects level lines where (C) holds." + left_out(dataset),
    )


def _growth(panel: Axes, one: Series) -> Line2D:
    """Draws the lines of one cell; returns the line that represents it in the legend."""
    times = one.data["time"].values
    norm = one.data["squared_norms"].max("layer", skipna=True) ** 0.5
    diverged = (one.data["verdict"] == Verdict.DIVERGED).values
    style: dict[str, Any] = {
        "color": one.look.colour,
        "linestyle": one.look.line,
        "marker": one.look.marker,
        "markersize": 4,
    }
    for flows, width in zip((~diverged, diverged), _WIDTHS, strict=True):
        if flows.any():
            middle = norm.isel(seed=np.flatnonzero(flows)).median("seed", skipna=True).values
            panel.plot(times[times > 0], middle[times > 0], linewidth=width, markevery=0.2, **style)
    if diverged.any():
        rate = float(one.data["growth_rate"].values[diverged].mean())
        middle = float(norm.isel(seed=np.flatnonzero(diverged), time=-1).median("seed"))
        panel.annotate(
            rf"$t^{{\,{rate:.3f}}}$",
            (float(times[-1]), middle),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
        )
    return Line2D([], [], label=one.label, **style)
