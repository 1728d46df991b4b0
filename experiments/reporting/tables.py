"""Tables of a report: verdicts, hypotheses of each data condition, kinds of limits, distinct limits.

Shares come with 95% intervals of Wilson (1927), which hold for small counts too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

import lcnn_flow as lf
from experiments.answers import above_lowest
from experiments.figures import error_text
from experiments.reporting.summary import cell_rows
from experiments.results.layout import computed_cells, sweep_axes
from experiments.results.variables import KINDS, NOT_COMPUTED, VERDICTS
from experiments.sweeps.labels import value_text
from lcnn_flow.critical import Kind
from lcnn_flow.landscape import wilson_interval

__all__ = [
    "Table",
    "hypotheses_table",
    "limit_table",
    "orbit_table",
    "rate_table",
    "share_label",
    "shortened",
    "table_by_cell",
    "verdict_table",
]

_MOST_ORBITS = 6  # of a cell
_MOST_ROWS = 60


@dataclass(frozen=True)
class Table:
    """Header and rows of texts; the first `labels` columns are words, the others numbers; `note` goes below.

    With `grouped` the labels of a row are the heading of the rows that have them in common.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    labels: int
    note: str = ""
    grouped: bool = False

    @property
    def groups(self) -> list[tuple[str, list[tuple[str, ...]]]]:
        """Headings and rows below them; one group without a heading unless `grouped`."""
        if not (self.grouped and self.labels):
            return [("", list(self.rows))]
        names = self.header[: self.labels]
        groups: dict[str, list[tuple[str, ...]]] = {}
        for row in self.rows:
            words = [f"{name} = {value}" for name, value in zip(names, row[: self.labels], strict=True)]
            groups.setdefault(", ".join(words), []).append(row[self.labels :])
        return list(groups.items())

    @property
    def columns(self) -> list[tuple[str, bool]]:
        """Names of the columns, and whether they hold numbers."""
        skipped = self.labels if self.grouped else 0
        return [(name, number >= self.labels) for number, name in enumerate(self.header)][skipped:]


def verdict_table(dataset: xr.Dataset) -> Table:
    """How the flows of every cell ended; verdicts that never occur are left out."""
    rows, axes = cell_rows(dataset), sweep_axes(dataset)
    occurring = [name for name in VERDICTS.values() if any(row[name] for row in rows)]
    comparable = not any(str(name).partition(".")[0] == "loss" for name in dataset.coords)
    header = [*axes, "seeds", *occurring, "steps (median)", *(["final risk (median)"] if comparable else [])]
    with_error = "filter_error_median" in rows[0]
    header += ["filter error: median (10%–90%)"] if with_error else []
    table = []
    for row in rows:
        line = [value_text(row[a]) for a in axes]
        line += [str(row["seeds"]), *(str(row[name]) for name in occurring)]
        line += [f"{row['steps_median']:.0f}"]
        line += [f"{row['final_risk_median']:.4g}"] if comparable else []
        if with_error:
            middle, low, high = (row[f"filter_error_{part}"] for part in ("median", "q10", "q90"))
            line += [_interval(middle, low, high, error_text)]
        table.append(tuple(line))
    note = (
        "Each row is a cell of the sweep; all cells start from the same initial filters and, unless the data "
        "are an axis, learn from the same data. CONVERGED: gradient at its rounding in every direction, and curvature "
        "that shows a minimum up to the symmetries of the network. AT_SADDLE: critical, with negative curvature. "
        "DEGENERATE: critical to a thousandth of the tolerance, but not shown to be a minimum. DIVERGED: the filters "
        "grow without bound. TIME_LIMIT, STEP_LIMIT, NOT_FINITE, UNDECIDED: nothing is known about the limit."
    )
    return Table(tuple(header), tuple(table), len(axes), note)


def hypotheses_table(dataset: xr.Dataset) -> Table | None:
    """The hypotheses (A), (B), (C) and whether all hypotheses hold, for every data condition of linear networks."""
    if "full_rank_inputs" not in dataset:
        return None
    header = (
        "(A) X Xᵀ of full rank",
        "(B) P of full column rank",
        "(C) no attainable filter in ker P",
        "hypotheses hold",
    )

    def cells(cell: xr.Dataset) -> list[tuple[str, ...]]:
        ladder = (
            ("full_rank_inputs", "inputs_smallest", "inputs_largest"),
            ("full_rank_patches", "patches_smallest", "patches_largest"),
            ("injective_on_attainable", "attainable_smallest", "patches_largest"),
        )
        if bool(cell["full_rank_inputs"].isnull()):  # a network that is not linear
            return [("–",) * len(header)]
        rungs = [f"{_answer(cell[a])} ({_ratio(cell[low], cell[high])})" for a, low, high in ladder]
        return [(*rungs, _answer(cell["hypotheses_hold"]))]

    note = (
        "In brackets: smallest over largest singular value of the inputs X and of the patch matrix P; for (C) "
        "the smallest |P v|/|v| that was found over attainable filters v, over the largest singular value of P. "
        "(A) implies (B), (B) implies (C). “Yes” and “no” are sure to rounding; “not decided” at (C) means that no "
        "attainable filter was found in the kernel of P and that none was proved to be absent."
    )
    return table_by_cell(dataset, header, cells, note, collapse=True)


def limit_table(dataset: xr.Dataset) -> Table:
    """What the limits of every cell are, and how many were certified."""
    header = ("limits", "minima", "strict saddles", "degenerate", "distinct", "largest index", "certified", "trapped")

    def cells(cell: xr.Dataset) -> list[tuple[str, ...]]:
        kind, nothing = cell["kind"].values, np.full(cell.sizes["seed"], np.nan)
        if not (kind != NOT_COMPUTED).any():
            return [("0", *("–" for _ in header[1:]))]
        counts = [int((kind == code).sum()) for code in KINDS if code not in (Kind.NOT_CRITICAL, Kind.AT_KINK)]
        certificate = cell["certificate"].values if "certificate" in cell else np.full(kind.shape, NOT_COMPUTED)
        radius, orbits = (cell[name].values if name in cell else nothing for name in ("trapping_radius", "orbit"))
        tried, certified = (certificate != NOT_COMPUTED).sum(), certificate == 0
        trapped = certified & (cell["polish_distance"].values < np.nan_to_num(radius))
        distinct = str(int(np.nanmax(orbits)) + 1) if np.isfinite(orbits).any() else "not isolated"
        index = cell["hessian_index"].values[kind != NOT_COMPUTED].max()
        share = [f"{int(certified.sum())} of {int(tried)}", f"{int(trapped.sum())}"] if tried else ["–", "–"]
        return [(str(int((kind != NOT_COMPUTED).sum())), *map(str, counts), distinct, str(int(index)), *share)]

    note = (
        "Kinds are read off the Hessian across the symmetries; limits count as distinct if no rescaling of the "
        "layers maps one to the other. Certified: existence, uniqueness and index proved in ball arithmetic, "
        "for as many limits as analysis.certify asks for. Trapped: the computed flow came so near that it is "
        "proved to converge to that very limit, up to its integration error."
    )
    return table_by_cell(dataset, header, cells, note)


def rate_table(dataset: xr.Dataset) -> Table | None:
    """Smallest curvatures and Lojasiewicz exponents of every cell; None without trajectories."""
    if "lojasiewicz_exponent" not in dataset:
        return None
    header = ("flows", "smallest curvature: median (10%–90%)", "asymptotic flows", "θ̂: median (10%–90%)", "residual")

    def cells(cell: xr.Dataset) -> list[tuple[str, ...]]:
        curvature = cell["smallest_curvature"].values[cell["kind"].values != NOT_COMPUTED]
        exponent, residual = cell["lojasiewicz_exponent"].values, cell["lojasiewicz_residual"].values
        good = np.isfinite(exponent)
        total = str(int((cell["verdict"] != NOT_COMPUTED).sum()))
        worst = f"{residual[good].max():.1e}" if good.any() else "–"
        rates = _spread(curvature, "{:.3g}".format), _spread(exponent[good], "{:.4f}".format)
        return [(total, rates[0], str(int(good.sum())), rates[1], worst)]

    note = (
        "The smallest curvature across the symmetries, where positive, is the rate of exponential convergence "
        "of the filters. θ̂ is the exponent of |∇L| ≥ C (L − L*)^θ, fitted to the late part of the flow; ½ "
        "means exponential convergence, more a power law, L − L* ~ t^(−1/(2θ−1)). A flow counts as asymptotic "
        "only if one power law describes that part to 1% in |∇L| (largest residual in the last column); 400 "
        "times and rtol = 1e-10 let most flows show it."
    )
    return table_by_cell(dataset, header, cells, note)


def _spread(values: np.ndarray, text: Callable[[float], str]) -> str:
    """Median, and the range from the 10% to the 90% quantile."""
    if not values.size:
        return "–"
    low, median, high = np.quantile(values, [0.1, 0.5, 0.9])
    return _interval(median, low, high, text)


def _interval(middle: float, low: float, high: float, text: Callable[[float], str]) -> str:
    """ "0.17 (0.16–0.18)", or the middle alone where all three read the same."""
    words = [text(value) if np.isfinite(value) else "–" for value in (middle, low, high)]
    return words[0] if len(set(words)) == 1 else f"{words[0]} ({words[1]}–{words[2]})"


def orbit_table(dataset: xr.Dataset) -> Table | None:
    """The distinct limits of every cell with the share of starts that end there; None without isolated limits."""
    if "orbit" not in dataset or not np.isfinite(dataset["orbit"].values).any():
        return None
    header = ("limit", "kind", "risk", "above the lowest of the cell", "above the optimum over all filters")
    header += ("common-root gap", "factorisations", "starts", "share (95%)", "certified")
    hidden: list[int] = []

    def cells(cell: xr.Dataset) -> list[tuple[str, ...]]:
        seeds = int((cell["verdict"] != NOT_COMPUTED).sum())
        groups, above = _filters(cell), above_lowest(cell)
        hidden.append(max(0, len(groups) - _MOST_ORBITS))
        rows = []
        for number, here in enumerate(groups[:_MOST_ORBITS], start=1):
            one, count = cell.isel(seed=here[0]), len(here)
            certificate = cell["certificate"].values[here]
            certificate = certificate[certificate != NOT_COMPUTED]
            risk, index = float(one["limit_risk"]), int(one["hessian_index"])
            rows.append(
                (
                    str(number),
                    KINDS[int(one["kind"])].replace("_", " ") + (f", index {index}" if index > 0 else ""),
                    f"{risk:.6g}",
                    _gap(float(above[here[0]]), risk),
                    _gap(float(one["optimality_gap"]), risk),
                    _root_gap(float(one["common_root_gap"])),
                    str(len(np.unique(cell["orbit"].values[here]))),
                    str(count),
                    share_label(count, seeds),
                    f"{int((certificate == 0).sum())} of {len(certificate)}" if len(certificate) else "–",
                )
            )
        return rows

    note = (
        "One row per end-to-end filter, the lowest risk first; its factorisations are critical points that no "
        "rescaling of the layers maps to one another, such as exchanged filters. The share of the starts estimates "
        "the measure of the basin. A minimum above the lowest limit of its cell is spurious; a gap of 0 to the optimum "
        "over all end-to-end filters makes a limit a global minimum. A common-root gap of 0: two layers share a root, "
        "and the filter lies on the boundary of what the network can express. Limits that are not isolated have no row."
    )
    table = table_by_cell(dataset, header, cells, note)
    return shortened(table, _MOST_ROWS, hidden, "limits")


def shortened(table: Table, most: int, hidden: Sequence[int], noun: str) -> Table:
    """The first rows of a table, grouped by cell; the note counts the rows that are left out here or were before."""
    rows = table.rows[:most]
    left = sum(hidden) + len(table.rows) - len(rows)
    note = table.note + (f" {left} more {noun} are in results.zarr." if left else "")
    return Table(table.header, rows, table.labels, note, grouped=True)


def share_label(count: int, total: int) -> str:
    """ "44% (28%–61%)": a share with its 95% interval."""
    low, high = wilson_interval(count, total)
    return f"{count / total:.0%} ({low:.0%}–{high:.0%})"


def _filters(cell: xr.Dataset) -> list[np.ndarray]:
    """Starts of a cell with isolated limits, one array per end-to-end filter, the lowest risk first."""
    orbit, filters = cell["orbit"].values, cell["limit_filter"].values
    ends = [np.flatnonzero(orbit == name) for name in np.unique(orbit[np.isfinite(orbit)])]
    groups = lf.critical.grouped_by_filter(filters[[here[0] for here in ends]])
    joined = [np.concatenate([ends[i] for i in group]) for group in groups]
    return sorted(joined, key=lambda here: float(cell["limit_risk"].values[here[0]]))


def table_by_cell(
    dataset: xr.Dataset,
    header: Sequence[str],
    cells: Callable[[xr.Dataset], list[tuple[str, ...]]],
    note: str,
    collapse: bool = False,
) -> Table:
    """Rows of all computed cells with their labels; with `collapse`, axes that make no difference are left out."""
    axes = sweep_axes(dataset)
    found = {index: cells(cell) for _, index, cell in computed_cells(dataset)}
    kept = list(range(len(axes)))
    for i in list(kept) if collapse else []:
        groups: dict[Any, set[Any]] = {}
        for index, rows in found.items():
            groups.setdefault(tuple(index[k] for k in kept if k != i), set()).add(tuple(rows))
        if all(len(different) == 1 for different in groups.values()):
            kept.remove(i)
    table: dict[tuple[str, ...], None] = {}
    for index, lines in found.items():
        name = tuple(value_text(dataset[axes[k]].values[index[k]]) for k in kept)
        table |= dict.fromkeys((*name, *line) for line in lines)
    return Table((*(axes[k] for k in kept), *header), tuple(table), len(kept), note)


def _gap(gap: float, risk: float) -> str:
    if np.isnan(gap):
        return "unknown"
    return "0 to rounding" if gap <= 1e-12 * abs(risk) + np.finfo(float).tiny else f"{gap:.3g}"


def _root_gap(gap: float) -> str:
    return "–" if np.isnan(gap) else "0 to rounding" if gap <= np.sqrt(np.finfo(float).eps) else f"{gap:.2g}"


def _answer(value: xr.DataArray) -> str:
    number = float(value)
    return "not decided" if np.isnan(number) else "yes" if number == 1 else "no"


def _ratio(low: xr.DataArray, high: xr.DataArray) -> str:
    a, b = float(low), float(high)
    return "–" if np.isnan(a) else f"{a / b:.1e}" if b > 0 else "0"
