"""The landscape of two filters of two taps in its two angles: level lines, critical points, and flows.

Up to the size of v the filters are w_l = (cos a_l, sin a_l), and v = s u(a_1, a_2) with u = w_1 * w_2. The least over s
of the square loss l(v) = l(0) - pull . v + v . curvature v / 2 is l(0) - (pull . u)^2 / (2 u . curvature u): a function
of the two angles, periodic in both with period pi, whose critical points below l(0) are those of the risk with v != 0,
with the same number of negative curvatures, because the risk is convex in s. Derived.
"""

import re
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes

import lcnn_flow as lf
from experiments.figures.critical_points import squares
from experiments.figures.style import INK, Drawing, pretty, put_legend
from experiments.results.census import certified_spurious, is_complete, real_points
from experiments.results.data_groups import axes_of_groups
from experiments.results.layout import computed_cells

__all__ = ["angles_of", "decrease", "phase_plane"]

_MOST_PANELS = 6
_GRID = 181
_LEVELS = 14
_MARKS = (
    ("global minimum", lf.plot.look(0).colour, "o"),
    ("spurious minimum", lf.plot.look(1).colour, "s"),
    ("saddle of index 1", lf.plot.look(5).colour, "P"),
    ("index 2: a maximum over both angles", lf.plot.look(2).colour, "^"),
)
_NEEDED = ("pull", "curvature", "point_filter", "shown_w1", "shown_w2", "census_point")
_OF_CENSUS = ("census_status", "point_risk", "point_index", "point_is_lowest", "verdict")
_Ranked = tuple[int, str, xr.Dataset]
"""Starts in spurious minima, title and cell."""


def decrease(pull: np.ndarray, curvature: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Most that the risk can fall below that of filter 0 at given angles, as a share of that of least squares.

    Args:
        pull: minus the gradient of the risk of v at v = 0, (3,).
        curvature: its second derivative, positive definite, (3, 3).
        first: angles of the first filter, of any shape.
        second: angles of the second filter, of the same shape.

    Returns:
        Numbers from 0 to 1 in that shape; 1 where u is parallel to the least-squares filter.
    """
    u = np.stack([np.cos(first) * np.cos(second), np.sin(first + second), np.sin(first) * np.sin(second)], axis=-1)
    most = pull @ np.linalg.solve(curvature, pull)
    return (u @ pull) ** 2 / (np.einsum("...i,ij,...j", u, curvature, u) * most)


def angles_of(taps: np.ndarray) -> np.ndarray:
    """Angles in [0, pi) of the two filters of two taps whose product is a filter of three, (2,), in either order.

    c + s z has the root -c/s, so that the angle is that of (-z, 1); of large roots it is found from 1/z. A double root
    splits by rounding into two complex ones, of which the real part is taken.
    """
    swapped = abs(taps[0]) > abs(taps[2])
    z = np.roots(taps if swapped else taps[::-1]).real
    z = np.concatenate([z, np.zeros(2 - len(z))]) if swapped else z  # a leading 0 is a root at infinity
    return np.mod(np.arctan2(-z, 1) if swapped else np.arctan2(1, -z), np.pi)


def phase_plane(dataset: xr.Dataset) -> Drawing | None:
    """Level lines over both angles with all critical points and the first flows, a panel per landscape."""
    if any(name not in dataset for name in _NEEDED):
        return None
    shown = _landscapes(dataset)
    if not shown:
        return None
    figure, axes = squares(len(shown), 2.6 if len(shown) > 2 else 3.6)
    for panel, (title, cell) in zip(axes, shown, strict=True):
        _levels(panel, cell)
        _flows(panel, cell)
        _points(panel, cell)
        panel.set(title=title, xlim=(0, np.pi), ylim=(0, np.pi), aspect="equal")
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_ticks([0, np.pi / 2, np.pi], ["0", "π/2", "π"])
        panel.grid(visible=False)
    figure.supxlabel("angle of $w_1$ (radians)", fontsize=9.5)
    figure.supylabel("angle of $w_2$ (radians)", fontsize=9.5)
    put_legend(figure, axes, 3)
    return Drawing(
        "phase_plane",
        "The landscape in two angles",
        figure,
        "Two filters of two taps are two angles and a size. Shades are levels of the least risk over the size: the "
        "part of the decrease from the filter 0 to least squares that the angles allow, from 0 (white) to 1 (blue). "
        "Opposite edges are the same angle. Marks are all critical points with v ≠ 0, by the census; on the dashed "
        "diagonal the filters have a common root. Black lines are the angles along the first flows, from a dot on; "
        "their size is not the best one, so that they may cross levels in both directions. The theory expects every "
        "critical point that is not the least-squares filter on the diagonal, and flows to end in minima. "
        "One panel per kind of data, of the data set and with the starts that end most often in spurious minima.",
    )


def _landscapes(dataset: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    """Titles and cells of different data, each with the starts that end most often in spurious minima.

    Of cells that differ in the seed of their data alone it is one, that with most such starts.
    """
    read = [*_NEEDED, *_OF_CENSUS, *(name for name in _layers_along(dataset) if name not in _NEEDED)]
    kinds = [axis for axis in axes_of_groups(dataset) if dataset.sizes[axis] > 1]
    of_data: dict[bytes, _Ranked] = {}
    for _, _, cell in computed_cells(dataset[read]):
        if not is_complete(cell) or np.isfinite(cell["pull"].values).sum() != 3 or not _is_of_two_pairs(cell):
            continue
        spurious = certified_spurious(cell)
        starts = int(np.isin(cell["census_point"].values, spurious).sum())
        title = ", ".join(f"{pretty(axis)} = {pretty(cell[axis].values.item())}" for axis in kinds)
        _keep(of_data, cell["pull"].values.tobytes() + cell["curvature"].values.tobytes(), (starts, title, cell))
    of_kind: dict[str, _Ranked] = {}
    for found in of_data.values():
        _keep(of_kind, found[1], found)
    chosen = list(of_kind.values())
    places = sorted({round(place) for place in np.linspace(0, len(chosen) - 1, min(len(chosen), _MOST_PANELS))})
    return [chosen[place][1:] for place in places]


def _keep(best: dict[Any, _Ranked], key: Any, found: _Ranked) -> None:
    """Puts a cell in the place of one with fewer starts in spurious minima."""
    if key not in best or found[0] > best[key][0]:
        best[key] = found


def _is_of_two_pairs(cell: xr.Dataset) -> bool:
    """Whether the filters are two of two taps, and known along some flows."""
    known = [name for name in _layers_along(cell) if np.isfinite(cell[name].values).any()]
    sizes = [int(np.isfinite(cell[name].values).any(axis=(0, 1)).sum()) for name in known]
    return sizes == [2, 2]


def _layers_along(dataset: xr.Dataset) -> list[str]:
    """Names of the filters along the flows."""
    return [name for name in map(str, dataset.data_vars) if re.fullmatch(r"shown_w\d+", name)]


def _levels(panel: Axes, cell: xr.Dataset) -> None:
    """Level lines of the decrease, and the diagonal of common roots."""
    angle = np.linspace(0, np.pi, _GRID)
    values = decrease(cell["pull"].values[:3], cell["curvature"].values[:3, :3], *np.meshgrid(angle, angle))
    shades = colormaps["Blues"](np.linspace(0, 0.55, _LEVELS))  # pale, so that marks stand out
    panel.contourf(angle, angle, values, levels=np.linspace(0, 1, _LEVELS + 1), colors=shades, zorder=0)
    panel.plot([0, np.pi], [0, np.pi], color=INK, linestyle="--", linewidth=0.9, zorder=1, label="common root")


def _flows(panel: Axes, cell: xr.Dataset) -> None:
    """Angles along the first flows, interrupted where they pass an edge of the picture."""
    style: dict[str, Any] = {"color": INK, "linewidth": 1.0}
    for first, second in zip(cell["shown_w1"].values, cell["shown_w2"].values, strict=True):
        path = np.mod(np.stack([np.arctan2(w[:, 1], w[:, 0]) for w in (first, second)], axis=1), np.pi)
        path = path[np.isfinite(path).all(axis=1)]
        if len(path):
            jumps = np.flatnonzero((np.abs(np.diff(path, axis=0)) > np.pi / 2).any(axis=1)) + 1
            panel.plot(*path[0], marker=".", markersize=6, linestyle="", color=style["color"], zorder=3)
            panel.plot(*np.insert(path, jumps, np.nan, axis=0).T, label="flow", zorder=2, **style)


def _points(panel: Axes, cell: xr.Dataset) -> None:
    """All critical points by their kind, with exchanged filters too."""
    index, lowest = cell["point_index"].values, cell["point_is_lowest"].values
    places: dict[int, list[np.ndarray]] = {}
    for number in range(real_points(cell)):
        if np.isfinite(index[number]):
            kind = int(index[number]) + 1 if index[number] > 0 else int(lowest[number] != 1)
            pair = angles_of(cell["point_filter"].values[number, :3])
            places.setdefault(kind, []).extend([pair, pair[::-1]])
    for kind, found in sorted(places.items()):
        label, colour, marker = _MARKS[kind]
        look: dict[str, Any] = {"marker": marker, "color": colour, "markeredgecolor": INK, "markeredgewidth": 0.6}
        panel.plot(*np.asarray(found).T, linestyle="", markersize=7, label=label, zorder=4, clip_on=False, **look)
