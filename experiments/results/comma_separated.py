"""Flows as a table of comma-separated values, which any program reads and no package is needed for."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from experiments.results.flow_table import FlowTable

__all__ = ["write_csv"]


def write_csv(dataset: xr.Dataset, path: Path, along: Sequence[str] = ()) -> None:
    """Writes the `FlowTable` of results with a header; numbers in full precision, missing ones as empty fields.

    Raises:
        UserError: the store of `dataset` is damaged.
        OSError: the file cannot be written.
    """
    table = FlowTable(dataset, along)
    names = [name for one in table.columns for name in one.names]
    words = [one.words for one in table.columns for _ in one.names]
    with path.open("w", encoding="utf-8", newline="") as file:
        for number, group in enumerate(table.groups()):
            columns = {
                name: numbers if known is None else np.array(known, object)[numbers]
                for name, numbers, known in zip(names, group, words, strict=True)
            }
            pd.DataFrame(columns).to_csv(file, header=number == 0, index=False, lineterminator="\n")
