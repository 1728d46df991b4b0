"""Claims of the convergence theory, checked on results: expected, observed, and whether they agree.

Every claim is decided flow by flow: satisfied, violated or undecided, by one number and its tolerance. It
"agrees" when all flows satisfy it, "disagrees" when one violates it, and is "undecided" otherwise.
"Converged" only ever means the verdict CONVERGED of the library.

Source: Diederen, Rauhut, Terstiege, "Convergence of gradient flow for learning convolutional neural
networks", arXiv:2601.08547 (2026), for the statements; the tolerances are ours.
"""

import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from experiments.results.layout import named_cells, noun_of, sweep_axes
from experiments.results.variables import NOT_COMPUTED, WITH_LIMIT
from lcnn_flow import Verdict

__all__ = [
    "PAPER_CLAIMS",
    "Claim",
    "Judge",
    "agreement",
    "cell_by_cell",
    "judge",
    "open_question",
    "restricted",
    "risk_decreases",
    "status_of",
    "unchecked",
]

SATISFIED, UNDECIDED, VIOLATED = 1, 0, -1
_SETTLED = 1e-2  # growth over the last decade of time, relative to the total, that counts as settled
_DEFAULT_RTOL = 1e-6
_LIMIT_RTOL = 1e-3
"""Default tolerance of runs without trajectories."""
_RISK_DECREASES = "The risk decreases along the flow"
_ENERGY_IDENTITY = "Energy identity: the loss of risk is the integral of the squared gradient norm"


@dataclass(frozen=True)
class Claim:
    """A statement, what was expected and observed, and the conclusion; `details` has one row per cell."""

    statement: str
    expected: str
    observed: str
    conclusion: str  # "agrees", "disagrees", "undecided", or "open" where the theory is silent
    details: tuple[tuple[str, str, str], ...] = ()


Judge = Callable[[xr.Dataset], Claim | None]
"""Checks a claim on results; None if the results say nothing about the claim."""


def judge(
    dataset: xr.Dataset, statement: str, expected: str, status: xr.DataArray, number: xr.DataArray, words: str
) -> Claim:
    """The claim that summarises the status of all flows.

    Args:
        dataset: the results.
        statement: the claim.
        expected: what must be observed for a flow to satisfy the claim.
        status: SATISFIED, UNDECIDED or VIOLATED, over the axes of the sweep and the seeds.
        number: the measured number that decided, with the same dimensions; its largest value is quoted.
        words: a phrase with `{value}` in place of that number.
    """
    computed, noun = dataset["verdict"] != NOT_COMPUTED, noun_of(dataset)
    rows = []
    for name, index in named_cells(dataset):
        part = status.isel(index).where(computed.isel(index), drop=True)
        if part.size:
            rows.append((name, *_sum_up(part, number.isel(index), words, noun)))
    flows = status.where(computed).stack(flow=[*sweep_axes(dataset), "seed"]).dropna("flow")
    observed, conclusion = _sum_up(flows, number.where(computed), words, noun)
    return Claim(statement, expected, observed, conclusion, tuple(rows))


def cell_by_cell(
    statement: str, expected: str, rows: Sequence[tuple[str, str, str]], words: str = "cells"
) -> Claim | None:
    """The claim that agrees if every row agrees; None without rows.

    Args:
        statement: the claim.
        expected: what must be observed for a row to agree.
        rows: name, what was observed, and conclusion.
        words: what the rows are, in the plural.
    """
    if not rows:
        return None
    conclusions = [row[2] for row in rows]
    worst = next((word for word in ("disagrees", "undecided") if word in conclusions), "agrees")
    first = rows[conclusions.index(worst)]
    told = first[1] if len(rows) == 1 else f"{conclusions.count('agrees')} of {len(rows)} {words}"
    if len(rows) > 1:
        told += f"; {'for example' if worst == 'agrees' else 'not in'} {first[0]}: {first[1]}"
    return Claim(statement, expected, told, worst, tuple(rows))


def open_question(statement: str, observed: str, rows: Sequence[tuple[str, str]] = ()) -> Claim:
    """An observation about which the theory says nothing, so that nothing can agree or disagree."""
    details = tuple((name, text, "open") for name, text in rows)
    return Claim(statement, "the theory is silent", observed, "open", details)


def agreement(claims: Sequence[Claim]) -> str:
    """ "7 of 7 claims agree with the data"; open questions do not count."""
    said = [claim.conclusion for claim in claims if claim.conclusion != "open"]
    return f"{said.count('agrees')} of {len(said)} claims agree with the data"


def _sum_up(status: xr.DataArray, number: xr.DataArray, words: str, noun: str) -> tuple[str, str]:
    total = int(status.size)
    satisfied, violated = int((status == SATISFIED).sum()), int((status == VIOLATED).sum())
    finite = number.values[np.isfinite(number.values)]
    value = ("0" if finite.max() == 0 else f"{finite.max():.1e}") if finite.size else "unknown"
    text = f"{satisfied} of {total} {noun}s; {words.format(value=value)}"
    if violated:
        return f"{text}; violated by {violated}", "disagrees"
    if satisfied < total or total == 0:
        return f"{text}; undecided for {total - satisfied}", "undecided"
    return text, "agrees"


def _rtol(dataset: xr.Dataset, default: float = _DEFAULT_RTOL) -> float:
    """The largest `flow.rtol` in the sweep: of its axis if there is one, else of the base configuration."""
    for axis in sweep_axes(dataset):
        if dataset[axis].attrs.get("path") == "flow.rtol":
            return float(dataset[axis].max())
    return float(tomllib.loads(dataset.attrs["configuration"]).get("flow", {}).get("rtol", default))


def status_of(satisfied: xr.DataArray, violated: xr.DataArray) -> xr.DataArray:
    """VIOLATED where `violated` holds, else SATISFIED where `satisfied` holds, else UNDECIDED."""
    return xr.where(violated, VIOLATED, xr.where(satisfied, SATISFIED, UNDECIDED))


def _verdict(dataset: xr.Dataset, *verdicts: Verdict) -> xr.DataArray:
    return dataset["verdict"].isin([int(v) for v in verdicts])


def _at_most(
    dataset: xr.Dataset, statement: str, expected: str, number: xr.DataArray, most: float, words: str
) -> Claim:
    """The claim that a number of every trajectory is at most `most`; trajectories that end early are not SATISFIED."""
    status = status_of((number <= most) & dataset["risk"].notnull().all("time"), number > most)
    return judge(dataset, statement, expected, status, number, words)


def restricted(dataset: xr.Dataset, flows: xr.DataArray) -> xr.Dataset | None:
    """The results with only the given flows counted as computed; None if none of them was computed."""
    flows = (flows & (dataset["verdict"] != NOT_COMPUTED)).transpose(*dataset["verdict"].dims)
    if not bool(flows.any()):
        return None
    return dataset.assign(verdict=dataset["verdict"].where(flows, NOT_COMPUTED))


def _where_known(dataset: xr.Dataset, name: str) -> xr.Dataset:
    """The results without the cells in which a variable is missing, such as networks without conserved quantities."""
    others = [dim for dim in dataset[name].dims if dim not in sweep_axes(dataset)]
    known = dataset[name].notnull().any(others)
    return dataset.assign(verdict=xr.where(known, dataset["verdict"], NOT_COMPUTED).transpose(*dataset["verdict"].dims))


def _final_squares(dataset: xr.Dataset) -> xr.DataArray:
    """|w_l|^2 at the end, dimension layer; NaN in cells with fewer layers."""
    names = sorted((str(n) for n in dataset.data_vars if re.fullmatch(r"final_w\d+", str(n))), key=lambda n: int(n[7:]))
    parts = [(dataset[name] ** 2).sum(str(dataset[name].dims[-1]), min_count=1) for name in names]
    return xr.concat(parts, "layer")


def unchecked(dataset: xr.Dataset) -> list[str]:
    """Statements that cannot be checked because no trajectories were stored."""
    return [] if "risk" in dataset else [_RISK_DECREASES, _ENERGY_IDENTITY]


def risk_decreases(dataset: xr.Dataset) -> Claim | None:
    """L(w(t)) does not increase; increases are measured relative to L(w(0))."""
    tolerance = 10 * _rtol(dataset)
    expected = f"no increase above {tolerance:.0e} of the initial risk"
    if "risk" not in dataset or noun_of(dataset) == "descent":
        return None
    risk = dataset["risk"]
    rise = (risk.diff("time").max("time") / risk.isel(time=0)).clip(min=0)
    return _at_most(dataset, _RISK_DECREASES, expected, rise, tolerance, "largest increase {value} of the initial risk")


def energy_identity(dataset: xr.Dataset) -> Claim | None:
    """L(w(0)) - L(w(t)) equals the integral of the squared gradient norm, as it does for exact flows."""
    tolerance = 1e3 * _rtol(dataset)
    expected = f"difference below {tolerance:.0e} of the initial risk"
    if "energy_defect" not in dataset:
        return None
    start = dataset["risk"].isel(time=0)
    gap = abs(dataset["energy_defect"]).max("time") / start
    return _at_most(dataset, _ENERGY_IDENTITY, expected, gap, tolerance, "largest difference {value}")


def path_length_finite(dataset: xr.Dataset) -> Claim | None:
    """The path stops growing: its growth over the last decade of recorded time against its whole length.

    Without trajectories: the way from the last state to the limit, which a CONVERGED flow approaches exponentially.
    """
    statement = "The path has finite length"
    if "final_path_length" not in dataset:
        return None
    violated = _verdict(dataset, Verdict.DIVERGED) | np.isinf(dataset["final_path_length"])
    if "path_length" not in dataset:
        expected = f"verdict CONVERGED, the limit within {_SETTLED:.0%} of the length of the path to the last state"
        share = dataset["polish_distance"] / dataset["final_path_length"]
        status = status_of(_verdict(dataset, Verdict.CONVERGED) & (share <= _SETTLED), violated)
        return judge(dataset, statement, expected, status, share, "largest way left {value} of the length")
    expected = f"growth over the last decade of time at most {_SETTLED:.0%} of the length"
    times = dataset["time"]
    before = dataset["path_length"].isel(time=int(np.searchsorted(times.values, times.values[-1] / 10)))
    share = (dataset["final_path_length"] - before) / dataset["final_path_length"]
    status = status_of(share <= _SETTLED, violated)
    return judge(dataset, statement, expected, status, share, "largest growth {value} of the length")


def filters_bounded(dataset: xr.Dataset) -> Claim | None:
    """The largest filter norm stops growing; without trajectories, the exponent of growth at the end."""
    statement = "The filters stay bounded"
    if "squared_norms" not in dataset:
        expected = f"a limit, and d log‖w‖ / d log t at most {_SETTLED:g} at the end"
        rate = dataset["growth_rate"]
        settled = _verdict(dataset, *WITH_LIMIT) & (rate <= _SETTLED)
        status = status_of(settled, _verdict(dataset, Verdict.DIVERGED))
        return judge(dataset, statement, expected, status, rate, "growth exponent at most {value}")
    expected = f"the largest filter norm grows by at most {_SETTLED:.0%} over the last decade of time"
    times = dataset["time"]
    norm = dataset["squared_norms"].max("layer") ** 0.5
    cut = int(np.searchsorted(times.values, times.values[-1] / 10))
    growth = norm.max("time", skipna=False) / norm.isel(time=slice(0, cut + 1)).max("time") - 1
    violated = _verdict(dataset, Verdict.DIVERGED) | (norm == np.inf).any("time")
    status = status_of(growth <= _SETTLED, violated)
    return judge(dataset, statement, expected, status, growth, "largest growth {value}")


def bound_holds(dataset: xr.Dataset) -> Claim | None:
    """sup_t |w_l(t)| against the bound that initial filters and data give, where P has full column rank."""
    if "norm_bound" not in dataset:
        return None
    finite = (dataset["norm_bound"] < np.inf).all("layer")
    if not bool(finite.any()):
        return None
    dataset = dataset.assign(verdict=xr.where(finite, dataset["verdict"], NOT_COMPUTED))  # only flows with a bound
    bound = dataset["norm_bound"].where(finite)
    statement = "The filters stay below their a-priori bound"
    if "squared_norms" not in dataset:
        ratio = (_final_squares(dataset) ** 0.5 / bound).max("layer")
        status = status_of(ratio <= 1, ratio > 1)
        expected = "filter norm at the end over its bound at most 1"
        return judge(dataset, statement, expected, status, ratio, "largest ratio {value}")
    ratio = (dataset["squared_norms"].max("time") ** 0.5 / bound).max("layer")
    expected = "largest filter norm over its bound at most 1"
    return _at_most(dataset, statement, expected, ratio, 1, "largest ratio {value}")


def gradient_vanishes(dataset: xr.Dataset) -> Claim:
    """The gradient falls below the tolerance of the run, for every loss."""
    statement = "The gradient tends to zero"
    expected = "gradient norm at the end at most the tolerance of the flow"
    ratio = dataset["final_gradient_norm"] / dataset["gradient_tolerance"]
    ended = _verdict(dataset, *WITH_LIMIT, Verdict.DIVERGED)
    # other verdicts mean that the flow was stopped before it converged
    status = status_of(ratio <= 1, (ratio > 1) & ended)
    return judge(dataset, statement, expected, status, ratio, "largest gradient norm {value} of the tolerance")


def balancedness_conserved(dataset: xr.Dataset) -> Claim | None:
    """(|w_l|^2 - |w_{l+1}|^2)/2 is constant, relative to the largest squared norm of the flow; None for one layer."""
    statement = "Balancedness is conserved"
    if noun_of(dataset) == "descent":
        return None
    if "balancedness" not in dataset:
        if "final_w2" not in dataset or "invariant_drift" not in dataset:
            return None
        dataset = _where_known(dataset, "invariant_drift")
        tolerance = 100 * _rtol(dataset, _LIMIT_RTOL)
        expected = f"drift from start to end below {tolerance:.0e} of the largest squared filter norm at the end"
        drift = dataset["invariant_drift"] / _final_squares(dataset).max("layer")
        status = status_of(drift <= tolerance, drift > tolerance)
        return judge(dataset, statement, expected, status, drift, "largest drift {value}")
    if dataset.sizes.get("interface", 0) == 0:
        return None
    dataset = _where_known(dataset, "balancedness")
    tolerance = 1e3 * _rtol(dataset)
    expected = f"drift below {tolerance:.0e} of the largest squared filter norm"
    h = dataset["balancedness"]
    drift = abs(h - h.isel(time=0)).max(["time", "interface"]) / dataset["squared_norms"].max(["time", "layer"])
    return _at_most(dataset, statement, expected, drift, tolerance, "largest drift {value}")


def flow_converges(dataset: xr.Dataset) -> Claim:
    """CONVERGED satisfies the claim, DIVERGED violates it, and all other verdicts leave it undecided."""
    statement = "The flow converges to a critical point"
    status = status_of(_verdict(dataset, Verdict.CONVERGED), _verdict(dataset, Verdict.DIVERGED))
    if "final_path_length" not in dataset:
        words = "largest distance from the last iterate to the limit {value}"
        return judge(
            dataset,
            "The descent converges to a critical point",
            "verdict CONVERGED",
            status,
            dataset["polish_distance"],
            words,
        )
    distance = dataset["polish_distance"] / dataset["final_path_length"]
    words = "largest distance from the last state to the limit {value} of the path"
    return judge(dataset, statement, "verdict CONVERGED", status, distance, words)


def certificates_agree(dataset: xr.Dataset) -> Claim | None:
    """The certified index equals that of the numerical Hessian, at every limit with a certificate."""
    if "certificate" not in dataset:
        return None
    certified = dataset["certificate"] == 0
    if not bool(certified.any()):
        return None
    dataset = dataset.assign(verdict=xr.where(certified, dataset["verdict"], NOT_COMPUTED))
    difference = abs(dataset["certified_index"] - dataset["hessian_index"]).where(certified)
    return judge(
        dataset,
        "Certificates confirm the kinds of the limits",
        "certified index equal to the number of negative Hessian eigenvalues",
        status_of(difference == 0, difference > 0),
        dataset["existence_radius"].where(certified),
        "largest distance to the certified point {value}",
    )


PAPER_CLAIMS: tuple[Judge, ...] = (
    risk_decreases,
    path_length_finite,
    filters_bounded,
    bound_holds,
    gradient_vanishes,
    flow_converges,
    balancedness_conserved,
    energy_identity,
    certificates_agree,
)
