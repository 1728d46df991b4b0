"""Flows as a table in Parquet, written in groups of rows of bounded size: results may be larger than memory.

A row holds the coordinates of its cell, its seed, and every variable of the flow and of its cell. Entries of vectors
are columns of their own, counted from 0 (limit_w1_0, limit_w1_1, ...); codes and labels are words. Curves of a whole
cell (over iterations or samples) have no place in a row and are left to netCDF.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from experiments.errors import UserError
from experiments.results.layout import sweep_axes
from experiments.results.slabs import in_order, package, read, slabs
from experiments.results.variables import NOT_COMPUTED, codes

__all__ = ["write_table"]

_GROUP_BYTES = 32 * 2**20
_ITEM = 8  # bytes of a number
_NO_COLUMNS = ("iteration", "sample")


def write_table(dataset: xr.Dataset, path: Path, along: Sequence[str] = ()) -> None:
    """Writes a row a flow, or a row a flow and time.

    Metadata of the file are the attributes of `dataset`, with the configuration; metadata of a column are its long name
    and its units.

    Args:
        dataset: stored results.
        path: the file.
        along: ("time",) for trajectories: then only what varies in time is written.

    Raises:
        UserError: a package is missing, or the store of `dataset` is damaged.
        OSError: the file cannot be written.
    """
    pa, parquet = package("pyarrow"), package("pyarrow.parquet")
    rows = [*sweep_axes(dataset), "seed", *along]
    columns = list(_columns(dataset, rows))
    fields = []
    for one in columns:
        kind = pa.from_numpy_dtype(one.source.dtype) if one.words is None else pa.dictionary(pa.int32(), pa.string())
        fields += [pa.field(name, kind, metadata=_texts(one.source.attrs)) for name in one.names]
    schema = pa.schema(fields, metadata=_texts(dataset.attrs))
    shape = tuple(dataset.sizes[name] for name in rows)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for part in slabs(shape, _GROUP_BYTES // (_ITEM * len(fields))):
            box = dict(zip(rows, part, strict=True))
            arrays = []
            for one in columns:
                for numbers in _entries(one, box):
                    array = pa.array(numbers)
                    if one.words is not None:
                        array = pa.DictionaryArray.from_arrays(array, pa.array(one.words))
                    arrays.append(array)
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=len(arrays[0]))


def _texts(attributes: Mapping[Any, Any]) -> dict[str, str]:
    """Attributes in words; meanings of codes are in the column itself."""
    return {str(k): v for k, v in attributes.items() if isinstance(v, str) and k != "flag_meanings"}


@dataclass(frozen=True)
class _Columns:
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


def _columns(dataset: xr.Dataset, rows: Sequence[str]) -> Iterator[_Columns]:
    """Coordinates along the rows, in their order, then variables; trajectories only where rows have times."""
    names = [str(name) for name, c in dataset.coords.items() if c.dims and set(c.dims) <= set(rows)]
    for name in sorted(names, key=lambda name: (rows.index(str(dataset[name].dims[0])), name not in rows)):
        source = dataset[name]
        if source.dtype.kind in "biuf":
            yield _Columns(source, (name,))
        else:
            words = tuple(dict.fromkeys(map(str, source.values)))
            yield _Columns(source, (name,), np.array(words), words)
    for name in in_order(name for name in dataset.data_vars if dataset[name].size):
        source = dataset[name]
        rest = [str(d) for d in source.dims if d not in rows]
        if ("time" in source.dims) != ("time" in rows) or set(rest) & set(_NO_COLUMNS):
            continue
        entries = tuple("_".join([name, *map(str, e)]) for e in np.ndindex(*(dataset.sizes[d] for d in rest)))
        meanings = codes(name)
        if meanings is None:
            yield _Columns(source, entries)
        else:
            words = ("NOT_COMPUTED", *meanings.values())
            yield _Columns(source, entries, np.array([NOT_COMPUTED, *meanings]), words)


def _entries(one: _Columns, box: Mapping[str, slice]) -> Iterator[np.ndarray]:
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
