"""How well do the losses withstand outliers? Real signals in one and two dimensions, with more and more outliers."""

import numpy as np
import xarray as xr

from experiments.answers import few
from experiments.claims import (
    Claim,
    balancedness_conserved,
    bound_holds,
    cell_by_cell,
    flow_converges,
    gradient_vanishes,
    open_question,
)
from experiments.figures import error_text, filters, relative_error
from experiments.figures.scaling import Line, scaling
from experiments.figures.series import facets
from experiments.figures.style import Drawing, pretty
from experiments.modules.base import Module
from experiments.modules.cells import configured_cells
from experiments.questions import QUESTIONS
from experiments.results.layout import sweep_axes
from experiments.schema import Configuration, SyntheticData

__all__ = ["ROBUSTNESS", "bounded_influence_withstands_outliers", "square_loss_errs_like_the_root_of_the_fraction"]

_BOUNDED = ("pseudo_huber", "generalized_huber", "log_cosh", "huber", "cauchy", "welsch", "geman_mcclure")
_GROWTH = 2.0
"""Factor within which the growth of the error of the square loss is expected: one set of data is one draw."""


def _fraction(configuration: Configuration) -> float:
    data = configuration.data
    return data.outliers.fraction if isinstance(data, SyntheticData) and data.outliers is not None else 0.0


def _errors(dataset: xr.Dataset) -> dict[tuple[str, float], dict[str, tuple[float, Configuration]]]:
    """Median relative errors by inputs and fraction of outliers, and then by name of the loss."""
    found: dict[tuple[str, float], dict[str, tuple[float, Configuration]]] = {}
    for _, cell, configuration in configured_cells(dataset):
        error = relative_error(cell).values
        if not np.isfinite(error).any() or not isinstance(configuration.data, SyntheticData):
            continue
        loss = configuration.loss
        numbers = ", ".join(f"{v:g}" for k, v in loss.model_dump().items() if k != "kind")
        name = f"{loss.kind}({numbers})" if numbers else loss.kind
        key = (_inputs(configuration), _fraction(configuration))
        found.setdefault(key, {})[name] = (float(np.nanmedian(error)), configuration)
    return found


def _inputs(configuration: Configuration) -> str:
    inputs = configuration.data.inputs if isinstance(configuration.data, SyntheticData) else None
    return str(getattr(inputs, "signal", getattr(inputs, "kind", "")))


def bounded_influence_withstands_outliers(dataset: xr.Dataset) -> Claim | None:
    """With outliers, every loss of bounded influence has a smaller error than the square loss."""
    rows = []
    for (inputs, fraction), errors in _errors(dataset).items():
        robust = {name: error for name, (error, _) in errors.items() if name.startswith(_BOUNDED)}
        if fraction == 0 or "square" not in errors or not robust:
            continue
        square, worst = errors["square"][0], max(robust, key=lambda name: robust[name])
        text = f"square {error_text(square)}, {worst} {error_text(robust[worst])}, the worst of {len(robust)}"
        rows.append((f"{inputs}, {fraction:g}", text, "agrees" if robust[worst] < square else "disagrees"))
    return cell_by_cell(
        "Under outliers every loss of bounded influence finds the filter better than the square loss",
        "median error of the worst of them below that of the square loss, for every signal and fraction",
        rows,
        "signals and fractions",
    )


def square_loss_errs_like_the_root_of_the_fraction(dataset: xr.Dataset) -> Claim | None:
    """Growth of the error of the square loss between the least and the largest fraction of outliers above 0.

    The least-squares filter errs by P^+ e, whose mean square is proportional to that of the errors e of the targets:
    noise^2 + fraction scale^2. Derived; of one draw of outliers it holds up to a factor.
    """
    by_signal: dict[str, list[tuple[float, float, Configuration]]] = {}
    for (inputs, fraction), errors in _errors(dataset).items():
        if fraction > 0 and "square" in errors:
            by_signal.setdefault(inputs, []).append((fraction, *errors["square"]))
    rows = []
    for inputs, found in by_signal.items():
        (_, low, first), (_, high, last) = min(found, key=lambda f: f[0]), max(found, key=lambda f: f[0])
        if first is last:
            continue
        wanted = np.sqrt(_mean_square(last) / _mean_square(first))
        text = f"{high / low:.3g} times the error from the least to the largest fraction, expected {wanted:.3g}"
        good = wanted / _GROWTH <= high / low <= wanted * _GROWTH
        rows.append((inputs, text, "agrees" if good else "disagrees"))
    return cell_by_cell(
        "The error of the square loss grows like the root mean square of the errors in the targets",
        f"sqrt(noise² + fraction · scale²), up to a factor of {_GROWTH:g}, as one set of data is one draw",
        rows,
        "signals",
    )


def _mean_square(configuration: Configuration) -> float:
    data = configuration.data
    assert isinstance(data, SyntheticData)
    assert data.outliers is not None
    return data.noise**2 + data.outliers.fraction * data.outliers.scale**2


def order_of_the_losses_is_open(dataset: xr.Dataset) -> Claim:
    """The loss with the smallest error for every signal and fraction of outliers."""
    rows = []
    for (inputs, fraction), errors in _errors(dataset).items():
        best = min(errors, key=lambda name: errors[name][0])
        rows.append((f"{inputs}, {fraction:g}", f"{best} {error_text(errors[best][0])}"))
    return open_question(
        "Which loss finds the filter best", few([f"{name}: {text}" for name, text in rows]) or "no errors", rows
    )


def robustness_answer(dataset: xr.Dataset) -> str:
    """Errors of the best loss and of the square loss at the largest fraction of outliers, by signal."""
    largest: dict[str, tuple[float, dict[str, tuple[float, Configuration]]]] = {}
    for (inputs, fraction), errors in _errors(dataset).items():
        if inputs not in largest or fraction > largest[inputs][0]:
            largest[inputs] = (fraction, errors)
    parts = []
    for inputs, (fraction, errors) in largest.items():
        best = min(errors, key=lambda name: errors[name][0])
        square = f", square {error_text(errors['square'][0])}" if "square" in errors and best != "square" else ""
        parts.append(f"{inputs} with {fraction:.0%} outliers: {pretty(best)} {error_text(errors[best][0])}{square}")
    return (
        f"Median relative error of the filter of the best loss: {'; '.join(parts)}."
        if parts
        else "No flow has a limit."
    )


def error_figure(dataset: xr.Dataset) -> Drawing | None:
    """Median error of every loss against the fraction of outliers, a panel per signal."""
    axis = next((a for a in sweep_axes(dataset) if dataset[a].attrs.get("path") == "data.outliers.fraction"), None)
    if axis is None or "true_filter" not in dataset:
        return None
    losses = "loss" if "loss" in sweep_axes(dataset) else None
    others = [a for a in sweep_axes(dataset) if a not in (axis, "loss")]
    shown = []
    for title, part in facets(dataset, others):
        error, fraction = relative_error(part).median("seed"), part[axis].values
        names = part[losses].values if losses else [""]
        lines = [
            Line(pretty(name), fraction * 100, (error.sel({losses: name}) if losses else error).values)
            for name in names
        ]
        shown.append((title, lines))
    return scaling(
        "robustness",
        "Error of the filter and outliers",
        "outliers, % of the targets",
        "median relative error",
        shown,
        "Relative error of the end-to-end filter at the limit, median over the seeds, against the share of targets "
        "that are hit by gross errors. The theory expects losses of bounded influence to stay low.",
        plain_x=True,
    )


def _faults(configuration: Configuration) -> list[tuple[str, str]]:
    data = configuration.data
    if not isinstance(data, SyntheticData) or data.targets.kind == "unrelated":
        return [("data", "the true filter must be known: use synthetic data with planted, cascade or filter targets")]
    return []


ROBUSTNESS = Module(
    name="robustness",
    question=QUESTIONS["robustness"],
    theory=(
        "The influence of one target on the limit is bounded where ρ' is: pseudo-Huber, generalised Huber and log-cosh "
        "losses go through gross errors that pull the square loss away. The least-squares filter errs by a linear "
        "function of the errors in the targets, so that its error grows like their root mean square, sqrt(noise² + "
        "fraction · scale²). Which loss is best for which signal is open. Convergence holds for all of them."
    ),
    axes={
        "data.outliers.fraction": "share of targets that are hit",
        "loss": "losses (each kind compiles anew)",
        "data.inputs": "signals; zip with the network where they differ in dimension",
    },
    figures=(error_figure, filters),
    answer=robustness_answer,
    claims=(
        bounded_influence_withstands_outliers,
        square_loss_errs_like_the_root_of_the_fraction,
        order_of_the_losses_is_open,
        flow_converges,
        gradient_vanishes,
        balancedness_conserved,
        bound_holds,
    ),
    faults=_faults,
    linear=True,
    dynamics="flow",
)
