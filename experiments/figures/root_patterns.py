"""Roots of end-to-end filters in the complex plane: those of the target beside those of the limits."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.lines import Line2D

from experiments.figures.series import cells, left_out
from experiments.figures.style import Drawing, columns_for, grid
from lcnn_flow.critical import Kind

__all__ = ["projective_roots", "real_roots", "root_patterns"]

_ZERO = 1e-10
"""Size of a leading coefficient, relative to the largest, up to which a root lies at infinity."""
_REAL = 1e-3
"""Imaginary part over 1 + |z|^2 up to which a root counts as real: a root of order four splits by rounding^(1/4)."""
_FRAME = 3.5
_Complex = np.ndarray[Any, np.dtype[np.complex128]]


def projective_roots(taps: np.ndarray) -> tuple[_Complex, int]:
    """Finite roots of the polynomial sum_j taps[j] z^j, and how many roots lie at infinity."""
    taps = taps[np.isfinite(taps)]
    size = np.abs(taps).max(initial=0.0)
    degree = np.flatnonzero(np.abs(taps) > _ZERO * size)
    if not degree.size or size == 0:
        return np.zeros(0, np.complex128), 0
    return np.roots(taps[: degree[-1] + 1][::-1]).astype(np.complex128), len(taps) - 1 - int(degree[-1])


def real_roots(taps: np.ndarray) -> int:
    """Number of real projective roots, counted with multiplicity, up to rounding."""
    finite, infinite = projective_roots(taps)
    return int((np.abs(finite.imag) <= _REAL * (1 + np.abs(finite) ** 2)).sum()) + infinite


def root_patterns(dataset: xr.Dataset) -> Drawing | None:
    """Roots of the target and of the minima, a panel per cell."""
    shown = cells(dataset)
    if not shown or "true_filter" not in dataset:
        return None
    series = len({one.look for one in shown})
    columns = series if series in (2, 3, 4) else columns_for(len(shown))  # a row per panel of the others
    figure, axes = grid(len(shown), 2.3, "Re z", "Im z", columns=columns)
    for panel, one in zip(axes, shown, strict=True):
        angle = np.linspace(0, 2 * np.pi, 200)
        panel.plot(np.cos(angle), np.sin(angle), color="#cccccc", linewidth=0.8)
        minima = one.data["kind"].values == Kind.MINIMUM
        for taps in one.data["limit_filter"].values[minima]:
            finite, _ = projective_roots(taps)
            panel.plot(
                finite.real, finite.imag, linestyle="", marker="o", markersize=4, color=one.look.colour, alpha=0.25
            )
        target, _ = projective_roots(one.data["true_filter"].values)
        panel.plot(target.real, target.imag, linestyle="", marker="x", markersize=7, color="#222222")
        panel.set(title=one.label, xlim=(-_FRAME, _FRAME), ylim=(-_FRAME, _FRAME))
        panel.set_aspect("equal")
    marks = [
        Line2D([], [], linestyle="", marker="x", color="#222222", label="target"),
        Line2D([], [], linestyle="", marker="o", color="#777777", alpha=0.6, label="minima that flows found"),
        Line2D([], [], color="#cccccc", label="unit circle"),
    ]
    figure.legend(handles=marks, loc="outside upper right", ncols=3)
    return Drawing(
        "root_patterns",
        "Roots of targets and limits",
        figure,
        "Zeros of the polynomials v(z) = Σ v_j z^j of the target (crosses) and of every minimum that a flow found "
        "(dots, darker where many coincide). A filter of even size has a real root: targets with fewer "
        "real roots than there are such filters are out of reach, and the theory expects the limits to have a repeated "
        "real root instead." + left_out(dataset, 24),
    )
