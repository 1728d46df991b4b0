"""How fast does gradient flow converge? Lojasiewicz exponents by target, loss and depth, against the theory."""

import math

import numpy as np
import xarray as xr

from experiments.claims import (
    Claim,
    balancedness_conserved,
    cell_by_cell,
    energy_identity,
    gradient_vanishes,
    risk_decreases,
)
from experiments.figures import excess_risk, gradient_norm, root_paths
from experiments.figures.exponents import cell_key, exponents
from experiments.figures.style import Drawing
from experiments.modules.base import Module, convolution_of
from experiments.modules.cells import configured_cells
from experiments.questions import QUESTIONS
from experiments.schema import Configuration, Lp, SyntheticData

__all__ = ["RATES", "expected_exponent", "exponents_are_those_of_the_theory"]

_TOLERANCE = 0.01
_ENOUGH = 0.5
"""Share of the flows of a cell that must be asymptotic for its exponent to be known."""


def expected_exponent(configuration: Configuration) -> float:
    """Lojasiewicz exponent at the limit of a generic start; NaN where the theory used here is silent.

    With exact targets and rho ~ |r|^p at 0, L ~ x^(p m) along the flattest direction x across the symmetries, so that
    theta = 1 - 1/(p m). Target 0: m is the number of filters that vanish, those of the smallest initial norm: all N of
    a balanced start, one of a Gaussian one. Two filters of two taps: m = 2 at a target with a double root, where
    v depends on x^2, and m = 1 at one with two real roots. With complex roots the residuals stay, L ~ x^2, theta = 1/2.
    """
    network, data = convolution_of(configuration), configuration.data
    if not isinstance(data, SyntheticData) or data.targets.kind != "filter" or data.noise > 0:
        return math.nan
    if (data.outliers is not None and data.outliers.fraction > 0) or network.channels is not None:
        return math.nan
    if data.inputs.kind not in ("white", "autoregressive", "anisotropic"):
        return math.nan
    power = configuration.loss.p if isinstance(configuration.loss, Lp) else 2.0
    taps = np.array(data.targets.values)
    if not taps.any():
        return 1 - 1 / (power * _smallest(configuration))
    if tuple(network.kernel_sizes) != (2, 2) or taps.size != 3:
        return math.nan
    discriminant = taps[1] ** 2 - 4 * taps[0] * taps[2]
    if discriminant < 0:
        return 1 / 2
    return 1 - 1 / (power * (2 if discriminant == 0 else 1))


def _smallest(configuration: Configuration) -> float:
    """Number of filters whose initial norm is the smallest: balancedness is conserved, and they vanish together."""
    start, depth = configuration.initializer, len(convolution_of(configuration).kernel_sizes)
    match start.kind:
        case "balanced" | "orthogonal":
            return depth
        case "gaussian":
            return 1
        case "imbalanced":
            return depth if start.ratio == 1 else 1
        case "scaled":
            return start.norms.count(min(start.norms))
        case _:
            return math.nan


def exponents_are_those_of_the_theory(dataset: xr.Dataset) -> Claim | None:
    """Median exponent of the asymptotic flows of every cell against `expected_exponent`."""
    if "lojasiewicz_exponent" not in dataset:
        return None
    rows = []
    for name, cell, configuration in configured_cells(dataset):
        expected = expected_exponent(configuration)
        if math.isnan(expected):
            continue
        found = cell["lojasiewicz_exponent"].values
        known = found[np.isfinite(found)]
        if known.size < _ENOUGH * found.size:
            text = f"{known.size} of {found.size} flows asymptotic, expected θ = {expected:.4f}"
            rows.append((name, text, "undecided"))
            continue
        middle = float(np.median(known))
        text = f"θ̂ = {middle:.4f}, expected {expected:.4f}"
        rows.append((name, text, "agrees" if abs(middle - expected) <= _TOLERANCE else "disagrees"))
    return cell_by_cell(
        "Flows converge at the rate of the Łojasiewicz exponent of the theory",
        f"median exponent of the flows within {_TOLERANCE:g} of 1 − 1/(p m)",
        rows,
    )


def rates_answer(dataset: xr.Dataset) -> str:
    """Exponents, their range, and the largest deviation from the theory."""
    gaps, found = [], []
    for _, cell, configuration in configured_cells(dataset):
        values = cell["lojasiewicz_exponent"].values if "lojasiewicz_exponent" in cell else np.zeros(0)
        if np.isfinite(values).any():
            found.append(float(np.nanmedian(values)))
            gaps.append(abs(found[-1] - expected_exponent(configuration)))
    if not found:
        return "No flow is asymptotic: give flow.times of a longer stop and a smaller flow.rtol."
    known = [gap for gap in gaps if not math.isnan(gap)]
    words = f", at most {max(known):.4f} from the theory in {len(known)} cells" if known else ""
    return (
        f"Median Łojasiewicz exponents lie between {min(found):.3f} and {max(found):.3f}{words}. ½ is exponential "
        "convergence; more is a power of time, which double roots, flat losses and vanishing targets bring about."
    )


def rate_figure(dataset: xr.Dataset) -> Drawing | None:
    """Exponents beside those of the theory."""
    expected = {cell_key(cell): expected_exponent(made) for _, cell, made in configured_cells(dataset)}
    return exponents(dataset, expected)


def _faults(configuration: Configuration) -> list[tuple[str, str]]:
    if configuration.flow.times is None:
        return [("flow.times", "missing; rates are seen along the flow, for example { start = 1e-2, stop = 1e9, ... }")]
    return []


RATES = Module(
    name="rates",
    question=QUESTIONS["rates"],
    theory=(
        "The Łojasiewicz inequality |∇L| ≥ C (L − L*)^θ decides the rate: θ = ½ gives exponential convergence, θ > ½ "
        "L − L* ~ t^(−1/(2θ−1)), θ < ½ an end in finite time. With exact targets and a loss that grows like |r|^p near "
        "0, θ = 1 − 1/(p m), where the residuals move by x^m along the flattest direction x: m = 2 at a target with a "
        "double root, which two filters of two taps must share, and m = 1 at one with two real roots. At the target 0 "
        "m is the number of filters that vanish: balancedness is conserved, so that those of the smallest initial norm "
        "do, all of a balanced start and one of a Gaussian one. Where residuals remain, as with complex roots, θ = ½. "
        "Targets close to a double root show its exponent for long before they show their own."
    ),
    axes={
        "data": "targets, each with a label",
        "loss": "order of the loss near 0",
        "network.kernel_sizes": "depth (each compiles anew), zipped with data",
    },
    figures=(rate_figure, excess_risk, root_paths, gradient_norm),
    answer=rates_answer,
    claims=(
        exponents_are_those_of_the_theory,
        risk_decreases,
        gradient_vanishes,
        balancedness_conserved,
        energy_identity,
    ),
    faults=_faults,
    linear=True,
    convolution=True,
    dynamics="flow",
)
