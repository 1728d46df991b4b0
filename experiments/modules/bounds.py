"""How tight are the a-priori bounds on the filters? The bound beside the largest norm that the flow reached."""

import numpy as np
import xarray as xr

from experiments.claims import (
    Claim,
    balancedness_conserved,
    bound_holds,
    energy_identity,
    filters_bounded,
    flow_converges,
    open_question,
    risk_decreases,
)
from experiments.figures import filters, path_length
from experiments.figures.bounds import bound_figure, tightness
from experiments.modules.base import Module, convolution_of
from experiments.modules.cells import Finding, claim_by_cell, configured_cells
from experiments.questions import QUESTIONS
from experiments.schema import Configuration

__all__ = ["BOUNDS", "bound_is_finite_where_patches_have_full_rank"]


def bound_is_finite_where_patches_have_full_rank(dataset: xr.Dataset) -> Claim | None:
    """(B) against finite bounds, cell by cell."""

    def finding(cell: xr.Dataset, _: Configuration) -> Finding:
        if "norm_bound" not in cell or not bool(cell["norm_bound"].notnull().any()):
            return None
        finite = np.isfinite(cell["norm_bound"].values)
        full = float(cell["full_rank_patches"]) == 1
        text = f"{int(finite.sum())} of {finite.size} bounds finite; (B) {'holds' if full else 'fails'}"
        return text, bool(finite.all() if full else not finite.any())

    return claim_by_cell(
        dataset,
        "The bound is finite exactly where the patch matrix has full column rank (B)",
        "finite bounds on all filters where (B) holds, none where it fails",
        finding,
    )


def tightness_is_open(dataset: xr.Dataset) -> Claim:
    """Bound over largest norm, the largest of the layers."""
    rows = []
    for name, cell, _ in configured_cells(dataset):
        ratio = tightness(cell)
        ratio = ratio[np.isfinite(ratio)]
        if ratio.size:
            rows.append((name, f"{np.median(ratio):.3g} times, {ratio.min():.3g} to {ratio.max():.3g}"))
    ratios = tightness(dataset)
    ratios = ratios[np.isfinite(ratios)]
    words = f"{ratios.min():.3g} to {ratios.max():.3g} times the norm reached" if ratios.size else "no finite bound"
    return open_question("How far the bounds lie above the norms that are reached", words, rows)


def bounds_answer(dataset: xr.Dataset) -> str:
    """How many bounds were kept, and how tight they are."""
    ratio = tightness(dataset)
    ratio = ratio[np.isfinite(ratio)]
    if not ratio.size:
        return "No bound is finite: the patch matrix has no full column rank."
    low, middle, high = np.quantile(ratio, [0.1, 0.5, 0.9])
    return (
        f"{int((ratio >= 1).sum())} of {ratio.size} largest filter norms stay below their bound, which is {middle:.3g} "
        f"times as large in the median (10% to 90%: {low:.3g} to {high:.3g}; nearest {ratio.min():.3g})."
    )


def _faults(configuration: Configuration) -> list[tuple[str, str]]:
    if configuration.flow.times is None:
        return [("flow.times", "missing; the largest norms are those along the flow")]
    if convolution_of(configuration).channels is not None:
        return [("network.channels", "the bounds are those of a single channel; leave channels out")]
    return []


BOUNDS = Module(
    name="bounds",
    question=QUESTIONS["bounds"],
    theory=(
        "The risk never exceeds its initial value, which bounds the residuals; where the patch matrix P has full "
        "column rank this bounds the end-to-end filter, |v| ≤ R. The product of the norms of the filters is at most κ "
        "|v|, κ by Mahler's measure, and their differences are conserved; so |w_l(t)|² ≤ μ + c_l for all times, where "
        "∏ (μ + c_l) = (κ R)² and c_l = |w_l(0)|² − min. How tight this is, is open."
    ),
    axes={
        "data.inputs": "conditioning of the patches",
        "loss": "losses (each compiles anew)",
        "initializer.std": "initial scale",
    },
    figures=(bound_figure, path_length, filters),
    answer=bounds_answer,
    claims=(
        bound_holds,
        bound_is_finite_where_patches_have_full_rank,
        tightness_is_open,
        filters_bounded,
        risk_decreases,
        flow_converges,
        balancedness_conserved,
        energy_identity,
    ),
    faults=_faults,
    linear=True,
    convolution=True,
    dynamics="flow",
)
