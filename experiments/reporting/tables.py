"""Tables of a report: verdicts, hypotheses of each data condition, kinds of limits, distinct limits.

Shares come with 95% intervals of Wilson (1927), which hold for small counts too.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from experiments.reporting.summary import cell_rows
from experiments.results.layout import named_cells, sweep_axes
from experiments.results.variables import KINDS, NOT_COMPUTED, VERDICTS
from lcnn_flow.critical import Kind

__all__ = ["Table", "hypotheses_table", "limit_table", "orbit_table", "rate_table", "verdict_table", "wilson_interval"]

_MOST_ORBITS = 6  # of a cell
_MOST_ROWS = 60
_NORMAL = 1.959963984540054  # 97.5% quantile


@dataclass(frozen=True)
class Table:
    """Header and rows of texts; the first `labels` columns are words, the others numbers; `note` goes below."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    labels: int
    note: str = ""


def wilson_interval(count: int, total: int) -> tuple[float, float]:
    """95% interval of a share seen as `count` of `total` > 0."""
    share, square = count / total, _NORMAL**2
    centre = (share + square / (2 * total)) / (1 + square / total)
    half = _NORMAL / (1 + square / total) * math.sqrt(share * (1 - share) / total + square / (4 * total**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def verdict_table(dataset: xr.Dataset) -> Table:
    """How the flows of every cell ended; verdicts that never occur are left out."""
    rows, axes = cell_rows(dataset), sweep_axes(dataset)
    occurring = [name for name in VERDICTS.values() if any(row[name] for row in rows)]
    header = [*axes, "seeds", *occurring, "steps (median)", "final risk (median)"]
    with_error = "filter_error_median" in rows[0]
    header += ["filter error: median", "10%–90%"] if with_error else []
    table = []
    for row in rows:
        line = [_label(row[a]) for a in axes]
        line += [str(row["seeds"]), *(str(row[name]) for name in occurring)]
        line += [f"{row['steps_median']:.0f}", f"{row['final_risk_median']:.4g}"]
        if with_error:
            line += [f"{row['filter_error_median']:.3g}"]
            line += [f"{row['filter_error_q10']:.3g}–{row['filter_error_q90']:.3g}"]
        table.append(tuple(line))
    note = (
        "Each row is a cell of the sweep; all cells start from the same initial filters and, unless the data "
        "are an axis, learn from the same data. CONVERGED: gradient at its rounding in every direction, and curvature "
        "that shows a minimum up to the symmetries of the network. AT_SADDLE: critical, with negative curvature. "
        "DEGENERATE: critical to a thousandth of the tolerance, but not shown to be a minimum. DIVERGED: the filters "
        "grow without bound. TIME_LIMIT, STEP_LIMIT, NOT_FINITE, UNDECIDED: nothing is known about the limit."
    )
    return Table(tuple(header), tuple(table), len(axes), note)


def hypotheses_table(dataset: xr.Dataset) -> Table:
    """The ladder (A), (B), (C) and what it takes of the loss, for every data condition."""
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
        rungs = [f"{_answer(cell[a])} ({_ratio(cell[low], cell[high])})" for a, low, high in ladder]
        return [(*rungs, _answer(cell["hypotheses_hold"]))]

    note = (
        "In brackets: smallest over largest singular value of the inputs X and of the patch matrix P; for (C) "
        "the smallest |P v|/|v| that was found over attainable filters v, over the largest singular value of P. "
        "(A) implies (B), (B) implies (C). “Yes” and “no” are sure to rounding; “not decided” at (C) means that no "
        "attainable filter was found in the kernel of P and that none was proved to be absent."
    )
    return _by_cell(dataset, header, cells, note, collapse=True)


def limit_table(dataset: xr.Dataset) -> Table:
    """What the limits of every cell are, and how many were certified."""
    header = ("limits", "minima", "strict saddles", "degenerate", "distinct", "largest index", "certified", "trapped")

    def cells(cell: xr.Dataset) -> list[tuple[str, ...]]:
        kind, certificate = cell["kind"].values, cell["certificate"].values
        if not (kind != NOT_COMPUTED).any():
            return [("0", *("–" for _ in header[1:]))]
        counts = [int((kind == code).sum()) for code in KINDS if code != Kind.NOT_CRITICAL]
        tried, certified = (certificate != NOT_COMPUTED).sum(), certificate == 0
        trapped = certified & (cell["polish_distance"].values < np.nan_to_num(cell["trapping_radius"].values))
        orbits = cell["orbit"].values
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
    return _by_cell(dataset, header, cells, note)


def rate_table(dataset: xr.Dataset) -> Table | None:
    """Smallest curvatures and Lojasiewicz exponents of every cell; None without trajectories."""
    if "lojasiewicz_exponent" not in dataset:
        return None
    header = ("flows", "smallest curvature: median", "10%–90%", "asymptotic flows", "θ̂: median", "10%–90%", "residual")

    def cells(cell: xr.Dataset) -> list[tuple[str, ...]]:
        curvature = cell["smallest_curvature"].values[cell["kind"].values != NOT_COMPUTED]
        exponent, residual = cell["lojasiewicz_exponent"].values, cell["lojasiewicz_residual"].values
        good = np.isfinite(exponent)
        total = str(int((cell["verdict"] != NOT_COMPUTED).sum()))
        worst = f"{residual[good].max():.1e}" if good.any() else "–"
        return [(total, *_spread(curvature, "3g"), str(int(good.sum())), *_spread(exponent[good], "4f"), worst)]

    note = (
        "The smallest curvature across the symmetries, where positive, is the rate of exponential convergence "
        "of the filters. θ̂ is the exponent of |∇L| ≥ C (L − L*)^θ, fitted to the late part of the flow; ½ "
        "means exponential convergence, more a power law, L − L* ~ t^(−1/(2θ−1)). A flow counts as asymptotic "
        "only if one power law describes that part to 1% in |∇L| (largest residual in the last column); 400 "
        "times and rtol = 1e-10 let most flows show it."
    )
    return _by_cell(dataset, header, cells, note)


def _spread(values: np.ndarray, form: str) -> tuple[str, str]:
    """Median, and the range from the 10% to the 90% quantile."""
    if not values.size:
        return "–", "–"
    low, median, high = np.quantile(values, [0.1, 0.5, 0.9])
    return f"{median:.{form}}", f"{low:.{form}}–{high:.{form}}"


def orbit_table(dataset: xr.Dataset) -> Table | None:
    """The distinct limits of every cell with the share of starts that end there; None without isolated limits."""
    if not np.isfinite(dataset["orbit"].values).any():
        return None
    header = ("limit", "kind", "index", "risk", "above the optimum over all filters", "common-root gap")
    header += ("starts", "share", "95% interval", "certified")

    def cells(cell: xr.Dataset) -> list[tuple[str, ...]]:
        orbit, seeds = cell["orbit"].values, int((cell["verdict"] != NOT_COMPUTED).sum())
        rows = []
        for name in _orbits(cell)[:_MOST_ORBITS]:
            here = np.flatnonzero(orbit == name)
            one, count = cell.isel(seed=here[0]), len(here)
            low, high = wilson_interval(count, seeds)
            certificate = cell["certificate"].values[here]
            certificate = certificate[certificate != NOT_COMPUTED]
            rows.append(
                (
                    str(int(name) + 1),
                    KINDS[int(one["kind"])].replace("_", " "),
                    str(int(one["hessian_index"])),
                    f"{float(one['limit_risk']):.6g}",
                    _gap(float(one["optimality_gap"]), float(one["limit_risk"])),
                    "–" if np.isnan(one["common_root_gap"]) else f"{float(one['common_root_gap']):.2g}",
                    str(count),
                    f"{count / seeds:.3f}",
                    f"{low:.3f}–{high:.3f}",
                    f"{int((certificate == 0).sum())} of {len(certificate)}" if len(certificate) else "–",
                )
            )
        return rows

    table = _by_cell(dataset, header, cells, "")
    rows = table.rows[:_MOST_ROWS]
    hidden = sum(max(0, len(_orbits(cell)) - _MOST_ORBITS) for _, cell in _computed_cells(dataset))
    left = hidden + len(table.rows) - len(rows)
    note = (
        "Limits up to rescaling of the layers, the most frequent first; exchanged filters count separately. The "
        "share of the starts estimates the measure of the basin. A gap of 0 to the optimum over all end-to-end "
        "filters makes a limit a global minimum; a positive gap says nothing either way. Limits that are not "
        "isolated have no row."
    )
    note += f" {left} more limits are in results.zarr." if left else ""
    return Table(table.header, rows, table.labels, note)


def _orbits(cell: xr.Dataset) -> np.ndarray:
    """Numbers of the distinct limits of a cell, ascending: the most frequent first."""
    orbit = cell["orbit"].values
    return np.unique(orbit[np.isfinite(orbit)])


def _by_cell(
    dataset: xr.Dataset,
    header: Sequence[str],
    cells: Callable[[xr.Dataset], list[tuple[str, ...]]],
    note: str,
    collapse: bool = False,
) -> Table:
    """Rows of all computed cells behind their labels; with `collapse` axes that make no difference are left out."""
    axes = sweep_axes(dataset)
    found = {index: cells(cell) for index, cell in _computed_cells(dataset)}
    kept = list(range(len(axes)))
    for i in list(kept) if collapse else []:
        groups: dict[Any, set[Any]] = {}
        for index, rows in found.items():
            groups.setdefault(tuple(index[k] for k in kept if k != i), set()).add(tuple(rows))
        if all(len(different) == 1 for different in groups.values()):
            kept.remove(i)
    table: dict[tuple[str, ...], None] = {}
    for index, lines in found.items():
        name = tuple(_label(dataset[axes[k]].values[index[k]]) for k in kept)
        table |= dict.fromkeys((*name, *line) for line in lines)
    return Table((*(axes[k] for k in kept), *header), tuple(table), len(kept), note)


def _computed_cells(dataset: xr.Dataset) -> Iterator[tuple[tuple[int, ...], xr.Dataset]]:
    """Index and results of every cell in which a flow was computed."""
    for _, index in named_cells(dataset):
        cell = dataset.isel(index)
        if (cell["verdict"] != NOT_COMPUTED).any():
            yield tuple(index.values()), cell


def _label(value: Any) -> str:
    value = value.item() if isinstance(value, np.generic) else value
    return f"{value:g}" if isinstance(value, float) else str(value)


def _gap(gap: float, risk: float) -> str:
    if np.isnan(gap):
        return "unknown"
    return "0 to rounding" if gap <= 1e-12 * abs(risk) + np.finfo(float).tiny else f"{gap:.3g}"


def _answer(value: xr.DataArray) -> str:
    number = float(value)
    return "not decided" if np.isnan(number) else "yes" if number == 1 else "no"


def _ratio(low: xr.DataArray, high: xr.DataArray) -> str:
    a, b = float(low), float(high)
    return "–" if np.isnan(a) else f"{a / b:.1e}" if b > 0 else "0"
