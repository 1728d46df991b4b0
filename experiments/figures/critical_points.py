"""Figures of the limits: roots of the layers in the complex plane, and spectra of the Hessian."""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import lcnn_flow as lf
from experiments.figures.root_patterns import projective_roots
from experiments.figures.series import Series, cells, left_out
from experiments.figures.style import Drawing, canvas, columns_for, plain_ticks, put_legend
from experiments.results.balance import networks_of
from experiments.results.layout import sweep_axes
from experiments.results.limits import lowest_flow
from experiments.results.variables import NOT_COMPUTED

__all__ = ["complex_planes", "roots", "spectrum", "squares", "with_networks"]

_MOST_CELLS = 12
_MOST_LIMITS = 10
"""Distinct limits of a cell whose spectra are drawn."""


def roots(dataset: xr.Dataset) -> Drawing | None:
    """Roots of every layer, and of the end-to-end filter, at the lowest limit of every cell."""
    shown = [
        (one, arch, seed)
        for one, arch in with_networks(dataset, _MOST_CELLS)
        if arch.dimension == 1 and arch.channels is None and (seed := lowest_flow(one.data)) is not None
    ]
    shown = [found for found in shown if np.isfinite(_layers(*found)[0]).all()]
    if not shown:
        return None
    layers = [_layers(*found) for found in shown]
    return Drawing(
        "roots",
        "Roots of the filters",
        complex_planes([(one, arch) for one, arch, _ in shown], layers, lf.plot.root_marks),
        "Roots of the polynomial of every layer, w_l(z^S) with S the spacing of its taps, and of the end-to-end "
        "filter, at the lowest limit of every cell. Its roots are those of the layers together; where those of two "
        "layers coalesce the derivative of the network loses rank, and a critical point may be spurious. "
        "Crosses, where the true filter is known, are its roots." + left_out(dataset, _MOST_CELLS),
    )


def spectrum(dataset: xr.Dataset) -> Drawing | None:
    """Hessian eigenvalues of the distinct limits of every cell."""
    if "orbit" not in dataset:  # which limits are one is known of linear networks alone
        return None
    shown = [(one, _distinct(one.data)) for one in cells(dataset, _MOST_CELLS)]
    shown = [(one, limits) for one, limits in shown if limits]
    if not shown:
        return None
    figure, axes = squares(len(shown), 2.5)
    for panel, (one, limits) in zip(axes, shown, strict=True):
        seeds = [seed for seed, _ in limits]
        values, kinds = one.data["hessian_eigenvalues"].values[seeds], one.data["kind"].values[seeds]
        lf.plot.spectrum_marks(panel, values, kinds, [f"{share:.0%}" for _, share in limits])
        panel.tick_params(axis="x", labelsize=7.5, rotation=60 if len(limits) > 6 else 0)
        if panel.get_yscale() == "log":
            plain_ticks(panel.yaxis)
        panel.set_title(one.label)
    figure.supxlabel("distinct limits, the lowest risk first, with their share of the flows", fontsize=9.5)
    figure.supylabel("eigenvalues of the Hessian (risk / filter²)", fontsize=9.5)
    put_legend(figure, axes, 4)
    return Drawing(
        "spectrum",
        "Curvature at the limits",
        figure,
        "Eigenvalues of the Hessian at the distinct isolated limits of every cell, across the directions along which "
        f"factors can be moved between layers, where they vanish; at most {_MOST_LIMITS} limits per cell. Minima are "
        "expected to have none below zero; the ratio of the largest to the smallest one says how much slower the last "
        "part of a flow is than its first." + left_out(dataset, _MOST_CELLS),
    )


def with_networks(dataset: xr.Dataset, most: int) -> list[tuple[Series, lf.Architecture]]:
    """The cells that are shown, at most `most`, with their networks, if these are linear convolutions."""
    axes = sweep_axes(dataset)
    sizes = [dataset.sizes[axis] for axis in axes]
    numbers = xr.Variable(axes, np.arange(int(np.prod(sizes))).reshape(sizes))
    networks = networks_of(dataset)
    shown = cells(dataset.assign_coords(number_of_cell=numbers), most)
    found = [(one, networks[int(one.data["number_of_cell"])]) for one in shown]
    return [(one, arch) for one, arch in found if isinstance(arch, lf.Architecture) and arch.is_linear]


def _layers(one: Series, arch: lf.Architecture, seed: int) -> list[np.ndarray]:
    """Filters of the layers at the limit of a flow, (1, taps) each; cells with fewer taps are filled up."""
    return [
        one.data[f"limit_w{layer}"].values[seed : seed + 1, : shape[0]]
        for layer, shape in enumerate(arch.layer_shapes, start=1)
    ]


def _true_roots(panel: Axes, true_filter: np.ndarray) -> None:
    """Crosses at the roots of the true filter within the frame."""
    found, _ = projective_roots(true_filter)
    found = found[np.abs(found) <= panel.get_xlim()[1]]
    panel.plot(np.real(found), np.imag(found), linestyle="", marker="x", color="#777777", label="true filter")


def complex_planes(
    shown: Sequence[tuple[Series, lf.Architecture]],
    layers: Sequence[list[np.ndarray]],
    marks: Callable[[Axes, list[np.ndarray], list[int]], None],
) -> Figure:
    """A panel of the complex plane per cell, with the roots of the true filter where it is known.

    Args:
        shown: the cells with their networks.
        layers: taps of every layer, for every cell.
        marks: draws the roots: `lf.plot.root_marks`, or `lf.plot.root_path_marks`.
    """
    figure, axes = squares(len(shown), 2.9 if len(shown) > 2 else 3.6)
    for panel, (one, arch), taps in zip(axes, shown, layers, strict=True):
        marks(panel, taps, [stride[0] for stride in arch.cumulative_strides])
        if "true_filter" in one.data:
            _true_roots(panel, one.data["true_filter"].values)
        panel.set_title(one.label)
    figure.supxlabel("real part of the root $z$", fontsize=9.5)
    figure.supylabel("imaginary part of the root $z$", fontsize=9.5)
    put_legend(figure, axes, 4)
    return figure


def _distinct(cell: xr.Dataset) -> list[tuple[int, float]]:
    """One flow per distinct limit, the lowest risk first, and the share of the flows that have this limit."""
    orbit, risk = cell["orbit"].values, cell["limit_risk"].values
    total = int((cell["verdict"].values != NOT_COMPUTED).sum())
    known = np.unique(orbit[np.isfinite(orbit)])[:_MOST_LIMITS]  # the most frequent first
    found = [(int(np.flatnonzero(orbit == number)[0]), float((orbit == number).sum()) / total) for number in known]
    return sorted(found, key=lambda limit: risk[limit[0]])


def squares(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """`count` panels, each with axes of its own."""
    columns = columns_for(count)
    figure, panels = canvas(-(-count // columns), columns, height)
    for panel in panels[count:]:
        panel.remove()
    return figure, panels[:count]
