"""Flows as a table, a row per flow (or per flow and time), in groups of rows: results may be larger than memory.

A row holds the coordinates of its cell, its seed, and every variable of the flow and of its cell. Entries of vectors
are columns of their own, counted from 0 (limit_w1_0, limit_w1_1, ...); codes and labels are words. Curves of a whole
cell (over iterations, samples or points of data) have no place in a row and are left to netCDF.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from experiments.errors import UserError
from experiments.results.layout import sweep_axes
from experiments.results.slabs import in_order, read, slabs
from experiments.results.variables import NOT_COMPUTED, codes

__all__ = ["Columns", "FlowTable"]

_GROUP_BYTES = 32 * 2**20
_ITEM = 8  # bytes of a number
_NO_COLUMNS = ("iteration", "sample", "point")


@dataclass(frozen=True)
class Columns:
    """The columns of one variable."""

    source: xr.DataArray
    names: tuple[str, ...]
    keys: np.ndarray | None = None
    """Values that stand for words; None for numbers."""
    words: tuple[str, ...] | None = None

    def places(self, values: np.ndarray) -> np.ndarray:
        """Place of each value among the words."""
        assert self.keys is not None
        order = np.argsort(self.keys)
        values = values.astype(self.keys.dtype)
        places = order[np.clip(np.searchsorted(self.keys, values, sorter=order), 0, len(order) - 1)]
        if (self.keys[places] != values).any():
            raise UserError(f"{self.source.name} holds a code without a meaning: collect the results again")
        return places.astype(np.int32)


class FlowTable:
    """The table of some stored results.

    Args:
        dataset: the results.
        along: ("time",) for a row per flow and time: then only what varies in time is a column.
    """

    def __init__(self, dataset: xr.Dataset, along: Sequence[str] = ()) -> None:
        self._rows = [*sweep_axes(dataset), "seed", *along]
        self._shape = tuple(dataset.sizes[name] for name in self._rows)
        self.columns = list(_columns(dataset, self._rows))

    def groups(self) -> Iterator[list[np.ndarray]]:
        """Groups of rows as one array per name of a column, (rows,): numbers, or places among the column's words.

        Raises:
            UserError: the store is damaged.
        """
        width = sum(len(one.names) for one in self.columns)
        for part in slabs(self._shape, _GROUP_BYTES // (_ITEM * width)):
            box = dict(zip(self._rows, part, strict=True))
            yield [numbers for one in self.columns for numbers in _entries(one, box)]


def _columns(dataset: xr.Dataset, rows: Sequence[str]) -> Iterator[Columns]:
    """Coordinates along the rows, in their order, then variables; trajectories only where rows have times."""
    names = [str(name) for name, c in dataset.coords.items() if c.dims and set(c.dims) <= set(rows)]
    for name in sorted(names, key=lambda name: (rows.index(str(dataset[name].dims[0])), name not in rows)):
        source = dataset[name]
        if source.dtype.kind in "biuf":
            yield Columns(source, (name,))
        else:
            words = tuple(dict.fromkeys(map(str, source.values)))
            yield Columns(source, (name,), np.array(words), words)
    for name in in_order(name for name in dataset.data_vars if dataset[name].size):
        source = dataset[name]
        rest = [str(d) for d in source.dims if d not in rows]
        if ("time" in source.dims) != ("time" in rows) or set(rest) & set(_NO_COLUMNS):
            continue
        entries = tuple("_".join([name, *map(str, e)]) for e in np.ndindex(*(dataset.sizes[d] for d in rest)))
        meanings = codes(name)
        if meanings is None:
            yield Columns(source, entries)
        else:
            words = ("NOT_COMPUTED", *meanings.values())
            yield Columns(source, entries, np.array([NOT_COMPUTED, *meanings]), words)


def _entries(one: Columns, box: Mapping[str, slice]) -> Iterator[np.ndarray]:
    """Columns of one variable in a box of rows; what lacks some of the dimensions is repeated along them."""
    along = [name for name in box if name in one.source.dims]
    rest = [name for name in one.source.dims if name not in box]
    values = read(one.source.transpose(*along, *rest), box)
    if one.words is not None:
        values = one.places(values)
    lengths = [part.stop - part.start for part in box.values()]
    present = [n if name in along else 1 for name, n in zip(box, lengths, strict=True)]
    entries = np.broadcast_to(values.reshape(*present, len(one.names)), (*lengths, len(one.names)))
    table = entries.reshape(-1, len(one.names))
    return (np.ascontiguousarray(table[:, column]) for column in range(len(one.names)))
