"""Reads stored results in parts that fit in memory.

A slab of an array of shape n_1 x ... x n_k is (i_1, ..., i_{j-1}, a:b, :, ..., :), a contiguous range in C order.
"""

import math
import zipfile
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from experiments.errors import UserError
from experiments.results.meanings import CENSUS, FLOW, LIMIT, TRAJECTORY

__all__ = ["in_order", "read", "slabs"]

_FIRST = {
    name: place
    for place, name in enumerate(
        ("verdict", "kind", "certificate", *FLOW, *LIMIT, *TRAJECTORY, "census_point", "census_status", *CENSUS)
    )
}


def slabs(shape: Sequence[int], most: int) -> Iterator[tuple[slice, ...]]:
    """Slabs of at most max(1, most) entries that cover an array of the given shape, in C order."""
    if not shape or 0 in shape:
        yield from [()] * (not shape)
        return
    most = max(1, most)
    cut = next(axis for axis in range(len(shape)) if math.prod(shape[axis + 1 :]) <= most)
    step = most // math.prod(shape[cut + 1 :])
    rest = tuple(slice(0, n) for n in shape[cut + 1 :])
    for before in np.ndindex(*shape[:cut]):
        for start in range(0, shape[cut], step):
            yield (*(slice(i, i + 1) for i in before), slice(start, min(start + step, shape[cut])), *rest)


def read(variable: xr.DataArray, part: Mapping[str, Any]) -> np.ndarray:
    """Values of a stored variable in a part, given as slices or indices by dimension; other dimensions are read whole.

    Raises:
        UserError: the store is damaged in this part.
    """
    try:
        return variable.isel({name: part[str(name)] for name in variable.dims if name in part}).values
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile) as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise UserError(
            f"{variable.name} is damaged and cannot be read ({reason}): collect the results again"
        ) from error


def in_order(names: Iterable[Hashable]) -> list[str]:
    """Names of variables in a fixed order, verdicts first; the store does not keep the order."""
    return sorted(map(str, names), key=lambda name: (_FIRST.get(name, len(_FIRST)), name))
