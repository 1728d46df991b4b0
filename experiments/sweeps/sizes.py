"""Sizes of the results of a cell, in bytes: known before anything is computed."""

import functools
import math
from typing import Any

from experiments.networks import architecture_of
from experiments.schema import Configuration, FileData
from experiments.schema.numbers import hashable

__all__ = ["SHOWN_DATA", "stored_bytes"]

_FLOAT = 8  # bytes
SHOWN_DATA = 24_000
"""Largest number of values of a data file that are stored with the flows of a cell (unless one patch is longer)."""


def stored_bytes(configuration: Configuration) -> int:
    """Size of the results of one cell, uncompressed."""
    network = hashable(configuration.network)
    of_cell, of_flow = _numbers(network, configuration.records, configuration.analysis.census)
    of_data = SHOWN_DATA if isinstance(configuration.data, FileData) else 0
    return _FLOAT * (of_cell + configuration.seeds * of_flow + of_data)


@functools.lru_cache(maxsize=1024)
def _numbers(network: Any, records: int, census: bool) -> tuple[int, int]:
    """How many numbers are stored of a cell as a whole, and of one flow with `records` points of its trajectory.

    Of a cell all critical points that a census can find are stored; none of a network that has no census, which the
    checks of the plan report as a fault.
    """
    arch = architecture_of(network)
    taps = math.prod(arch.end_to_end_filter_shape)
    of_flow = 24 + 3 * taps + 2 * arch.num_parameters
    of_flow += records * (8 + taps + arch.num_parameters + 2 * arch.depth)
    if not census:
        return 0, of_flow
    import lcnn_flow as lf  # imported here, because the command `status` works without JAX

    if not isinstance(arch, lf.Architecture) or arch.channels is not None or not arch.is_linear:
        return 0, of_flow
    return lf.critical_count(arch).number * (6 + taps), of_flow
