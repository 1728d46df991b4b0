"""Filters of even size and roots: which targets are out of reach, and what roots the limits have instead."""

import numpy as np
import xarray as xr

from experiments.claims import Claim, certificates_agree, flow_converges, gradient_vanishes
from experiments.computing.shown_flows import followed_flows
from experiments.figures import filters, root_paths, spectrum
from experiments.figures.common_roots import common_roots
from experiments.figures.root_patterns import real_roots, root_patterns
from experiments.modules.base import Module, convolution_of
from experiments.modules.cells import COMMON_ROOT_GAP, Finding, claim_by_cell, configured_cells, is_optimal
from experiments.modules.strides import inner_strides
from experiments.questions import QUESTIONS
from experiments.schema import Configuration, SyntheticData
from lcnn_flow.critical import Kind

__all__ = [
    "REPEATED_FILTERS",
    "even_filters_have_real_roots",
    "targets_in_reach_are_found_or_a_root_is_shared",
    "targets_out_of_reach_give_repeated_roots",
]


def _even(configuration: Configuration) -> int:
    """Number of filters of even size, each of which has a real root."""
    return sum(size % 2 == 0 for size in convolution_of(configuration).kernel_sizes)


def _minima(cell: xr.Dataset) -> np.ndarray:
    return cell["kind"].values == Kind.MINIMUM


def even_filters_have_real_roots(dataset: xr.Dataset) -> Claim | None:
    """Real roots of every minimum against the number of filters of even size."""

    def finding(cell: xr.Dataset, configuration: Configuration) -> Finding:
        counts = [real_roots(taps) for taps in cell["limit_filter"].values[_minima(cell)]]
        even = _even(configuration)
        if not counts or not even:
            return None
        return f"{min(counts)} real roots or more, {even} filters of even size", min(counts) >= even

    return claim_by_cell(
        dataset,
        "Every limit has at least as many real roots as there are filters of even size",
        "a real polynomial of odd degree has a real root, infinity included",
        finding,
    )


def targets_out_of_reach_give_repeated_roots(dataset: xr.Dataset) -> Claim | None:
    """Cells whose target has fewer real roots than filters of even size: every minimum has a root of two layers."""

    def finding(cell: xr.Dataset, configuration: Configuration) -> Finding:
        here = _minima(cell)
        if not here.any() or real_roots(cell["true_filter"].values) >= _even(configuration):
            return None
        common, optimal = cell["common_root_gap"].values[here] <= COMMON_ROOT_GAP, is_optimal(cell)[here]
        text = f"{int(common.sum())} of {common.size} minima share a root, {int(optimal.sum())} reach the target"
        return text, bool(common.all() and not optimal.any())

    return claim_by_cell(
        dataset,
        "Targets with too few real roots are not reached, and the limits have a root that two layers share",
        f"common-root gap at most {COMMON_ROOT_GAP:g} and a gap to the optimum, at every minimum",
        finding,
    )


def targets_in_reach_are_found_or_a_root_is_shared(dataset: xr.Dataset) -> Claim | None:
    """Cells whose target is attainable: every minimum is the target, or two layers share a root there."""

    def finding(cell: xr.Dataset, configuration: Configuration) -> Finding:
        here = _minima(cell)
        if not here.any() or real_roots(cell["true_filter"].values) < _even(configuration):
            return None
        common, optimal = cell["common_root_gap"].values[here] <= COMMON_ROOT_GAP, is_optimal(cell)[here]
        spurious = int((common & ~optimal).sum())
        text = f"{int(optimal.sum())} of {optimal.size} minima are the target, {spurious} spurious"
        return text, bool((common | optimal).all())

    return claim_by_cell(
        dataset,
        "Targets with enough real roots are attainable: a minimum is the target, or two layers share a root",
        f"gap to the optimum 0, or common-root gap at most {COMMON_ROOT_GAP:g}",
        finding,
    )


def repeated_answer(dataset: xr.Dataset) -> str:
    """How many minima share a root, for targets in and out of reach."""
    counts = {"within reach": [0, 0], "out of reach": [0, 0]}
    for _, cell, configuration in configured_cells(dataset):
        here = _minima(cell)
        reach = real_roots(cell["true_filter"].values) >= _even(configuration)
        group = counts["within reach" if reach else "out of reach"]
        group[0] += int((cell["common_root_gap"].values[here] <= COMMON_ROOT_GAP).sum())
        group[1] += int(here.sum())
    parts = [f"{found} of {total} where the target is {words}" for words, (found, total) in counts.items() if total]
    return f"Minima at which two layers share a root: {', '.join(parts)}." if parts else "No minimum was found."


def _faults(configuration: Configuration) -> list[tuple[str, str]]:
    network, data = convolution_of(configuration), configuration.data
    if network.channels is not None or not isinstance(network.input_shape, int):
        return [("network", "roots are defined in one dimension, for a single channel")]
    if any(stride != 1 for stride in inner_strides(configuration)):
        return [("network.strides", "which filters are attainable is known by their real roots at stride 1 alone")]
    if not isinstance(data, SyntheticData) or data.targets.kind == "unrelated" or data.noise > 0:
        return [("data.targets.kind", "the target must be known: use filter, planted or cascade, and no noise")]
    return []


REPEATED_FILTERS = Module(
    name="repeated_filters",
    question=QUESTIONS["repeated_filters"],
    theory=(
        "A filter of even size is a polynomial of odd degree and has a real root, infinity included. At stride 1 a "
        "filter v is attainable exactly if it has at least as many real roots as there are filters of even size. Other "
        "targets are out of reach: limits then lie on the boundary of what is attainable, where real roots are about "
        "to become complex, and that is where two layers share a real root. Where the target is within reach a minimum "
        "is the target, or a spurious one with such a shared root."
    ),
    axes={
        "data.targets.values": "targets with more or fewer real roots",
        "network.kernel_sizes": "sizes of the filters with the same sum of k − 1 (each compiles anew)",
    },
    figures=(root_patterns, root_paths, common_roots, filters, spectrum),
    answer=repeated_answer,
    claims=(
        targets_out_of_reach_give_repeated_roots,
        targets_in_reach_are_found_or_a_root_is_shared,
        even_filters_have_real_roots,
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
