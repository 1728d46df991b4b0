"""Do larger strides keep limits away from common roots? Rank of dv/dw and common roots at the limits, by stride."""

import math

import numpy as np
import xarray as xr

from experiments.claims import (
    Claim,
    certificates_agree,
    flow_converges,
    gradient_vanishes,
    open_question,
)
from experiments.computing.shown_flows import followed_flows
from experiments.figures import filters, root_paths
from experiments.figures.common_roots import common_roots
from experiments.modules.base import Module, convolution_of
from experiments.modules.cells import COMMON_ROOT_GAP, Finding, claim_by_cell, configured_cells, is_optimal
from experiments.questions import QUESTIONS
from experiments.results.shares import share
from experiments.results.variables import WITH_LIMIT
from experiments.schema import Configuration

__all__ = [
    "STRIDES",
    "limits_at_stride_one_are_optimal_or_share_a_root",
    "rank_is_maximal_beyond_stride_one",
    "rank_tells_common_roots",
]


_ZERO = 1e-6
"""Size of a limit, relative to the largest of its cell, up to which it is the filter 0."""


def inner_strides(configuration: Configuration) -> tuple[int, ...]:
    """Strides of all layers but the last, which does not enter the end-to-end filter."""
    network = convolution_of(configuration)
    depth = len(network.kernel_sizes)
    strides = network.strides if isinstance(network.strides, tuple) else (network.strides,) * depth
    return tuple(int(s) for s in strides[:-1])


def _limits(cell: xr.Dataset) -> np.ndarray:
    """Flows of a cell with a limit that is not the filter 0."""
    size = np.nan_to_num(np.abs(cell["limit_filter"].values)).max(axis=1)
    return np.isin(cell["verdict"].values, WITH_LIMIT) & (size > _ZERO * size.max(initial=0.0))


def rank_is_maximal_beyond_stride_one(dataset: xr.Dataset) -> Claim | None:
    """Cells whose inner strides are all above 1: rank of dv/dw against sum k_l - (N - 1)."""

    def finding(cell: xr.Dataset, configuration: Configuration) -> Finding:
        here, strides = _limits(cell), inner_strides(configuration)
        if not strides or min(strides) < 2 or configuration.loss.kind != "square" or not here.any():
            return None
        wanted = sum(convolution_of(configuration).kernel_sizes) - len(strides)
        rank = cell["jacobian_rank"].values[here]
        return f"{int((rank == wanted).sum())} of {rank.size} limits of rank {wanted}", bool((rank == wanted).all())

    return claim_by_cell(
        dataset,
        "With strides above 1 dv/dw has maximal rank at every limit but 0",
        "rank sum k_l − (N − 1), the dimension of the attainable filters",
        finding,
    )


def limits_at_stride_one_are_optimal_or_share_a_root(dataset: xr.Dataset) -> Claim | None:
    """Cells whose inner strides are all 1: each limit is the least-squares filter, or two layers share a root."""

    def finding(cell: xr.Dataset, configuration: Configuration) -> Finding:
        here, strides = _limits(cell), inner_strides(configuration)
        if not strides or max(strides) > 1 or not here.any():
            return None
        optimal, common = is_optimal(cell)[here], cell["common_root_gap"].values[here] <= COMMON_ROOT_GAP
        text = f"{int(optimal.sum())} optimal, {int((common & ~optimal).sum())} with a common root, of {here.sum()}"
        return text, bool((optimal | common).all())

    return claim_by_cell(
        dataset,
        "At stride 1 a limit is optimal over all filters, or two layers share a root",
        f"gap to the optimum 0, or common-root gap at most {COMMON_ROOT_GAP:g}",
        finding,
    )


def rank_tells_common_roots(dataset: xr.Dataset) -> Claim | None:
    """Cells whose inner strides are all 1: dv/dw is onto exactly where no two layers share a root."""

    def finding(cell: xr.Dataset, configuration: Configuration) -> Finding:
        here, strides = _limits(cell), inner_strides(configuration)
        if len(strides) != 1 or strides[0] > 1 or not here.any():
            return None
        taps = 1 + sum(k - 1 for k in convolution_of(configuration).kernel_sizes)
        onto = cell["jacobian_rank"].values[here] == taps
        common = cell["common_root_gap"].values[here] <= COMMON_ROOT_GAP
        text = f"onto at {int(onto.sum())} of {here.sum()} limits, of which {int((onto & common).sum())} share a root"
        return text, bool((onto != common).all())

    return claim_by_cell(
        dataset,
        "Two layers at stride 1: dv/dw is onto exactly where they have no root in common",
        "rank k_v − deg gcd(w_1, w_2)",
        finding,
    )


def shares_with_a_common_root(dataset: xr.Dataset) -> Claim:
    """How often limits have a common root, by stride: of targets that nothing makes attainable."""
    rows = []
    for name, cell, _ in configured_cells(dataset):
        here = _limits(cell)
        if here.any():
            common = int((cell["common_root_gap"].values[here] <= COMMON_ROOT_GAP).sum())
            rows.append((name, share(common, int(here.sum()))))
    words = "; ".join(f"{name}: {text}" for name, text in rows[:3]) + ("; …" if len(rows) > 3 else "")
    return open_question("How many limits have a root common to two layers", words or "no limits", rows)


def strides_answer(dataset: xr.Dataset) -> str:
    """Shares of limits with a common root, with all inner strides 1, some, and none."""
    groups: dict[str, list[int]] = {}
    for _, cell, configuration in configured_cells(dataset):
        here, strides = _limits(cell), inner_strides(configuration)
        ones = sum(s == 1 for s in strides)
        kind = "all inner strides 1" if ones == len(strides) else "no inner stride 1" if ones == 0 else "mixed strides"
        counts = groups.setdefault(kind, [0, 0])
        counts[0] += int((cell["common_root_gap"].values[here] <= COMMON_ROOT_GAP).sum())
        counts[1] += int(here.sum())
    parts = [f"{kind}: {share(*counts)}" for kind, counts in groups.items() if counts[1]]
    return f"Limits with a root common to two layers: {'; '.join(parts)}." if parts else "No flow has a limit."


def _faults(configuration: Configuration) -> list[tuple[str, str]]:
    network = convolution_of(configuration)
    if network.channels is not None or not isinstance(network.input_shape, int):
        return [("network", "common roots are defined in one dimension, for a single channel")]
    if math.prod(network.kernel_sizes) == 1 or len(network.kernel_sizes) < 2:
        return [("network.kernel_sizes", "write at least two layers, of more than one tap")]
    return []


STRIDES = Module(
    name="strides",
    question=QUESTIONS["strides"],
    theory=(
        "A filter is a polynomial, and the end-to-end filter their product; strides put powers of z in place of z. At "
        "stride 1 dv/dw loses rank exactly where two layers have a common root, and every critical point but the "
        "least-squares filter is of that kind. With all strides of the layers before the last above 1 and generic "
        "data, dv/dw has maximal rank at every critical point but 0 for the square loss (Kohn, Montúfar, Shahverdi, "
        "Trager, arXiv:2304.05752). Where some strides are 1 and others larger, the theory used here is silent."
    ),
    axes={
        "network.strides": "strides, zipped with network.input_shape (each compiles anew)",
        "data.seed": "other data",
    },
    figures=(common_roots, root_paths, filters),
    answer=strides_answer,
    claims=(
        rank_is_maximal_beyond_stride_one,
        limits_at_stride_one_are_optimal_or_share_a_root,
        rank_tells_common_roots,
        shares_with_a_common_root,
        flow_converges,
        gradient_vanishes,
        certificates_agree,
    ),
    faults=_faults,
    linear=True,
    convolution=True,
    dynamics="flow",
    per_cell=followed_flows,
)
