"""Which critical points does a problem have? Minima, saddles by index, and what joins them, over data and networks.

Every cell has the census of all its critical points; flows only show which of them starts find.
"""

import numpy as np
import xarray as xr

from experiments.census_answer import census_answer
from experiments.claims import (
    SATISFIED,
    VIOLATED,
    Claim,
    cell_by_cell,
    flow_converges,
    gradient_vanishes,
    judge,
    open_question,
)
from experiments.computing.census import morse_ends
from experiments.computing.outer import outer_risk
from experiments.computing.shown_flows import flows_of_two_pairs
from experiments.computing.solved_cell import SolvedCell
from experiments.figures import phase_plane
from experiments.figures.landscapes import morse_graphs, points_by_index, spurious_over_data
from experiments.modules.base import Module
from experiments.modules.spurious_minima import minima_in_closed_form
from experiments.questions import QUESTIONS
from experiments.results.census import is_complete, status_of_census, with_census
from experiments.results.data_groups import DataGroup, data_groups, mean_points, starts_in_spurious, with_spurious
from experiments.results.variables import NOT_COMPUTED
from experiments.schema import Configuration
from lcnn_flow import Verdict
from lcnn_flow.landscape import wilson_interval

__all__ = [
    "LANDSCAPE",
    "all_points_are_found",
    "flows_end_at_minima_of_the_census",
    "index_sums_are_those_of_the_topology",
    "minima_are_joined_by_saddles",
    "minima_are_those_of_two_pairs",
]

_SAME = 1e-6
"""Relative distance up to which two filters are the same."""
_Rows = list[tuple[str, str, str]]


def all_points_are_found(dataset: xr.Dataset) -> Claim | None:
    """N(k) complex critical points, each certified, in every cell."""
    rows: _Rows = []
    for name, cell in with_census(dataset):
        found = float(cell["census_found"]) if "census_found" in cell else np.nan
        status = status_of_census(cell).replace("_", " ")
        count = "none" if np.isnan(found) else f"{found:.0f}"
        text = f"{count} of {int(cell['census_expected_count'])} certified, {status}"
        rows.append((name, text, "agrees" if is_complete(cell) else "undecided"))
    return cell_by_cell(
        "There are as many complex critical points as the filter sizes say",
        "N(k), the Euclidean distance degree of the Segre variety, all of them certified",
        rows,
    )


def index_sums_are_those_of_the_topology(dataset: xr.Dataset) -> Claim | None:
    """The sum of (-1)^index over the real points of complete cells, which the topology of the filters gives."""
    rows: _Rows = []
    for name, cell in with_census(dataset):
        if not is_complete(cell) or not np.isfinite(cell["census_expected_index_sum"]):
            continue
        found, expected = int(cell["census_index_sum"]), int(cell["census_expected_index_sum"])
        rows.append((name, f"{found}, expected {expected}", "agrees" if found == expected else "disagrees"))
    return cell_by_cell(
        "The sum of (-1)^index over all critical points is a topological number",
        "that of the architecture for data in general position, as by Morse theory",
        rows,
    )


def flows_end_at_minima_of_the_census(dataset: xr.Dataset) -> Claim | None:
    """Every CONVERGED flow of a complete cell ends at a certified point of index 0."""
    if "census_point" not in dataset:
        return None
    flows = (dataset["verdict"] == Verdict.CONVERGED) & (dataset["census_status"] == 0)
    if not bool(flows.any()):
        return None
    number = dataset["census_point"].fillna(-1).astype(int)
    reached = number >= 0
    index = dataset["point_index"].isel(critical_point=number.clip(min=0))
    risk = dataset["point_risk"].isel(critical_point=number.clip(min=0))
    gap = (abs(dataset["limit_risk"] - risk) / dataset["census_risk_at_zero"]).where(reached)
    known = xr.where(reached & (index == 0), SATISFIED, VIOLATED).transpose(*dataset["verdict"].dims)
    dataset = dataset.assign(verdict=xr.where(flows, dataset["verdict"], NOT_COMPUTED))
    return judge(
        dataset,
        "Every flow that converges ends at a minimum of the census",
        f"unit filters within {_SAME:g} of a certified critical point of index 0",
        known,
        gap.transpose(*dataset["verdict"].dims),
        "largest difference of the risks {value} of that of the filter 0",
    )


def minima_are_joined_by_saddles(dataset: xr.Dataset) -> Claim | None:
    """Connected Morse graphs, in cells in which all flows down from saddles of index 1 end in minima."""
    rows: _Rows = []
    for name, cell in with_census(dataset):
        if not is_complete(cell) or "point_flows_to" not in cell:
            continue
        groups, others = _joined_minima(cell)
        if not others:
            text = f"{int(cell['census_minima'])} minima in {groups} group{'s' if groups > 1 else ''}"
            rows.append((name, text, "agrees" if groups == 1 else "disagrees"))
    return cell_by_cell(
        "Saddles of index 1 join all minima to one another",
        "one group, where all flows down from these saddles end in minima",
        rows,
    )


def flows_from_saddles_into_saddles(dataset: xr.Dataset) -> Claim | None:
    """How often a flow down from a saddle of index 1 does not end in a minimum, and what that does to the graph."""
    rows, seen = [], 0
    for name, cell in with_census(dataset):
        if not is_complete(cell) or "point_flows_to" not in cell:
            continue
        seen += 1
        groups, others = _joined_minima(cell)
        if others:
            rows.append((name, f"{others} of these flows; minima in {groups} groups"))
    if not seen:
        return None
    apart = sum(not text.endswith(" 1 groups") for _, text in rows)
    words = f"in {len(rows)} of {seen} cells, in {apart} of which the minima are not all joined by the others"
    return open_question("Where flows down from saddles of index 1 end in other saddles", words, rows)


def _joined_minima(cell: xr.Dataset) -> tuple[int, int]:
    """Groups of minima that flows from saddles of index 1 join, and how many of these flows do not end in minima."""
    index, ends = cell["point_index"].values, cell["point_flows_to"].values
    group = {int(minimum): int(minimum) for minimum in np.flatnonzero(index == 0)}
    others = 0
    for saddle in np.flatnonzero(index == 1):
        reached = [int(end) for end in ends[saddle] if end in group]
        others += 2 - len(reached)
        if len(reached) == 2:
            one, other = group[reached[0]], group[reached[1]]
            group = {minimum: one if own == other else own for minimum, own in group.items()}
    return len(set(group.values())), others


def minima_are_those_of_two_pairs(dataset: xr.Dataset) -> Claim | None:
    """Minima of complete cells against all minima of the closed form, filter by filter, both ways."""
    rows: _Rows = []
    for name, cell in with_census(dataset):
        expected = minima_in_closed_form(cell) if is_complete(cell) else None
        if expected is None:
            continue
        found = cell["point_filter"].values[cell["point_index"].values == 0][:, :3]
        apart = np.linalg.norm(found[:, None] - expected, axis=-1) / np.linalg.norm(expected, axis=-1)
        distance = max(apart.min(axis=0).max(), apart.min(axis=1).max()) if apart.size else np.inf
        text = f"{len(expected)} filters, distance at most {distance:.1e}"
        rows.append((name, text, "agrees" if distance <= _SAME else "disagrees"))
    return cell_by_cell(
        "The minima of two filters of two taps are those of the closed form",
        f"the same end-to-end filters to {_SAME:g}: least squares, and real roots of a quartic",
        rows,
    )


def spurious_minima_are_open(dataset: xr.Dataset) -> Claim | None:
    """Data sets with spurious minima, and starts that end in them, by everything but the seed of the data."""
    rows = [(group.name, text) for group in data_groups(dataset) if (text := _spurious_words(group))]
    if not rows:
        return None
    return open_question("How often data have spurious minima, and starts end in them", _example(rows), rows)


def points_are_open(dataset: xr.Dataset) -> Claim | None:
    """Mean numbers of critical points by index."""
    rows = [(group.name, text) for group in data_groups(dataset) if (text := _point_words(group))]
    return open_question("How many critical points there are", _example(rows), rows) if rows else None


def _example(rows: list[tuple[str, str]]) -> str:
    name, text = rows[-1]
    return text if len(rows) == 1 else f"by cell; for example {name}: {text}"


def _spurious_words(group: DataGroup) -> str:
    if (found := starts_in_spurious(group)) is None:
        return ""
    count, total = with_spurious(group)
    low, high = wilson_interval(count, total)
    mean, least, most = found
    data = f"{count} of {total} data sets ({low:.0%} to {high:.0%})"
    return f"{data}, {mean:.1%} of the starts ({least:.1%} to {most:.1%})"


def _point_words(group: DataGroup) -> str:
    means = mean_points(group)
    if not means.size:
        return ""
    words = [f"{means[0]:.2f} minima", *(f"{mean:.2f} of index {i}" for i, mean in enumerate(means[1:], start=1))]
    return f"on average {', '.join(words)}"


def landscape_answer(dataset: xr.Dataset) -> str:
    """What the censuses say of all cells, then the groups with fewest and with most data sets with spurious minima."""
    groups = [(group.name, *with_spurious(group)) for group in data_groups(dataset)]
    known = sorted((group for group in groups if group[2]), key=lambda group: group[1] / group[2])
    told = ""
    if len(known) > 1:
        ends = [f"{count} of {total} data sets of {name}" for name, count, total in (known[0], known[-1])]
        told = f"Spurious minima have between {ends[0]} and {ends[1]}."
    return " ".join(part for part in (census_answer(dataset), told) if part)


def _faults(configuration: Configuration) -> list[tuple[str, str]]:
    if configuration.analysis.census:
        return []
    return [("analysis.census", 'found false; the module "landscape" counts critical points: write census = true')]


def _per_cell(cell: SolvedCell) -> dict[str, np.ndarray]:
    return outer_risk(cell) | morse_ends(cell) | flows_of_two_pairs(cell)


LANDSCAPE = Module(
    name="landscape",
    question=QUESTIONS["landscape"],
    theory=(
        "The square loss of a linear network with one channel has N(k) complex critical points with v ≠ 0, a number "
        "that the filter sizes alone decide (Draisma, Horobet, Ottaviani, Sturmfels, Thomas 2016). All of them are "
        "found and certified, so that minima, global ones and saddles are known and not sampled. The indices of the "
        "real ones add up to a topological number, and by Morse theory saddles of index 1 join all minima of a leaf of "
        "constant balancedness where the flows down from them end in minima. How many minima lie above the global "
        "one, and how many starts end there, is open."
    ),
    axes={
        "network.kernel_sizes": "architectures, zipped with network.input_shape (each compiles anew)",
        "data.inputs.condition": "anisotropy of the data; data.noise and data.inputs.rho are others",
        "data.seed": "other data of the same kind: figures and shares take these together",
    },
    figures=(spurious_over_data, points_by_index, morse_graphs, phase_plane),
    answer=landscape_answer,
    claims=(
        all_points_are_found,
        index_sums_are_those_of_the_topology,
        flows_end_at_minima_of_the_census,
        minima_are_joined_by_saddles,
        minima_are_those_of_two_pairs,
        spurious_minima_are_open,
        points_are_open,
        flows_from_saddles_into_saddles,
        flow_converges,
        gradient_vanishes,
    ),
    faults=_faults,
    per_cell=_per_cell,
    linear=True,
    convolution=True,
    tells_census=True,
)
