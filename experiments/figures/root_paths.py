"""Paths of the roots of all layers along a few flows, in the complex plane: a panel per cell."""

import numpy as np
import xarray as xr

import lcnn_flow as lf
from experiments.figures.critical_points import complex_planes, with_networks
from experiments.figures.series import left_out
from experiments.figures.style import Drawing

__all__ = ["root_paths"]

_MOST_CELLS = 12
_MOST_FLOWS = 3
"""Flows of a panel: more paths can hardly be told apart."""


def root_paths(dataset: xr.Dataset) -> Drawing | None:
    """Roots of every layer from the start to the limit, of the first flows of every cell."""
    if "shown_w1" not in dataset:
        return None
    shown = [(one, arch) for one, arch in with_networks(dataset, _MOST_CELLS) if _is_shown(one.data)]
    if not shown:
        return None
    courses = [_courses(one.data, arch) for one, arch in shown]
    flows = min(_MOST_FLOWS, dataset.sizes["shown_flow"])
    return Drawing(
        "root_paths",
        "Roots along the flow",
        complex_planes(shown, courses, lf.plot.root_path_marks),
        "Roots of the polynomial of every layer, w_l(z^S) with S the spacing of its taps, "
        f"{f'along the first {flows} flows' if flows > 1 else 'along the first flow'} of every cell, from dots to the "
        "mark of the layer at the limit; those beyond the frame stand at its border with their modulus. All together "
        "are the roots of the end-to-end filter. A line ends where it cannot be told which root goes on. The theory "
        "expects an odd number of real roots, infinity included, in every layer of even size all along the way, and at "
        "stride 1 that limits which miss the least-squares filter have a root that two layers share (rings). Crosses, "
        "where the true filter is known, are its roots." + left_out(dataset, _MOST_CELLS),
    )


def _is_shown(cell: xr.Dataset) -> bool:
    return bool(np.isfinite(cell["shown_w1"].values).any())


def _courses(cell: xr.Dataset, arch: lf.Architecture) -> list[np.ndarray]:
    """Filters of every layer, (flows, times, taps), the limit being the last where there is one."""
    found = []
    for layer, shape in enumerate(arch.layer_shapes, start=1):
        along = cell[f"shown_w{layer}"].values[:_MOST_FLOWS, :, : shape[0]]
        limit = cell[f"limit_w{layer}"].values[: len(along), None, : shape[0]]
        found.append(np.concatenate([along, limit], axis=1))
    return found
