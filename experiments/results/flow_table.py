"""Flows as a table with one row per flow, or per flow and time, in parts, because results may be larger than memory.

A row holds the coordinates of its cell, its seed, and every variable of the flow and of its cell. Entries of vectors
are separate columns, counted from 0 (limit_w1_0, limit_w1_1, ...); codes are replaced by words. Variables with many
entries per cell (over iterations, samples, points of data, critical points) are not part of the table; netCDF has them.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from experiments.errors import UserError
from experiments.results.layout import sweep_axes
from experiments.results.slabs import in_order, read, slabs
from experiments.results.variables import NOT_COMPUTED, codes

__all__ = ["column_sources", "flow_tables"]

_GROUP_BYTES = 32 * 2**20
_ITEM = 8  # bytes of a number
_NOT_IN_ROWS = {"iteration", "sample", "point", "critical_point"}


def column_sources(dataset: xr.Dataset, along: Sequence[str] = ()) -> dict[str, tuple[str, dict[str, int]]]:
    """The variable and the index of the entry that every column of the table shows, in the order of the columns.

    Args:
        dataset: the results.
        along: ("time",) for one row per flow and time; then only variables over time are columns.
    """
    rows = _rows(dataset, along)
    names = [str(name) for name, c in dataset.coords.items() if c.dims and set(c.dims) <= set(rows)]
    names.sort(key=lambda name: (rows.index(str(dataset[name].dims[0])), name not in rows))
    for name in in_order(name for name in dataset.data_vars if dataset[name].size):
        dims = set(dataset[name].dims)
        if ("time" in dims) == ("time" in rows) and not dims & _NOT_IN_ROWS:
            names.append(name)
    sources = {}
    for name in names:
        rest = [str(d) for d in dataset[name].dims if d not in rows]
        for entry in np.ndindex(*(dataset.sizes[d] for d in rest)):
            sources["_".join([name, *map(str, entry)])] = (name, dict(zip(rest, entry, strict=True)))
    return sources


def flow_tables(dataset: xr.Dataset, along: Sequence[str] = ()) -> Iterator[pd.DataFrame]:
    """The parts of the table with the columns `column_sources`.

    Raises:
        UserError: the store is damaged.
    """
    sources, rows = column_sources(dataset, along), _rows(dataset, along)
    for part in slabs([dataset.sizes[row] for row in rows], _GROUP_BYTES // (_ITEM * len(sources))):
        box = dict(zip(rows, part, strict=True))
        stored = {
            name: xr.DataArray(read(dataset[name], box), dims=dataset[name].dims)
            for name in dict.fromkeys(name for name, _ in sources.values())
        }
        columns = {column: stored[name].isel(entry) for column, (name, entry) in sources.items()}
        table = xr.Dataset(columns).to_dataframe(dim_order=rows).reset_index()[list(sources)]
        yield table.assign(**{name: _words(table[name], name) for name in columns if codes(name) is not None})


def _rows(dataset: xr.Dataset, along: Sequence[str]) -> list[str]:
    return [*sweep_axes(dataset), "seed", *along]


def _words(column: Any, name: str) -> pd.Series:
    """Codes as categories that are named by their meanings."""
    meanings = {NOT_COMPUTED: "NOT_COMPUTED", **(codes(name) or {})}
    words = column.map(meanings)
    if words.isna().any():
        raise UserError(f"{name} holds a code without a meaning: collect the results again")
    return words.astype(pd.CategoricalDtype(list(meanings.values())))
