"""Which loss parameter and sample weights bring the limit nearest to the true filter? Found by differentiating it.

An oracle, since it knows the true filter: it shows what can be reached, and that limits have derivatives to use.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from experiments.answers import convergence_answer, few
from experiments.claims import PAPER_CLAIMS, Claim
from experiments.computing.tune import tune
from experiments.figures import balancedness_drift, excess_risk, gradient_norm, path_length, risk
from experiments.figures.tuning import before_and_after, objective, tuned_weights
from experiments.modules.base import Module
from experiments.questions import QUESTIONS
from experiments.results.layout import named_cells
from experiments.results.variables import NOT_COMPUTED
from experiments.schema import Configuration, SyntheticData

__all__ = ["TUNING", "derivative_is_that_of_flows", "tuning_answer", "tuning_helps"]

_NUMBERS = {"pseudo_huber": ("delta",), "generalized_huber": ("a", "b"), "log_cosh": ("a",)}


def tuning_helps(dataset: xr.Dataset) -> Claim | None:
    """Tuning lowers the mean squared relative error of the limits, over seeds with a derivative in both."""
    statement = "Tuning brings the limit nearer to the true filter"
    rounding = (1e3 * np.finfo(_dtype(dataset)).eps) ** 2
    expected = "mean squared relative error |v − v*|²/|v*|² below that before tuning, in every cell"
    rows, ratios = [], []
    for name, cell in _computed(dataset):
        before, after, both = _errors(cell)
        text = f"{before:.2g} before, {after:.2g} after, over {int(both.sum())} of {both.size} seeds"
        known = before > rounding and np.isfinite(after)  # nothing can be gained on a limit that is exact
        rows.append((name, text, "undecided" if not known else "agrees" if after < before else "disagrees"))
        ratios.append(after / before if known else np.nan)
    return _claim(statement, expected, rows, np.asarray(ratios), "{value} of the error is left")


def tuning_answer(dataset: xr.Dataset) -> str:
    """Errors before and after tuning for every cell; then `convergence_answer`."""
    found = [(name, *_errors(cell)) for name, cell in _computed(dataset)]
    parts = [f"{name}: {before:.2g} before, {after:.2g} after" for name, before, after, both in found if both.any()]
    text = f"Mean squared relative error of the filter by tuning: {few(parts)}. " if parts else ""
    return text + convergence_answer(dataset)


def derivative_is_that_of_flows(dataset: xr.Dataset) -> Claim | None:
    """The implicit derivative of the error along a random direction equals a difference of full flows."""
    tolerance = 1e-5 if _dtype(dataset) == np.float64 else 1e-2
    statement = "The derivative of the limit by the implicit function theorem is that of full flows"
    expected = f"relative difference from a central finite difference at the start below {tolerance:.0e}"
    rows, gaps = [], []
    for name, cell in _computed(dataset):
        implicit, difference = float(cell["derivative"]), float(cell["finite_difference"])
        size = np.maximum(abs(implicit), abs(difference))
        gap = abs(implicit - difference) / size if size > 0 else np.nan
        text = f"implicit {implicit:.8g}, of flows {difference:.8g}"
        rows.append((name, text, "undecided" if np.isnan(gap) else "agrees" if gap < tolerance else "disagrees"))
        gaps.append(gap)
    return _claim(statement, expected, rows, np.asarray(gaps), "relative difference {value}")


def _errors(cell: xr.Dataset) -> tuple[float, float, xr.DataArray]:
    """Mean squared relative error of the filter before and after tuning, and the seeds with a derivative in both."""
    both = (cell["sound"] == 1) & (cell["untuned_sound"] == 1)
    size = float((cell["true_filter"] ** 2).sum())
    before, after = (
        float(((cell[v] - cell["true_filter"]) ** 2).sum("tap").where(both).mean()) / size
        for v in ("untuned_filter", "limit_filter")
    )
    return before, after, both


def _dtype(dataset: xr.Dataset) -> type[np.floating]:
    """Precision of the run."""
    return np.float32 if '"x64": false' in dataset.attrs["manifest"] else np.float64


def _computed(dataset: xr.Dataset) -> Iterator[tuple[str, xr.Dataset]]:
    """Name and results of every cell that was computed."""
    for name, index in named_cells(dataset):
        cell = dataset.isel(index)
        if bool((cell["verdict"] != NOT_COMPUTED).all()):
            yield name, cell


def _claim(statement: str, expected: str, rows: list[tuple[Any, ...]], numbers: np.ndarray, words: str) -> Claim | None:
    """The claim that agrees if every cell agrees; it quotes the largest number, or the text of the only cell."""
    if not rows:
        return None
    conclusions = [row[2] for row in rows]
    known = numbers[np.isfinite(numbers)]
    value = f"at most {known.max():.1e}" if known.size else "unknown"
    observed = f"{conclusions.count('agrees')} of {len(rows)} cells; {words.format(value=value)}"
    if len(rows) == 1:
        observed = f"{rows[0][1]}; {words.format(value=value.removeprefix('at most '))}"
    worst = next((word for word in ("disagrees", "undecided") if word in conclusions), "agrees")
    return Claim(statement, expected, observed, worst, tuple(rows))


def _faults(configuration: Configuration) -> list[tuple[str, str]]:
    faults, data, loss = [], configuration.data, configuration.loss.kind
    if not isinstance(data, SyntheticData):
        faults.append(("data.kind", 'found "file"; tuning needs a true filter; use synthetic data'))
    elif data.targets.kind == "unrelated":
        faults.append(("data.targets.kind", 'found "unrelated"; tuning needs a true filter: planted, cascade, filter'))
    if configuration.network.kind == "dense":
        message = "limits of dense networks are not isolated and have no derivative; use a convolution"
        faults.append(("network.kind", message))
    elif configuration.network.channels is not None:
        message = "limits of networks with channels are not isolated and have no derivative; leave channels out"
        faults.append(("network.channels", message))
    if not configuration.flow.polish:
        faults.append(("flow.polish", "found False; only polished limits have a derivative; leave polish out"))
    allowed = ["weights", *(f"loss.{name}" for name in _NUMBERS.get(loss, ()))]
    assert configuration.tune is not None
    for name in configuration.tune.parameters:
        if name not in allowed:
            names = ", ".join(f'"{a}"' for a in allowed)
            faults.append(("tune.parameters", f'found "{name}"; with the loss "{loss}" these can be tuned: {names}'))
    return faults


TUNING = Module(
    name="tuning",
    question=QUESTIONS["tuning"],
    theory=(
        "Where the flow converges to a minimum that is nondegenerate up to the symmetries of the network, the limit is "
        "locally a smooth function of the loss parameters, the weights of the samples and the conserved quantities; "
        "the implicit function theorem gives its derivative without differentiating through the flow. Here that "
        "derivative drives Adam: theta = (log of loss parameters, logits of sample weights with mean one) minimises "
        "the squared relative error of the end-to-end filter of the limit, averaged over the seeds whose limit has "
        "a derivative. This is an oracle: it knows the true filter and the errors of these very targets, so it "
        "shows that limits can be optimised and what the best choice would reach; it is no method of estimation, "
        "and its error says nothing about other data. A loss parameter can only trade the influence of outliers for "
        "the use made of good targets. "
        "The weights are many more numbers than the filter has taps: they can bring the error to zero by letting "
        "the errors of the targets cancel. On the whole samples with gross errors lose weight, but one whose "
        "error happens to oppose the others may keep its own."
    ),
    axes={
        "tune.parameters": "what the oracle may choose (one compiled program)",
        "data.outliers.fraction": "outliers",
        "data.noise": "noise in the targets",
        "loss": "which losses are tuned",
    },
    figures=(
        objective,
        before_and_after,
        tuned_weights,
        risk,
        excess_risk,
        gradient_norm,
        path_length,
        balancedness_drift,
    ),
    answer=tuning_answer,
    claims=(tuning_helps, derivative_is_that_of_flows, *PAPER_CLAIMS),
    faults=_faults,
    linear=True,
    dynamics="flow",
    prepare=tune,
    sections=("tune",),
)
