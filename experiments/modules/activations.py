"""Do flows of networks with these activations come to a limit, and what do they conserve on the way?"""

import numpy as np
import xarray as xr

from experiments.answers import convergence_answer, few
from experiments.claims import Claim, judge, restricted, status_of
from experiments.figures import excess_risk, risk
from experiments.figures.networks import drift_of_balance, verdicts
from experiments.modules.base import Module
from experiments.questions import QUESTIONS
from experiments.results.balance import layer_drift, networks_of
from experiments.results.layout import named_cells
from experiments.results.variables import NOT_COMPUTED, WITH_LIMIT
from experiments.schema import Configuration
from lcnn_flow import Verdict

__all__ = ["ACTIVATIONS", "homogeneous_ones_conserve", "others_do_not_conserve", "smooth_ones_are_decided"]

_DECIDED = 0.95
_GROWING = 1e-2
"""Exponent of a power law of growth that is none of rounding."""
_CONSERVED = 1e-3
_MOVED = 1e-2


def smooth_ones_are_decided(dataset: xr.Dataset) -> Claim | None:
    """Flows with analytic activations have a limit, are shown to diverge, or have filters that still grow."""
    rows, shares = [], []
    for (name, index), network in zip(named_cells(dataset), networks_of(dataset), strict=True):
        verdict, rate = (dataset[part].isel(index).values for part in ("verdict", "growth_rate"))
        computed = verdict != NOT_COMPUTED
        total = int(computed.sum())
        if not total or not (network.activation is None or network.activation.analytic):
            continue
        limit = np.isin(verdict, WITH_LIMIT)
        grows = ~limit & ((verdict == Verdict.DIVERGED) | (rate > _GROWING)) & computed
        decided = int((limit | grows).sum())
        text = f"{decided} of {total} flows" + (f", of which {int(grows.sum())} grow" if grows.any() else "")
        rows.append((name, text, "agrees" if decided >= _DECIDED * total else "disagrees"))
        shares.append(decided / total)
    if not rows:
        return None
    statement = "Flows of networks with smooth activations come to a limit, unless their filters grow for ever"
    expected = (
        f"a limit, DIVERGED, or d log‖w‖ / d log t above {_GROWING:g} at the end, for at least {_DECIDED:.0%} of the "
        "starts, activation by activation"
    )
    fewest = rows[int(np.argmin(shares))]
    conclusion = "disagrees" if any(row[2] == "disagrees" for row in rows) else "agrees"
    return Claim(statement, expected, f"fewest: {fewest[1]} ({fewest[0]})", conclusion, tuple(rows))


def homogeneous_ones_conserve(dataset: xr.Dataset) -> Claim | None:
    """|w_l|^2 - p |w_{l+1}|^2 along flows of networks that are linear or positively homogeneous of degree p."""
    found = _drift_where(dataset, homogeneous=True)
    if found is None:
        return None
    here, drift = found
    return judge(
        here,
        "Linear and positively homogeneous networks conserve the balance of their layers",
        f"change of ‖w_l‖² − p ‖w_(l+1)‖² at most {_CONSERVED:.0e} of the largest ‖w_l‖²",
        status_of(drift <= _CONSERVED, drift > _CONSERVED),
        drift,
        "largest change {value}",
    )


def others_do_not_conserve(dataset: xr.Dataset) -> Claim | None:
    """|w_l|^2 - |w_{l+1}|^2 is not conserved with other activations: its median change over the flows is large."""
    found = _drift_where(dataset, homogeneous=False)
    if found is None:
        return None
    here, drift = found
    rows = []
    for name, index in named_cells(here):
        computed = here["verdict"].isel(index).values != NOT_COMPUTED
        values = drift.isel(index).values[computed]
        if np.isfinite(values).any():
            middle = float(np.nanmedian(values))
            word = "agrees" if middle > _MOVED else "disagrees" if middle <= _CONSERVED else "undecided"
            rows.append((name, f"median change {middle:.1e}", word))
    if not rows:
        return None
    conclusions = [row[2] for row in rows]
    worst = next((word for word in ("disagrees", "undecided") if word in conclusions), "agrees")
    statement = "Other activations conserve no such balance"
    expected = f"median over the starts of the change of ‖w_l‖² − ‖w_(l+1)‖² above {_MOVED:.0e} of the largest ‖w_l‖²"
    return Claim(statement, expected, "; ".join(f"{row[0]}: {row[1]}" for row in rows[:4]), worst, tuple(rows))


def _drift_where(dataset: xr.Dataset, homogeneous: bool) -> tuple[xr.Dataset, xr.DataArray] | None:
    """The results with only the cells whose activations are homogeneous, or are not, and the drift of all cells."""
    if "squared_norms" not in dataset:
        return None
    chosen = xr.zeros_like(dataset["verdict"], dtype=bool)
    for (_, index), network in zip(named_cells(dataset), networks_of(dataset), strict=True):
        has_degree = network.activation is None or network.activation.degree is not None
        chosen[index] = network.depth > 1 and not network.bias and has_degree == homogeneous
    here = restricted(dataset, chosen)
    return None if here is None else (here, layer_drift(dataset))


def _answer(dataset: xr.Dataset) -> str:
    """Shares of flows with a limit for every activation; then `convergence_answer`."""
    parts = []
    for name, index in named_cells(dataset):
        verdict = dataset["verdict"].isel(index).values
        verdict = verdict[verdict != NOT_COMPUTED]
        if verdict.size:
            parts.append(f"{name} {int(np.isin(verdict, WITH_LIMIT).sum())} of {verdict.size}")
    words = ", ".join(parts) if len(parts) <= 8 else few(parts)
    return f"Flows with a limit: {words}. {convergence_answer(dataset)}" if parts else "No flow was computed."


def _faults(configuration: Configuration) -> list[tuple[str, str]]:
    if configuration.flow.times is None:
        message = "missing; what is conserved is seen along trajectories alone: write times = { start, stop, count }"
        return [("flow.times", message)]
    return []


ACTIVATIONS = Module(
    name="activations",
    question=QUESTIONS["activations"],
    theory=(
        "With an analytic activation the risk is analytic, and a flow that stays bounded converges (Łojasiewicz); "
        "whether it stays bounded is not known in general: filters whose outputs cancel may grow like a power of time, "
        "which uses the steps up. Of linear networks, and of activations with "
        "σ(tx) = t^p σ(x) for t > 0 (relu, leaky relu, powers), the flow conserves ‖w_l‖² − p ‖w_(l+1)‖²; tanh, "
        "softplus and gelu conserve nothing of the kind. The risk of a relu network has kinks: flows are drawn onto "
        "them and slide along, and most are undecided for that, so that nothing is expected of their verdicts."
    ),
    axes={
        "network.activation": "which activations are compared (each compiles anew)",
        "initializer.gain": "size of the initial filters",
        "data.noise": "noise in the targets",
    },
    figures=(verdicts, drift_of_balance, risk, excess_risk),
    answer=_answer,
    claims=(
        smooth_ones_are_decided,
        homogeneous_ones_conserve,
        others_do_not_conserve,
    ),
    faults=_faults,
    dynamics="flow",
)
