"""Checks whether the critical points of a cell can be counted, before anything is computed."""

import functools
import math
from typing import Any

import lcnn_flow as lf
from experiments.faults import Fault
from experiments.networks import architecture
from experiments.schema import Configuration, SyntheticData
from lcnn_flow.landscape import MAX_PATHS

__all__ = ["census_faults"]

_PATH = "analysis.census"


def census_faults(configuration: Configuration) -> list[Fault]:
    """The reason why `analysis.census` is not possible in a cell; empty if it is possible, or false.

    Reasons that only the data show, such as a patch matrix without full rank, become the status of the census.
    """
    if not configuration.analysis.census:
        return []
    reason = _of_kinds(configuration) or _of_network(architecture(configuration)) or _of_samples(configuration)
    return [] if reason is None else [Fault(_PATH, f"found true; {reason}")]


def _of_kinds(configuration: Configuration) -> str | None:
    """The reason if the loss or the precision is not supported."""
    if (loss := configuration.loss.kind) != "square":
        return f'critical points are counted for the square loss alone, not for "{loss}": leave census out'
    if configuration.compute.precision != "float64":
        return 'paths are tracked in float64: leave census out, or write compute.precision = "float64"'
    return None


@functools.lru_cache(maxsize=1024)
def _of_network(arch: Any) -> str | None:
    """The reason if the critical points of the network are not isolated, or too many."""
    if not isinstance(arch, lf.Architecture):
        return "critical points are counted for convolutional networks alone: leave census out"
    try:
        count = lf.critical_count(arch)
    except lf.ArchitectureError as error:
        return f"{str(error).removeprefix('critical_count: ')}: leave census out"
    if count.number <= MAX_PATHS:
        return None
    return (
        f"filters {count.family} have {count.number} complex critical points, and a run counts at most {MAX_PATHS}: "
        "leave census out, or use smaller filters"
    )


def _of_samples(configuration: Configuration) -> str | None:
    """The reason if there are fewer equations than taps: then P does not have full rank, whatever the inputs are."""
    data, arch = configuration.data, architecture(configuration)
    if not isinstance(data, SyntheticData) or data.samples is None:
        return None
    equations, taps = data.samples * arch.outputs_per_sample, math.prod(arch.end_to_end_kernel_size)
    if equations >= taps:
        return None
    return (
        f"data.samples = {data.samples} give {equations} equations for {taps} taps, so critical points are not "
        f"isolated: write data.samples = {-(-taps // arch.outputs_per_sample)} or more, or leave census out"
    )
