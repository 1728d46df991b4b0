"""Do the full-rank conditions on the data decide about convergence? Hypotheses beside what the flows did.

The claims are conditional: where (C) fails, divergence contradicts nothing.
"""

import math

import numpy as np
import xarray as xr

from experiments.answers import conditions_answer
from experiments.claims import (
    SATISFIED,
    UNDECIDED,
    VIOLATED,
    Claim,
    balancedness_conserved,
    energy_identity,
    gradient_vanishes,
    judge,
    risk_decreases,
)
from experiments.figures import filter_growth, filters, fit, gradient_norm, verdict_shares
from experiments.modules.base import Module
from experiments.questions import QUESTIONS
from experiments.results.layout import named_cells
from experiments.results.variables import NOT_COMPUTED, WITH_LIMIT
from experiments.schema import Configuration, Lp, SyntheticData
from experiments.sweeps.sweep import sweep_of_toml
from lcnn_flow import Verdict

__all__ = [
    "CONDITIONS",
    "divergence_needs_failure",
    "failure_forces_nothing",
    "growth_has_its_exponent",
    "injective_data_give_limits",
]

_SETTLED = 1e-2  # |d log|w| / d log t| at the end that counts as bounded
_EXPONENT_TOLERANCE = 1e-2


def injective_data_give_limits(dataset: xr.Dataset) -> Claim | None:
    """Where (C) holds, a verdict with a limit satisfies the claim and DIVERGED violates it."""
    here = _restrict(dataset, dataset["injective_on_attainable"] == 1)
    if here is None:
        return None
    rate = here["growth_rate"]
    settled = here["verdict"].isin(WITH_LIMIT) & (rate <= _SETTLED)
    status = xr.where(here["verdict"] == Verdict.DIVERGED, VIOLATED, xr.where(settled, SATISFIED, UNDECIDED))
    return judge(
        here,
        "Where (C) holds, every flow has a limit and its filters stay bounded",
        f"verdict CONVERGED, AT_SADDLE or DEGENERATE, and d log‖w‖ / d log t at most {_SETTLED:g} at the end",
        status,
        rate,
        "growth exponent at most {value}",
    )


def divergence_needs_failure(dataset: xr.Dataset) -> Claim | None:
    """Every DIVERGED flow lies in a cell where (C) fails."""
    here = _restrict(dataset, dataset["verdict"] == Verdict.DIVERGED)
    if here is None:
        return None
    holds = here["injective_on_attainable"].broadcast_like(here["verdict"])
    return judge(
        here,
        "Filters diverge only where (C) fails",
        "every flow with verdict DIVERGED belongs to data with an attainable filter in ker P",
        xr.where(holds == 1, VIOLATED, xr.where(holds == 0, SATISFIED, UNDECIDED)),
        here["growth_rate"],
        "growth exponents up to {value}",
    )


def failure_forces_nothing(dataset: xr.Dataset) -> Claim | None:
    """At least one flow converges although (C) fails."""
    here = _restrict(dataset, dataset["injective_on_attainable"] == 0)
    if here is None:
        return None
    rows = []
    for name, index in named_cells(here):
        verdict = here["verdict"].isel(index).values
        verdict = verdict[verdict != NOT_COMPUTED]
        if verdict.size:
            converged = int((verdict == Verdict.CONVERGED).sum())
            text = f"{converged} of {verdict.size} flows CONVERGED, {int((verdict == Verdict.DIVERGED).sum())} DIVERGED"
            rows.append((name, text, "agrees" if converged else "undecided"))
    converged, total = int((here["verdict"] == Verdict.CONVERGED).sum()), int((here["verdict"] != NOT_COMPUTED).sum())
    return Claim(
        "A (C) that fails permits divergence and does not force it",
        "some flow with verdict CONVERGED where (C) fails",
        f"{converged} of {total} flows CONVERGED",
        "agrees" if converged else "undecided",
        tuple(rows),
    )


def growth_has_its_exponent(dataset: xr.Dataset) -> Claim | None:
    """Exponents of DIVERGED flows of the two-layer network without tap 0 are 1/4 or 1/(2p+2).

    Attainable filters are V = w_2 w_1^T of rank one, and V_11 is unseen. Along the valley V_11 = s^2, both first taps
    s, V_12 and V_21 settle and V_22 = V_12 V_21 / s^2 =: e. The risk there is g(e), and the flow ds/dt of order
    |g'(e)| / s^3. Where g'(0) is not 0, s grows like t^(1/4). With exact targets and V_22 = 0 in the target,
    g(e) is of order |e|^p, p = 2 for losses that are quadratic at 0, and s grows like t^(1/(2p+2)). Derived.
    """
    diverged = dataset["verdict"] == Verdict.DIVERGED
    expected = xr.full_like(dataset["injective_on_attainable"], np.nan, dtype=float)
    for (_, index), cell in zip(named_cells(dataset), sweep_of_toml(dataset.attrs["configuration"]).cells, strict=True):
        expected[index] = _exponent(cell.configuration)
    here = _restrict(dataset, diverged & expected.notnull())
    if here is None:
        return None
    gap = abs(here["growth_rate"] / expected - 1)
    powers = np.unique(1 / expected.where(diverged.any("seed")).values)
    found = " or ".join(f"1/{power:.3g}" for power in powers if np.isfinite(power))
    return judge(
        here,
        "Filters that diverge grow like the power of time of the theory",
        f"growth exponent within {_EXPONENT_TOLERANCE:.0%} of {found}, according to loss and targets",
        xr.where(gap <= _EXPONENT_TOLERANCE, SATISFIED, xr.where(gap > _EXPONENT_TOLERANCE, VIOLATED, UNDECIDED)),
        gap,
        "largest relative deviation {value}",
    )


def _exponent(configuration: Configuration) -> float:
    """Exponent of growth of the two-layer network whose tap 0 is unseen; NaN for any other problem."""
    network, data = configuration.network, configuration.data
    if network.kind == "dense" or network.padding == "circular":
        return math.nan
    shape = (type(network.input_shape), network.kernel_sizes, network.strides, network.channels)
    if shape != (int, (2, 2), (2, 1), None) or not isinstance(data, SyntheticData):
        return math.nan
    if data.inputs.kind != "missing_patches" or set(data.inputs.taps) != {0}:
        return math.nan
    exact = data.noise == 0 and (data.outliers is None or data.outliers.fraction == 0)
    if not exact or data.targets.kind != "filter":
        return 1 / 4
    _, upper, lower, corner = data.targets.values
    if corner != 0:
        return 1 / 4
    power = configuration.loss.p if isinstance(configuration.loss, Lp) else 2
    return 1 / (2 * power + 2) if upper * lower != 0 else math.nan


def _restrict(dataset: xr.Dataset, flows: xr.DataArray) -> xr.Dataset | None:
    """The results with only the given flows counted as computed; None if there are none."""
    flows = flows & (dataset["verdict"] != NOT_COMPUTED)
    if not bool(flows.any()):
        return None
    flows = flows.transpose(*dataset["verdict"].dims)
    return dataset.assign(
        verdict=dataset["verdict"].where(flows, NOT_COMPUTED), growth_rate=dataset["growth_rate"].where(flows)
    )


CONDITIONS = Module(
    name="conditions",
    question=QUESTIONS["conditions"],
    theory=(
        "X holds the samples as columns, P is the matrix of all patches, so that the residuals are P v − y, and the "
        "attainable end-to-end filters v are those that the layers can make. Three conditions form a ladder, each "
        "implied by the one before: (A) X Xᵀ has full rank; (B) P has full column rank; (C) no attainable filter "
        "but 0 lies in the kernel of P. (A) depends on the inputs alone, (B) on the length of the end-to-end filter "
        "and the strides too, (C) on the whole network. Under (B) the residuals, which the falling risk keeps "
        "bounded, bound v by the smallest singular value of P; under (C) they bound it all the same, with the "
        "smallest ‖P v‖/‖v‖ over attainable v in its place. A bounded v and the conserved balancedness bound every "
        "filter, and the Łojasiewicz inequality then gives convergence to a critical point (Diederen, Rauhut, "
        "Terstiege, arXiv:2601.08547; the ladder is derived). So (C) suffices, and neither (A) nor (B) is needed. "
        "Where (C) fails the data do not see some direction in which the filters can grow: the infimum of the risk "
        "may lie at infinity, and filters may grow like a power of time. Whether they do depends on the targets "
        "and on the start, so that a (C) that fails permits divergence and does not force it."
    ),
    axes={
        "data": "whole tables of data; give each a label",
        "data.inputs": "kinds of inputs",
        "data.samples": "number of samples (each compiles anew)",
        "loss": "which losses are compared",
    },
    figures=(verdict_shares, filter_growth, filters, fit, gradient_norm),
    answer=conditions_answer,
    claims=(
        injective_data_give_limits,
        divergence_needs_failure,
        failure_forces_nothing,
        growth_has_its_exponent,
        risk_decreases,
        gradient_vanishes,
        balancedness_conserved,
        energy_identity,
    ),
    linear=True,
    dynamics="flow",
)
