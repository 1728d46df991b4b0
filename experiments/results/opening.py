"""Opens the results of a run directory, and refuses results that are incomplete or were not written by this program."""

import math
import zipfile
from pathlib import Path

import xarray as xr
import zarr

from experiments.errors import UserError, command
from experiments.results.layout import FORMAT, missing_parts

__all__ = ["lost_chunks", "open_results"]


def lost_chunks(group: zarr.Group) -> list[str]:
    """Names of arrays with missing chunks; the runner writes all chunks, also those without computed flows."""
    return [name for name, array in group.arrays() if array.nchunks_initialized < array.nchunks]


def open_results(directory: str | Path, most_in_memory: float = math.inf) -> xr.Dataset:
    """Results of a run directory, loaded into memory up to `most_in_memory` bytes, else read from disk at each use.

    Raises:
        UserError: this is not a run directory, or its results are incomplete, damaged or of another program.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(f"{directory}: no such directory; name a run directory, such as runs/quickstart-...")
    store = directory / "results.zarr"
    if not store.is_dir():
        known = (directory / "manifest.json").exists()
        hint = command("collect", directory) if known else "this is no run directory"
        raise UserError(f"{directory} has no results.zarr: {hint}")
    try:
        dataset = xr.open_dataset(store, engine="zarr", consolidated=False, chunks=None, cache=False)
        if dataset.nbytes <= most_in_memory:
            dataset.load()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{store} is damaged and cannot be read ({type(error).__name__}): remove it, then "
            f"{command('collect', directory)}"
        ) from error
    if dataset.attrs.get("format") != FORMAT:
        raise UserError(f"{store} was not written by this program: no attribute format = {FORMAT!r}")
    missing = missing_parts(dataset) or lost_chunks(zarr.open_group(store, mode="r"))
    if missing:
        remedy = f"remove it, then {command('collect', directory)}"
        raise UserError(f"{store} is incomplete or damaged (look at {', '.join(missing)}): {remedy}")
    return dataset
