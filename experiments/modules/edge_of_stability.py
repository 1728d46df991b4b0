"""How sharp are the minima at which gradient descent stops, compared with those of the flow?"""

import numpy as np
import xarray as xr

from experiments.answers import few
from experiments.claims import Claim, judge, restricted, status_of
from experiments.computing.flow_comparison import compare_with_flow
from experiments.figures import distance, gradient_norm, risk, sharpness
from experiments.modules.base import Module
from experiments.questions import QUESTIONS
from experiments.results.layout import computed_cells
from experiments.results.rates import rate_of, stable_sharpness
from experiments.results.variables import NOT_COMPUTED, WITH_LIMIT
from experiments.schema import Configuration

__all__ = ["EDGE_OF_STABILITY", "far_below_the_edge_the_flow_is_followed", "rest_is_stable", "sharper_limits_are_left"]

_ROUNDING = 1e-3
_BEYOND = 1.02
"""Times 2/eta: the flow's end is clearly sharper."""
_FAR_BELOW = 0.5
_ALIKE = 0.1


def rest_is_stable(dataset: xr.Dataset) -> Claim | None:
    """Where a descent has converged, lambda_max <= 2/eta."""
    here = restricted(dataset, dataset["verdict"].isin(WITH_LIMIT))
    if here is None:
        return None
    ratio = _last(here["sharpness"]) / stable_sharpness(here)
    return judge(
        here,
        "Where gradient descent comes to rest, the sharpness is at most 2/η",
        "largest eigenvalue of the Hessian at the end over 2/η at most 1, of descents that came to rest",
        status_of(ratio <= 1 + _ROUNDING, ratio > 1 + _ROUNDING),
        ratio,
        "largest ratio {value}",
    )


def sharper_limits_are_left(dataset: xr.Dataset) -> Claim | None:
    """Where the flow ends at a sharpness above 2/eta, a descent that converges does so at a flatter point."""
    flow, edge = _last(dataset["flow_sharpness"]), stable_sharpness(dataset)
    here = restricted(dataset, (flow > _BEYOND * edge) & dataset["verdict"].isin(WITH_LIMIT))
    if here is None:
        return None
    ratio = _last(here["sharpness"]) / flow
    return judge(
        here,
        "A limit of the flow that is sharper than 2/η is left for a flatter one",
        "sharpness at the end of the descent below that of the flow, where that is above 2/η and the descent rests",
        status_of(ratio < 1, ratio >= 1),
        ratio,
        "largest ratio {value}",
    )


def far_below_the_edge_the_flow_is_followed(dataset: xr.Dataset) -> Claim | None:
    """Where the sharpness of the flow is always below half of 2/eta, descent and flow end at the same sharpness."""
    below = dataset["flow_sharpness"].max("time", skipna=False) <= _FAR_BELOW * stable_sharpness(dataset)
    here = restricted(dataset, below)
    if here is None:
        return None
    gap = abs(_last(here["sharpness"]) / _last(here["flow_sharpness"]) - 1)
    return judge(
        here,
        "Far below the edge gradient descent ends as the flow does",
        f"sharpness at the end within {_ALIKE:.0%} of that of the flow, where the flow stays below 1/η",
        status_of(gap <= _ALIKE, gap > _ALIKE),
        gap,
        "largest relative difference {value}",
    )


def _last(values: xr.DataArray) -> xr.DataArray:
    """The value at the last stored step; NaN if the trajectory ended early."""
    return values.isel(time=-1)


def _answer(dataset: xr.Dataset) -> str:
    """How many flows end above 2/eta, and the final sharpness of descent and flow for every rate."""
    parts = []
    for _, _, cell in computed_cells(dataset):
        edge = 2 / rate_of(cell)
        computed = cell["verdict"].values != NOT_COMPUTED
        flow, seen = _last(cell["flow_sharpness"]).values[computed], _last(cell["sharpness"]).values[computed]
        beyond = flow > edge
        text = f"2/η = {edge:.3g}: {int(beyond.sum())} of {flow.size} flows end sharper"
        known = seen[beyond & np.isfinite(seen)]
        if known.size:
            text += f" (up to {flow[beyond].max():.3g}), the descents from there at up to {known.max():.3g}"
        parts.append(text)
    return f"{'; '.join(parts) if len(parts) <= 6 else few(parts)}." if parts else "No descent was computed."


def _faults(configuration: Configuration) -> list[tuple[str, str]]:
    descent = configuration.descent
    if descent is not None and descent.optimizer.kind != "sgd":
        message = f'found "{descent.optimizer.kind}"; 2/η is the edge of plain gradient descent: write kind = "sgd"'
        return [("dynamics.optimizer.kind", message)]
    if descent is not None and descent.batch_size is not None:
        return [("dynamics.batch_size", "the edge 2/η is that of full gradients: leave it out")]
    if descent is not None and descent.records < 3:
        message = "missing; the sharpness is seen at the recorded steps alone: write at most half of dynamics.steps"
        return [("dynamics.record_every", message)]
    return []


EDGE_OF_STABILITY = Module(
    name="edge_of_stability",
    question=QUESTIONS["edge_of_stability"],
    theory=(
        "Along the eigenvector of the largest eigenvalue λ of the Hessian, the sharpness, a step of gradient descent "
        "multiplies the distance from a minimum by 1 − ηλ: it can rest only where λ ≤ 2/η. The flow knows no such "
        "bound. Where it ends at a sharper minimum, gradient descent leaves its neighbourhood, and on the manifold of "
        "minima that the rescaling of the layers makes it comes to rest at a flatter and better balanced one, mostly "
        "just below 2/η: the edge of stability (Cohen, Kaur, Li, Kolter and Talwalkar, arXiv:2103.00065, for neural "
        "networks in general). Where all minima are sharper than 2/η there is no rest at all. Where the flow stays "
        "far below the edge, gradient descent follows it."
    ),
    axes={
        "dynamics.optimizer.learning_rate": "the edge 2/η (one compiled program)",
        "initializer.std": "size of the initial filters: the larger, the less balanced",
    },
    figures=(sharpness, distance, risk, gradient_norm),
    answer=_answer,
    claims=(rest_is_stable, sharper_limits_are_left, far_below_the_edge_the_flow_is_followed),
    faults=_faults,
    dynamics="descent",
    observables=("sharpness",),
    per_flow=compare_with_flow,
)
