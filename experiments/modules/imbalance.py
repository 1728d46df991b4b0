"""What an imbalance |w_1| / |w_N| of the start does to rates, limits and their index."""

import numpy as np
import xarray as xr

from experiments.claims import (
    Claim,
    balancedness_conserved,
    cell_by_cell,
    certificates_agree,
    flow_converges,
    gradient_vanishes,
    open_question,
)
from experiments.figures import filters
from experiments.figures.scaling import Line, scaling
from experiments.figures.style import Drawing
from experiments.modules.base import Module, convolution_of
from experiments.modules.cells import configured_cells
from experiments.questions import QUESTIONS
from experiments.results.limits import lowest_flow
from experiments.schema import Configuration
from lcnn_flow.critical import Kind

__all__ = ["IMBALANCE", "curvatures_scale_with_the_ratio", "index_does_not_depend_on_the_ratio"]

_SAME = 1e-6
"""Relative distance up to which two filters are the same."""
_LARGE = 20.0
"""Ratio of the norms at the limit from which on the powers of the theory are expected."""
_TOLERANCE = 0.1


def _at_lowest(dataset: xr.Dataset) -> list[tuple[float, float, float, float]]:
    """Ratio of the norms, smallest and largest curvature, and time, medians over the starts in the lowest limit."""
    found = []
    for _, cell, _ in configured_cells(dataset):
        seed = lowest_flow(cell)
        if seed is None or cell["kind"].values[seed] != Kind.MINIMUM:
            continue
        learned = cell["limit_filter"].values
        size = np.linalg.norm(np.nan_to_num(learned[seed]))
        same = np.linalg.norm(np.nan_to_num(learned - learned[seed], nan=np.inf), axis=1) <= _SAME * size
        here = same & (cell["kind"].values == Kind.MINIMUM)
        first, last = (np.linalg.norm(cell[name].values[here], axis=1) for name in ("limit_w1", "limit_w2"))
        spectrum = cell["hessian_eigenvalues"].values[here]
        ends = np.nanmin(spectrum, axis=1), np.nanmax(spectrum, axis=1)
        numbers = [float(np.median(n)) for n in (first / last, *ends, cell["final_time"].values[here])]
        found.append((numbers[0], numbers[1], numbers[2], numbers[3]))
    return found


def curvatures_scale_with_the_ratio(dataset: xr.Dataset) -> Claim | None:
    """Slopes of log curvature against log ratio beyond `_LARGE`: -1 for the smallest, 1 for the largest.

    J = dv/dw = (C(w_2), C(w_1)), with |w_1| = sqrt(r p), |w_2| = sqrt(p / r): the k_2 directions that w_2 moves have
    curvature of order r p, and the k_1 - 1 others, which only w_1 moves, p / r. Derived.
    """
    points = np.array([found for found in _at_lowest(dataset) if found[0] >= _LARGE])
    if len(points) < 2:
        return None
    rows = []
    for name, column, wanted in (("smallest curvature", 1, -1.0), ("largest curvature", 2, 1.0)):
        slope = float(np.polyfit(np.log(points[:, 0]), np.log(points[:, column]), 1)[0])
        conclusion = "agrees" if abs(slope - wanted) <= _TOLERANCE else "disagrees"
        rows.append((name, f"power {slope:.3f} of the ratio, expected {wanted:g}", conclusion))
    return cell_by_cell(
        "The smallest curvature falls like the ratio of the norms, the largest grows like it",
        f"powers −1 and 1 of |w_1| / |w_2| at the limit, within {_TOLERANCE:g}, for ratios from {_LARGE:g} on",
        rows,
        "powers",
    )


def index_does_not_depend_on_the_ratio(dataset: xr.Dataset) -> Claim | None:
    """Limits of the whole sweep with the same filter must have the same index: rescaling is a congruence."""
    filters_found: list[np.ndarray] = []
    groups: list[list[tuple[str, int]]] = []
    for name, cell, _ in configured_cells(dataset):
        for taps, index in zip(cell["limit_filter"].values, cell["hessian_index"].values, strict=True):
            if not (np.isfinite(taps).all() and index >= 0):
                continue
            size = np.linalg.norm(taps)
            near = [bool(np.linalg.norm(taps - other) <= _SAME * size) for other in filters_found]
            if not any(near):
                filters_found.append(taps)
                groups.append([])
                near.append(True)
            groups[near.index(True)].append((name, int(index)))
    rows = []
    for number, group in enumerate(groups, start=1):
        indices, cells_met = {index for _, index in group}, {name for name, _ in group}
        if len(cells_met) > 1:
            text = f"index {', '.join(map(str, sorted(indices)))} in {len(cells_met)} cells"
            rows.append((f"filter {number}", text, "agrees" if len(indices) == 1 else "disagrees"))
    return cell_by_cell(
        "A limit has the same index whatever the imbalance",
        "one index for every end-to-end filter that is met in several cells (Sylvester's law of inertia)",
        rows,
        "filters",
    )


def time_grows_with_the_ratio(dataset: xr.Dataset) -> Claim:
    """How the time to converge and the limits change with the imbalance."""
    points = np.array([found for found in _at_lowest(dataset) if found[0] >= _LARGE])
    if len(points) < 2:
        return open_question("How long the flows take", "too few ratios to tell")
    slope = float(np.polyfit(np.log(points[:, 0]), np.log(points[:, 3]), 1)[0])
    return open_question("How long the flows take", f"the time grows like the power {slope:.2f} of the ratio")


def imbalance_answer(dataset: xr.Dataset) -> str:
    """Smallest curvature and time at the least and at the largest ratio."""
    points = _at_lowest(dataset)
    if not points:
        return "No flow ended in a minimum."
    low, high = min(points), max(points)
    return (
        f"From a ratio of the norms of {low[0]:.3g} to one of {high[0]:.3g} at the limit, the smallest curvature, "
        f"which is the rate of convergence, goes from {low[1]:.2g} to {high[1]:.2g}, the largest from {low[2]:.2g} to "
        f"{high[2]:.2g}, and the time to converge from {low[3]:.2g} to {high[3]:.2g}."
    )


def curvature_figure(dataset: xr.Dataset) -> Drawing | None:
    """Curvatures of the lowest limit against the ratio, both logarithmic."""
    points = np.array(_at_lowest(dataset))
    if len(points) < 2:
        return None
    points = points[np.argsort(points[:, 0])]
    ratio = points[:, 0]
    lines = [
        Line("largest curvature", ratio, points[:, 2], ratio / ratio[-1] * points[-1, 2]),
        Line("smallest curvature", ratio, points[:, 1], ratio[-1] / ratio * points[-1, 1]),
    ]
    return scaling(
        "curvatures",
        "Curvatures at the lowest limit",
        "|w₁| / |w₂| at the limit",
        "Hessian eigenvalue (risk / filter²)",
        [("", lines)],
        "Smallest and largest Hessian eigenvalue across the rescaling at the lowest limit of every cell, medians over "
        "the starts. The theory expects the dashed powers −1 and 1 of the ratio where it is large.",
    )


def _faults(configuration: Configuration) -> list[tuple[str, str]]:
    if len(convolution_of(configuration).kernel_sizes) != 2 or convolution_of(configuration).channels is not None:
        return [("network.kernel_sizes", "write two layers of a single channel: the powers are those of two layers")]
    return []


IMBALANCE = Module(
    name="imbalance",
    question=QUESTIONS["imbalance"],
    theory=(
        "The imbalance h = (|w_1|² − |w_2|²)/2 is conserved, so a start with |w_1| ≫ |w_2| ends so. Rescaling maps the "
        "critical points of one h to those of another and changes neither v nor, by Sylvester's law, the index. But it "
        "changes the curvatures: k_2 directions of v are moved by w_2, with a curvature that grows like the ratio "
        "r = |w_1| / |w_2|, and the k_1 − 1 others are moved by w_1 alone, with one that falls like 1/r. So the "
        "flow gets stiffer like r², and slower like r."
    ),
    axes={
        "initializer.ratio": "imbalance of the start (one compiled program)",
        "initializer.std": "initial scale",
        "data.seed": "other data",
    },
    figures=(curvature_figure, filters),
    answer=imbalance_answer,
    claims=(
        curvatures_scale_with_the_ratio,
        index_does_not_depend_on_the_ratio,
        time_grows_with_the_ratio,
        flow_converges,
        gradient_vanishes,
        balancedness_conserved,
        certificates_agree,
    ),
    faults=_faults,
    linear=True,
    convolution=True,
    dynamics="flow",
)
