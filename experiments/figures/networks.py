"""Figures that compare networks: verdicts, spurious minima, and what their flows conserve, a row per cell."""

from dataclasses import replace

import numpy as np
import xarray as xr

from experiments.answers import spurious
from experiments.figures.conditions import verdict_shares
from experiments.figures.series import cells, left_out
from experiments.figures.style import Drawing, canvas
from experiments.results.balance import layer_drift
from lcnn_flow.landscape import wilson_interval

__all__ = ["drift_of_balance", "spurious_shares", "verdicts"]

_ROUNDING = 1e-17


def verdicts(dataset: xr.Dataset) -> Drawing | None:
    """Shares of the verdicts as stacked bars, a row per value of the first axis."""
    drawing = verdict_shares(dataset.drop_vars("full_rank_inputs", errors="ignore"))  # no marks of conditions
    words = "What the flows ended as, with their number, row by row. CONVERGED, AT_SADDLE and DEGENERATE have a limit."
    return drawing and replace(
        drawing, name="verdicts", title="Shares of the verdicts", caption=words + left_out(dataset)
    )


def spurious_shares(dataset: xr.Dataset) -> Drawing | None:
    """Share of the starts in minima above the lowest limit, with its 95% interval, a row per cell."""
    found = [(one, caught) for one in cells(dataset) if (caught := spurious(one.data)) is not None]
    if not found:
        return None
    figure, (panel,) = canvas(1, 1, 1.0 + 0.55 * len(found))
    for row, (one, caught) in enumerate(found):
        middle = caught.count / caught.total
        low, high = wilson_interval(caught.count, caught.total)
        error = np.array([[max(0.0, middle - low)], [max(0.0, high - middle)]])
        panel.errorbar([middle], [row], xerr=error, fmt=one.look.marker, color=one.look.colour, capsize=4)
        panel.text(1.01, row, f"{caught.count} of {caught.total}", va="center", fontsize=8.5)
    panel.set_yticks(range(len(found)), [one.label or "all flows" for one, _ in found])
    panel.set(xlim=(-0.02, 1), ylim=(len(found) - 0.5, -0.5), xlabel="share of the starts in spurious minima")
    panel.grid(axis="y", visible=False)
    return Drawing(
        "spurious_shares",
        "Spurious minima",
        figure,
        "Share of the starts that end in a minimum above the lowest limit of their cell, with its 95% interval "
        "(Wilson). The theory expects 0 for dense linear networks, and allows more for convolutional ones."
        + left_out(dataset),
    )


def drift_of_balance(dataset: xr.Dataset) -> Drawing | None:
    """Largest change of the balance of neighbouring layers, every flow a dot, a row per cell."""
    if "squared_norms" not in dataset:
        return None
    shown = cells(dataset.assign(drift=layer_drift(dataset)))
    rows = [one for one in shown if bool(one.data["drift"].notnull().any())]
    if not rows:
        return None
    figure, (panel,) = canvas(1, 1, 1.0 + 0.45 * len(rows))
    for row, one in enumerate(rows):
        values = np.maximum(one.data["drift"].values, _ROUNDING)
        values = values[np.isfinite(values)]
        aside = np.linspace(-0.2, 0.2, values.size) if values.size > 1 else np.zeros(values.size)
        panel.plot(values, row + aside, linestyle="", marker=".", color=one.look.colour, alpha=0.6)
        panel.plot([np.median(values)], [row], linestyle="", marker=one.look.marker, color=one.look.colour)
    panel.set_yticks(range(len(rows)), [one.label or "all flows" for one in rows])
    label = r"$\max_{l,t} |\Delta (\|w_l\|^2 - p \|w_{l+1}\|^2)| \,/\, \max \|w_l\|^2$"
    panel.set(xscale="log", ylim=(len(rows) - 0.5, -0.5), xlabel=label)
    panel.grid(axis="y", visible=False)
    return Drawing(
        "drift_of_balance",
        "What the flows conserve",
        figure,
        "Largest change along the flow of ‖w_l‖² − p ‖w_(l+1)‖², p the degree of homogeneity of the activation (1 "
        "where it has none), relative to the largest squared norm: small dots are flows, markers medians. The theory "
        "expects the error of the integration for linear and homogeneous networks, and more for others."
        + left_out(dataset),
    )
