"""Spectra of the Hessian at critical points, across the symmetry directions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lcnn_flow.critical.classification import Kind, classify
from lcnn_flow.plot.looks import KIND_LOOKS, axes_for, put_legend

__all__ = ["spectrum", "spectrum_marks"]

_DECADES = 1e-10
"""Eigenvalues below this part of the largest are drawn at zero's side of the axis."""


def spectrum(risk: Any, params: Any, ax: Axes | None = None) -> Axes:
    """Hessian eigenvalues at critical points, a column per point, the lowest risk first.

    Eigenvalues are those of `classify`: along symmetry directions, where they vanish, none are drawn. The axis is
    logarithmic, with negative eigenvalues below zero.

    Args:
        risk: what was minimised.
        params: points with or without leading axes, such as `flows.limit`; those that are not finite are left out.
        ax: where to draw; a new figure if None.

    Returns:
        The axes.

    Raises:
        LcnnFlowError: what `classify` refuses.
    """
    point = classify(risk, params)
    kinds = np.array([Kind[word.upper()] for word in np.atleast_1d(point.kind).reshape(-1)])
    risks = np.asarray(point.risk, float).reshape(-1)
    eigenvalues = np.asarray(point.hessian_eigenvalues, float).reshape(risks.size, -1)
    known = np.isfinite(risks)
    order = np.argsort(risks[known], kind="stable")
    ax = axes_for("lf.plot.spectrum", ax)
    columns = [f"{value:.3g}" for value in risks[known][order]]
    spectrum_marks(ax, eigenvalues[known][order], kinds[known][order], columns if len(columns) <= 8 else ())
    ax.set(xlabel="critical points by their risk (units of the loss)")
    ax.set_ylabel("eigenvalues of the Hessian (risk / filter²)")
    put_legend(ax)
    return ax


def spectrum_marks(
    ax: Axes, eigenvalues: np.ndarray, kinds: Sequence[Any] | np.ndarray, names: Sequence[str] = ()
) -> None:
    """Eigenvalues as dashes, a column per point.

    Args:
        ax: where to draw; its vertical axis is made logarithmic, symmetrically where there are negative ones.
        eigenvalues: (points, n), in units of risk / filter^2; NaN is left out.
        kinds: of every point, a code of `Kind`.
        names: of the columns; numbers if empty.
    """
    found = eigenvalues[np.isfinite(eigenvalues)]
    largest = float(np.max(np.abs(found), initial=0.0)) or 1.0
    for kind in Kind:
        columns = np.flatnonzero(np.asarray(kinds) == kind)
        if not columns.size:
            continue
        style, rows = KIND_LOOKS[kind], eigenvalues[columns]
        places = np.broadcast_to(columns[:, None], rows.shape)
        drawn = np.isfinite(rows)
        label = kind.word.replace("_", " ")
        ax.plot(
            places[drawn],
            rows[drawn],
            linestyle="",
            marker=style.marker,
            markersize=4.5,
            color=style.colour,
            label=label,
        )
    if (found <= 0).any():
        ax.axhline(0, color="#555555", linewidth=0.8)
        away = np.abs(found[np.abs(found) > _DECADES * largest])
        ax.set_yscale("symlog", linthresh=10.0 ** np.floor(np.log10(away.min() if away.size else largest)))
    else:
        ax.set_yscale("log")
    ax.set_xlim(-0.6, len(eigenvalues) - 0.4)
    if names:
        ax.set_xticks(range(len(names)), list(names))
