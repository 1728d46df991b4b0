"""Flows as a table in Parquet."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from experiments.results.flow_table import FlowTable
from experiments.results.slabs import package

__all__ = ["write_parquet"]


def write_parquet(dataset: xr.Dataset, path: Path, along: Sequence[str] = ()) -> None:
    """Writes the `FlowTable` of results.

    Metadata of the file are the attributes of `dataset`, with the configuration; metadata of a column are its long name
    and its units.

    Raises:
        UserError: a package is missing, or the store of `dataset` is damaged.
        OSError: the file cannot be written.
    """
    pa, parquet = package("pyarrow"), package("pyarrow.parquet")
    table = FlowTable(dataset, along)
    fields, words = [], []
    for one in table.columns:
        kind = pa.from_numpy_dtype(one.source.dtype) if one.words is None else pa.dictionary(pa.int32(), pa.string())
        fields += [pa.field(name, kind, metadata=_texts(one.source.attrs)) for name in one.names]
        words += [one.words] * len(one.names)
    schema = pa.schema(fields, metadata=_texts(dataset.attrs))
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in table.groups():
            arrays = [
                pa.array(numbers) if known is None else pa.DictionaryArray.from_arrays(pa.array(numbers), list(known))
                for numbers, known in zip(group, words, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=len(group[0]))


def _texts(attributes: Mapping[Any, Any]) -> dict[str, str]:
    """Attributes in words; meanings of codes are in the column itself."""
    return {str(k): v for k, v in attributes.items() if isinstance(v, str) and k != "flag_meanings"}
