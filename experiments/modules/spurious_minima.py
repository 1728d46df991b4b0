"""How often does gradient flow end in a spurious minimum? Anisotropy of the data, initial scale, imbalance.

The target is attainable, so that the global minimum has risk 0. For two filters of two taps all minima are known in
closed form: what a flow finds is compared with them.
"""

import re

import numpy as np
import xarray as xr

from experiments.claims import (
    SATISFIED,
    UNDECIDED,
    VIOLATED,
    Claim,
    balancedness_conserved,
    cell_by_cell,
    certificates_agree,
    flow_converges,
    gradient_vanishes,
    judge,
    open_question,
)
from experiments.closed_forms import minima_of_two_pairs
from experiments.computing.outer import outer_risk
from experiments.computing.shown_flows import flows_of_two_pairs
from experiments.computing.solved_cell import SolvedCell
from experiments.figures import filters, phase_plane
from experiments.figures.heat_map import heat_map
from experiments.figures.style import Drawing
from experiments.modules.base import Module, convolution_of
from experiments.modules.cells import configured_cells
from experiments.questions import QUESTIONS
from experiments.results.census import certified_spurious, is_complete, of_census
from experiments.results.layout import computed_cells, sweep_axes
from experiments.results.shares import share
from experiments.results.variables import NOT_COMPUTED
from experiments.schema import Configuration, SyntheticData
from experiments.sweeps.labels import value_text
from lcnn_flow.critical import Kind

__all__ = [
    "SPURIOUS_MINIMA",
    "ends_above_the_least_risk_are_certified",
    "isotropic_data_have_none",
    "minima_are_those_of_the_closed_form",
    "minima_in_closed_form",
    "small_starts_end_together",
    "spurious_count",
]

_SAME = 1e-6
"""Relative distance up to which two filters are the same."""
_TINY = 1e-2
"""Initial scale, relative to the others of a sweep at most, from which on starts count as small."""
_TOGETHER = 0.95


def spurious_count(cell: xr.Dataset) -> tuple[int, int]:
    """Starts of a cell that end in a minimum above the least risk over all filters, and starts that were computed."""
    computed = cell["verdict"].values != NOT_COMPUTED
    return int(_is_spurious(cell).sum()), int(computed.sum())


def _is_spurious(cell: xr.Dataset) -> np.ndarray:
    """Starts that ended in a minimum certified to be spurious, or above the least risk without a census; (seeds,)."""
    if is_complete(cell):
        return np.isin(cell["census_point"].values, certified_spurious(cell))
    return _is_above(cell)


def _is_above(cell: xr.Dataset) -> np.ndarray:
    """Targets are attainable, so that minima with a gap to the optimum over all filters are spurious; (seeds,)."""
    start = cell["final_risk"].values + cell["final_energy"].values
    rounding = 1e-10 * np.nan_to_num(start)
    return (cell["kind"].values == Kind.MINIMUM) & (np.nan_to_num(cell["optimality_gap"].values) > rounding)


def minima_in_closed_form(cell: xr.Dataset) -> np.ndarray | None:
    """Filters of all minima of a cell, (minima, 3), where they are known: two filters of two taps that make three."""
    layers = [str(name) for name in cell.data_vars if re.fullmatch(r"final_w\d+", str(name))]
    sizes = [int(np.isfinite(cell[name].values).any(axis=0).sum()) for name in layers]
    if [size for size in sizes if size] != [2, 2] or "curvature" not in cell:
        return None
    taps = np.isfinite(cell["pull"].values)
    if taps.sum() != 3:
        return None
    return minima_of_two_pairs(cell["pull"].values[:3], cell["curvature"].values[:3, :3])[0]


def minima_are_those_of_the_closed_form(dataset: xr.Dataset) -> Claim | None:
    """Every minimum that a flow found against the list of all minima of its cell."""
    distance = xr.full_like(dataset["limit_risk"], np.nan, dtype=float)
    axes, known = sweep_axes(dataset), False
    for _, index, cell in computed_cells(dataset):
        minima = minima_in_closed_form(cell)
        if minima is None or not len(minima):
            continue
        known = True
        learned = cell["limit_filter"].values[:, None, :3]
        gaps = np.linalg.norm(learned - minima, axis=-1) / np.linalg.norm(minima, axis=-1)
        distance[dict(zip(axes, index, strict=True))] = gaps.min(axis=1)
    if not known:
        return None
    minimum = dataset["kind"] == Kind.MINIMUM
    dataset = dataset.assign(verdict=xr.where(minimum & distance.notnull(), dataset["verdict"], NOT_COMPUTED))
    status = xr.where(distance <= _SAME, SATISFIED, xr.where(distance > _SAME, VIOLATED, UNDECIDED))
    return judge(
        dataset,
        "Every minimum that a flow finds is one of the closed form",
        f"end-to-end filter within {_SAME:g} of one of the list: least squares, and real roots of a quartic",
        status,
        distance,
        "largest relative distance {value}",
    )


def ends_above_the_least_risk_are_certified(dataset: xr.Dataset) -> Claim | None:
    """Cells with a complete census: the starts above the least risk are those in certified spurious minima."""
    rows = []
    for name, _, cell in computed_cells(dataset):
        if is_complete(cell):
            above, proved = _is_above(cell), _is_spurious(cell)
            text = f"{above.sum()} starts above the least risk, {proved.sum()} in certified spurious minima"
            rows.append((name, text, "agrees" if np.array_equal(above, proved) else "disagrees"))
    statement = "The minima above the least risk are certified to be spurious by the census of all critical points"
    return cell_by_cell(statement, "the same starts", rows)


def isotropic_data_have_none(dataset: xr.Dataset) -> Claim | None:
    """Cells of the closed form with a single minimum: none of their starts may end in a spurious one."""
    rows = []
    for name, cell, _ in configured_cells(dataset):
        minima = minima_in_closed_form(cell)
        if minima is not None and len(minima) == 1:
            count, total = spurious_count(cell)
            rows.append((name, f"{count} of {total} starts", "agrees" if count == 0 else "disagrees"))
    return cell_by_cell("Where the closed form has a single minimum, no start ends in a spurious one", "0 starts", rows)


def small_starts_end_together(dataset: xr.Dataset) -> Claim | None:
    """The share of the most frequent limit in cells of small starts, of networks of two filters.

    Near 0 the flow is linear, w_1' = B w_2, w_2' = B^T w_1, B_ij = pull_(i + S j): the part along the leading singular
    vectors outgrows the others, and its sign does not change v. So all starts leave 0 along one path. Derived.
    """
    rows = []
    for name, cell, configuration in configured_cells(dataset):
        std = getattr(configuration.initializer, "std", np.inf)
        if std > _TINY or len(convolution_of(configuration).kernel_sizes) != 2:
            continue
        found, total = _most_frequent(cell)
        if total:
            text = f"{found} of {total} starts in one filter"
            rows.append((name, text, "agrees" if found >= _TOGETHER * total else "disagrees"))
    return cell_by_cell(
        f"Small starts (std at most {_TINY:g}) end in one filter, whichever they are",
        f"the most frequent end-to-end filter takes {_TOGETHER:.0%} of the starts or more",
        rows,
    )


def _most_frequent(cell: xr.Dataset) -> tuple[int, int]:
    """Starts that end in the most frequent end-to-end filter, and starts with a limit."""
    learned = cell["limit_filter"].values
    learned = learned[np.isfinite(learned).all(axis=1)]
    if not len(learned):
        return 0, 0
    size = np.linalg.norm(learned, axis=1).max()
    near = np.linalg.norm(learned[:, None] - learned, axis=-1) <= _SAME * size
    return int(near.sum(axis=1).max()), len(learned)


def shares_are_open(dataset: xr.Dataset) -> Claim:
    """How the share of spurious limits depends on start and data."""
    rows = [(name, share(*spurious_count(cell))) for name, cell, _ in configured_cells(dataset)]
    counts = [spurious_count(cell) for _, _, cell in computed_cells(dataset)]
    highest = max(range(len(counts)), key=lambda i: counts[i][0] / counts[i][1]) if counts else None
    words = "nothing was computed" if highest is None else f"at most {rows[highest][1]}, in the cell {rows[highest][0]}"
    return open_question("How many starts end in spurious minima", words, rows)


def spurious_answer(dataset: xr.Dataset) -> str:
    """Shares by the values of every axis, all other axes together."""
    counts = [spurious_count(cell) for _, _, cell in computed_cells(dataset)]
    if not counts:
        return "No flow was computed."
    seen, total = sum(c for c, _ in counts), sum(t for _, t in counts)
    text = f"Spurious minima catch {share(seen, total)} of the whole sweep{_certified(dataset)}"
    several = [axis for axis in sweep_axes(dataset) if dataset.sizes[axis] > 1]
    return text + "".join(f"; by {axis} {', '.join(_by_value(dataset, axis))}" for axis in several) + "."


def _certified(dataset: xr.Dataset) -> str:
    """In how many cells what is spurious is certified."""
    cells = [is_complete(cell) for _, _, cell in computed_cells(of_census(dataset))]
    if not any(cells):
        return ""
    where = f"in all {len(cells)} cells" if all(cells) else f"in {sum(cells)} of {len(cells)} cells"
    return f", certified by a census of all critical points {where}"


def _by_value(dataset: xr.Dataset, axis: str) -> list[str]:
    """Share of the spurious limits at the first, the middle and the last value of an axis."""
    last, parts = dataset.sizes[axis] - 1, []
    for i in sorted({0, last // 2, last}):
        counts = [spurious_count(cell) for _, _, cell in computed_cells(dataset.isel({axis: [i]}))]
        seen, total = sum(c for c, _ in counts), sum(t for _, t in counts)
        parts.append(f"{seen / max(total, 1):.0%} at {value_text(dataset[axis].values[i])}")
    return parts


def spurious_share(dataset: xr.Dataset) -> Drawing | None:
    """Heat map of the share of starts that end in spurious minima."""
    return heat_map(
        dataset,
        "spurious_share",
        "Starts that end in spurious minima",
        "Share of the starts that end in a minimum above the global one (risk 0, as the target is attainable), with "
        "its 95% interval of Wilson; where the census of a cell is complete these minima are certified. Dotted frames: "
        "by the closed form the cell has no spurious minimum, and 0 is expected, as for isotropic data (condition 1). "
        "Elsewhere the theory gives the minima; the shares are open, but for the smallest starts, all of which are "
        "expected to end in the same filter.",
        spurious_count,
        lambda cell: (minima := minima_in_closed_form(cell)) is not None and len(minima) == 1,
    )


def _faults(configuration: Configuration) -> list[tuple[str, str]]:
    data = configuration.data
    message = "a minimum is spurious if a better filter is attainable: use targets of the kind planted or cascade"
    if not isinstance(data, SyntheticData) or data.targets.kind not in ("planted", "cascade"):
        return [("data.targets.kind" if isinstance(data, SyntheticData) else "data.kind", message)]
    if configuration.loss.kind != "square":
        return [("loss.kind", f'found "{configuration.loss.kind}"; minima are known in closed form for "square" alone')]
    if data.noise > 0 or (data.outliers is not None and data.outliers.fraction > 0):
        return [("data.noise", "the least risk must be 0 to tell what is spurious: leave noise and outliers out")]
    return []


def _per_cell(cell: SolvedCell) -> dict[str, np.ndarray]:
    return outer_risk(cell) | flows_of_two_pairs(cell)


SPURIOUS_MINIMA = Module(
    name="spurious_minima",
    question=QUESTIONS["spurious_minima"],
    theory=(
        "With an attainable target a fully connected linear network has no spurious minimum (Kawaguchi 2016, Laurent "
        "and von Brecht 2018); a convolutional one may have them. For two filters of two taps and the square loss all "
        "minima are known: the least-squares filter, and filters with a double root that solve a quartic. For "
        "isotropic data (P^T P a multiple of 1) the target is the only one. Which starts run into the others is "
        "open, but for small starts: near 0 the flow is linear, all of them leave along the leading "
        "singular vectors of the pull of the data, and so they end in the same filter."
    ),
    axes={
        "data.inputs.condition": "anisotropy of the data (one compiled program)",
        "initializer.std": "initial scale",
        "initializer.ratio": "imbalance |w_1| / |w_N| of the start",
        "data.seed": "other targets and directions of anisotropy",
    },
    figures=(spurious_share, phase_plane, filters),
    answer=spurious_answer,
    claims=(
        minima_are_those_of_the_closed_form,
        isotropic_data_have_none,
        small_starts_end_together,
        shares_are_open,
        ends_above_the_least_risk_are_certified,
        flow_converges,
        gradient_vanishes,
        balancedness_conserved,
        certificates_agree,
    ),
    faults=_faults,
    per_cell=_per_cell,
    linear=True,
    convolution=True,
    dynamics="flow",
    tells_census=True,
)
