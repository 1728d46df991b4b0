"""Answers to the questions of experiments: sentences computed from the stored results alone.

A minimum is spurious if another limit of the same cell, which minimises the same risk, has a lower one.
"""

from typing import NamedTuple

import numpy as np
import xarray as xr

import lcnn_flow as lf
from experiments.figures import EXACT, error_text, fit_of, relative_error
from experiments.results.census import is_complete
from experiments.results.layout import computed_cells, noun_of, sweep_axes
from experiments.results.limits import lowest_flow
from experiments.results.shares import share
from experiments.results.variables import NOT_COMPUTED, VERDICTS
from experiments.sweeps.labels import named_value
from lcnn_flow import Verdict
from lcnn_flow.critical import Kind

__all__ = [
    "Spurious",
    "above_lowest",
    "conditions_answer",
    "convergence_answer",
    "few",
    "identification_answer",
    "spurious",
]

_MOST_NAMED = 3
_MOST_TAPS = 9
_ON_PAR = 0.02
"""Largest relative difference at which two median errors are called on a par."""


class Spurious(NamedTuple):
    """The starts of one cell whose limits are spurious minima: minima above the lowest limit of that cell."""

    count: int
    total: int
    """Number of starts that were computed."""
    above: float
    """Median of the risks of the spurious minima, minus the lowest risk."""
    lowest: float


def above_lowest(cell: xr.Dataset) -> np.ndarray:
    """Risk of every limit of a cell minus the lowest one, 0 if it is 0 to rounding; NaN without a limit; (seeds,)."""
    start = cell["final_risk"].values + cell["final_energy"].values
    return lf.critical.above_lowest(cell["limit_risk"].values, start)


def spurious(cell: xr.Dataset) -> Spurious | None:
    """Spurious minima among the limits of a cell; None where no limit was classified as a minimum."""
    above = above_lowest(cell)[cell["kind"].values == Kind.MINIMUM]
    if not np.isfinite(above).any():
        return None
    worse = above[above > 0]
    total = int((cell["verdict"].values != NOT_COMPUTED).sum())
    height = float(np.median(worse)) if worse.size else 0.0
    return Spurious(worse.size, total, height, float(np.nanmin(cell["limit_risk"].values)))


def convergence_answer(dataset: xr.Dataset) -> str:
    """Says what was learned from the user's own data, whether the flows converged, and whether minima are spurious."""
    parts = (_learned(dataset), _convergence(dataset), _spurious_minima(dataset))
    return " ".join(part for part in parts if part)


def identification_answer(dataset: xr.Dataset) -> str:
    """Which value of the first axis finds the true filter best, then `convergence_answer`."""
    return " ".join(part for part in (_best_filter(dataset), convergence_answer(dataset)) if part)


def conditions_answer(dataset: xr.Dataset) -> str:
    """Verdicts of the flows where condition (C) holds, where it fails, and where it is not decided."""
    sentences = []
    holds = dataset["injective_on_attainable"].broadcast_like(dataset["verdict"]).values
    verdict = dataset["verdict"].values
    for words, here in (("holds", holds == 1), ("fails", holds == 0), ("is not decided", np.isnan(holds))):
        found = verdict[here & (verdict != NOT_COMPUTED)]
        if found.size:
            sentences.append(f"where (C) {words}, {_counts(found)}")
    text = "; ".join(sentences)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _convergence(dataset: xr.Dataset) -> str:
    verdict = dataset["verdict"].values
    verdict = verdict[verdict != NOT_COMPUTED]
    if not verdict.size:
        return f"No {noun_of(dataset)} was computed."
    text, length = _counts(verdict, noun_of(dataset)), np.zeros(0)
    if "final_path_length" in dataset:
        length = dataset["final_path_length"].values[dataset["verdict"].values == Verdict.CONVERGED]
    path = f", along paths of length up to {length.max():.3g}" if length.size else ""
    return f"{text[:1].upper()}{text[1:]}{path}."


def _counts(verdict: np.ndarray, noun: str = "flow") -> str:
    """ "all 64 flows CONVERGED", or how many had which verdict."""
    counts = {VERDICTS[int(code)]: int((verdict == code).sum()) for code in np.unique(verdict)}
    if len(counts) == 1:
        name = next(iter(counts))
        return f"all {verdict.size} {noun}s {_said(name)}" if verdict.size > 1 else f"the {noun} {_said(name)}"
    several = sorted(counts.items(), key=lambda item: -item[1])
    return f"of {verdict.size} {noun}s " + ", ".join(f"{count} {_said(name)}" for name, count in several)


def _said(name: str) -> str:
    return name if name in ("CONVERGED", "DIVERGED") else f"ended {name}"


def _spurious_minima(dataset: xr.Dataset) -> str:
    """The cells with the largest shares of starts in spurious minima, or that there are none.

    Cells with a complete census are left out: their spurious minima are certified, and `census_answer` reports them.
    """
    open_ = [(name, cell) for name, _, cell in computed_cells(dataset) if not is_complete(cell)]
    found = [(name, s) for name, cell in open_ if (s := spurious(cell)) is not None]
    worst = sorted((item for item in found if item[1].count), key=lambda item: -item[1].count / item[1].total)
    if not found:
        return ""
    if not worst:
        several = "all minima of a cell have" if len(found) > 1 else "all minima have"
        return f"No limit is known to be spurious: {several} the same risk."
    parts = [
        f"{'' if name == 'all flows' else f'{name}: '}{share(s.count, s.total)}, {s.above:.2g} above the lowest limit "
        f"({s.lowest:.6g})"
        for name, s in worst
    ]
    rest = len(found) - len(worst)
    none = f" In {rest} of {len(found)} cells no limit is known to be spurious." if rest else ""
    return f"Spurious minima catch {few(parts)}.{none}"


def _learned(dataset: xr.Dataset) -> str:
    """Filter and residuals of the lowest limit of every cell, if there are few cells, few taps and no true filter."""
    found = []
    for name, _, cell in computed_cells(dataset) if "limit_filter" in dataset else ():
        seed = lowest_flow(cell)
        if "true_filter" in dataset or seed is None or not np.isfinite(cell["limit_risk"].values[seed]):
            continue
        taps = cell["limit_filter"].values[seed]
        taps = taps[np.isfinite(taps)]
        if taps.size <= _MOST_TAPS:
            values = ", ".join(f"{tap:.3g}" for tap in taps)
            found.append(f"{'' if name == 'all flows' else f'{name}: '}({values}){_residuals(cell)}")
    return f"The end-to-end filter of the lowest limit: {'; '.join(found)}." if 0 < len(found) <= _MOST_NAMED else ""


def _residuals(cell: xr.Dataset) -> str:
    """The size of the residuals of the lowest limit and of the targets; empty if the data are not stored."""
    fit = fit_of(cell)
    used = fit is not None and fit.weight > 0
    if fit is None or not np.any(used):
        return ""
    typical, targets = np.median(np.abs(fit.residual[used])), np.median(np.abs(fit.target[used]))
    return f", which leaves a median absolute residual of {typical:.3g} (targets: {targets:.3g})"


def _best_filter(dataset: xr.Dataset) -> str:
    """The value of the first axis with the smallest median error of the filter, and the errors of other values."""
    axes = sweep_axes(dataset)
    if "true_filter" not in dataset:
        return ""
    error = relative_error(dataset)
    if not axes:
        values = error.values[np.isfinite(error.values)]
        return f"The filter is found to a relative error of {_spread(values)}." if values.size else ""
    axis = axes[0]
    median = error.median("seed", skipna=True).stack(cell=axes[1:]) if len(axes) > 1 else error.median("seed")
    median = median.clip(min=EXACT)
    cells = [dim for dim in median.dims if dim != axis]
    relative = xr.DataArray(np.log(median / median.min(axis)))
    worse = relative.mean(dim=cells).values  # geometric mean over the cells of the other axes
    order = [i for i in np.argsort(worse, kind="stable") if np.isfinite(worse[i])]
    if not order:
        return ""
    names = [named_value(axis, v) for v in dataset[axis].values]
    best = order[0]
    on_par = [i for i in order[1:] if worse[i] <= worse[best] + _ON_PAR]

    def errors(i: int) -> str:
        return _range(median.isel({axis: i}).values)

    values = error.isel({axis: best}).values
    words = f"by cell {errors(best)}" if cells else _spread(values[np.isfinite(values)])
    text = f"{names[best]} finds the filter best: median relative error {words}"
    if on_par:
        text += f", on a par with {', '.join(names[i] for i in on_par)}"
    last = order[-1]
    shown = [i for i in order if names[i] == "square" and i not in (best, *on_par)]
    shown += [last] if last not in (best, *on_par, *shown) else []
    text += "".join(f"; {names[i]} {errors(i)}" for i in shown)
    if cells and not on_par:
        known = median.notnull().all(axis)
        wins = int((median.where(known, drop=True).argmin(axis) == best).sum()) if bool(known.any()) else 0
        text += f"; best in {wins} of {int(known.sum())} cells of the other axes"
    return text + "."


def _range(values: np.ndarray) -> str:
    """The smallest and the largest of some errors, or the only one."""
    low, high = error_text(np.nanmin(values)), error_text(np.nanmax(values))
    return low if low == high else f"{low} to {high}"


def _spread(values: np.ndarray) -> str:
    """Median, with the range from the 10% to the 90% quantile unless that is a single number."""
    low, median, high = (error_text(q) for q in np.quantile(values, [0.1, 0.5, 0.9]))
    return median if low == high else f"{median} (10% to 90% of the starts: {low} to {high})"


def few(parts: list[str]) -> str:
    """The first three parts, and how many more there are."""
    more = len(parts) - _MOST_NAMED
    return "; ".join(parts[:_MOST_NAMED]) + (f"; and so on in {more} more cells" if more > 0 else "")
