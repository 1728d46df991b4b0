"""Figures of the study, drawn from results.csv alone."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from study.problems import ARCHITECTURES, CONDITIONS, STDS, TARGETS, name_of
from study.shares import Cells, clustered

__all__ = ["draw_all"]

_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00")
"""Told apart by the colour-blind: M. Okabe and K. Ito, Color universal design (2008)."""
_MARKERS = ("o", "s", "^", "D")
_TITLES = {"attainable": "attainable", "any": "any target"}
_STYLE = {
    "svg.hashsalt": "study",
    "svg.fonttype": "path",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.spines.right": False,
}


def draw_all(cells: Cells, folder: Path) -> None:
    """Writes landscapes.svg, shares.svg and starts.svg."""
    with plt.rc_context({**_STYLE, "axes.spines.top": False}):
        for name, draw in (("landscapes", _landscapes), ("shares", _shares), ("starts", _starts)):
            figure = draw(cells)
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            plt.close(figure)


def _landscapes(cells: Cells) -> Any:
    """Share of data sets that have a spurious minimum, over the condition, by the roots of the target."""
    figure, panels = plt.subplots(1, 2, figsize=(8, 3.3), sharey=True, layout="constrained")
    for panel, real in zip(panels, (True, False), strict=True):
        for number, sizes in enumerate(ARCHITECTURES):
            chosen = cells.with_roots(real).chosen(architecture=name_of(sizes))
            found = [chosen.chosen(condition=c).with_spurious() for c in CONDITIONS]
            _bars(panel, number, len(ARCHITECTURES), found, f"filters {name_of(sizes)}")
        _over_condition(panel, "targets with real roots only" if real else "targets with a pair of complex roots")
    panels[0].set_ylabel("data sets with a spurious\nminimum [% of data sets]")
    panels[0].set_ylim(-2, 102)
    panels[0].legend(frameon=False)
    return figure


def _shares(cells: Cells) -> Any:
    """Share of flows that end in spurious minima, over the condition, by the size of the start."""
    figure, panels = plt.subplots(2, 3, figsize=(8, 5.6), sharex=True, sharey="row", layout="constrained")
    for row, targets in zip(panels, TARGETS, strict=True):
        for panel, sizes in zip(row, ARCHITECTURES, strict=True):
            chosen = cells.chosen(architecture=name_of(sizes), targets=targets)
            for number, std in enumerate(STDS):
                found = [clustered(chosen.chosen(condition=c).shares(std)) for c in CONDITIONS]
                _bars(panel, number, len(STDS), found, f"{std:g}")
            _over_condition(panel, f"{name_of(sizes)}, {_TITLES[targets]}")
        row[0].set_ylabel("flows that end in a spurious\nminimum [% of flows]")
        row[0].set_ylim(-1, None)
    for panel in panels[0]:
        panel.set_xlabel("")
    panels[0, 0].legend(frameon=False, title="standard deviation\nof the start", loc="upper left")
    return figure


def _starts(cells: Cells) -> Any:
    """How the shares are distributed between data sets that have a spurious minimum."""
    figure, panels = plt.subplots(1, len(STDS), figsize=(8, 2.7), sharey=True, layout="constrained")
    edges = np.linspace(0, 1, 9)
    for number, (panel, std) in enumerate(zip(panels, STDS, strict=True)):
        shares = cells.shares(std)[cells["spurious_minima"][cells.complete] > 0]
        weights = np.full(len(shares), 100 / len(shares))
        panel.hist(100 * shares, 100 * edges, weights=weights, color=_COLOURS[number], edgecolor="white")
        panel.set(
            title=f"std of the start {std:g}", xlabel="flows in spurious\nminima [%]", xticks=[0, 25, 50, 75, 100]
        )
    panels[0].set_ylabel("data sets with a spurious\nminimum [%]")
    return figure


def _bars(panel: Any, number: int, count: int, found: list, label: str) -> None:
    """A line with intervals, shifted so that those of several lines can be told apart."""
    x = np.asarray(CONDITIONS) * 1.09 ** (number - (count - 1) / 2)
    values = 100 * np.asarray([estimate.value for estimate in found])
    below = values - 100 * np.asarray([estimate.low for estimate in found])
    above = 100 * np.asarray([estimate.high for estimate in found]) - values
    panel.errorbar(
        x,
        values,
        (np.maximum(below, 0), np.maximum(above, 0)),
        color=_COLOURS[number],
        marker=_MARKERS[number],
        markersize=4,
        linewidth=1.2,
        elinewidth=0.8,
        label=label,
    )


def _over_condition(panel: Any, title: str) -> None:
    panel.set(xscale="log", title=title, xlabel="anisotropy, $\\lambda_{max}/\\lambda_{min}$")
