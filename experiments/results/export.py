"""Exports results to formats that other programs read: all variables to netCDF, tables of flows to CSV and Parquet.

Existing files are not replaced, and files are renamed to their final names only when they are complete. Tables are
written in parts, so that results may be larger than memory; netCDF files are built in memory.
"""

import contextlib
import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from experiments.errors import UserError
from experiments.faults import did_you_mean
from experiments.machine import physical_memory
from experiments.results.files import atomic_replace
from experiments.results.flow_table import column_sources, flow_tables
from experiments.results.opening import open_results
from experiments.results.slabs import in_order, read

__all__ = ["export"]

_SUFFIXES = {"csv": ".csv", "parquet": ".parquet", "netcdf": ".nc"}
_COPIES = 3
"""Number of copies of the results that netCDF needs in memory: arrays, compressed arrays, and the file."""
_PACKED = {"zlib": True, "complevel": 1, "shuffle": True}


def export(directory: Path, kind: str, out: Path | None = None, trajectories: bool = False) -> Path:
    """Writes the results of a run directory as one file, and returns its path.

    Args:
        directory: a run directory with results.zarr.
        kind: "csv", "parquet" or "netcdf".
        out: the file to write, which must not exist; results.csv, .parquet or .nc in the directory by default.
        trajectories: whether to write a second table NAME-trajectories with a row per flow and time; netCDF files hold
            trajectories in any case.

    Raises:
        UserError: no results, or damaged ones; a package is missing; the file exists or cannot be written; there are no
            trajectories to write; netCDF does not fit in memory.
    """
    if kind not in _SUFFIXES:
        raise UserError(f'no format "{kind}"; known: {", ".join(_SUFFIXES)}{did_you_mean(kind, _SUFFIXES)}')
    dataset = open_results(directory, most_in_memory=0)
    if trajectories and "time" not in dataset.dims:
        raise UserError(f"{directory} holds no trajectories: leave them out, or run with flow.times")
    path = Path(directory) / f"results{_SUFFIXES[kind]}" if out is None else Path(out)
    files: dict[Path, tuple[str, ...]] = {path: ()}
    if trajectories and kind != "netcdf":
        files[path.with_name(f"{path.stem}-trajectories{path.suffix}")] = ("time",)
    for file in files:
        if os.path.lexists(file):
            raise UserError(f"{file} exists and is not written over: name another file with --out")
    write = {"csv": _write_csv, "parquet": _write_parquet, "netcdf": _write_netcdf}[kind]
    try:
        with contextlib.ExitStack() as stack:
            unfinished = {stack.enter_context(atomic_replace(file)): along for file, along in files.items()}
            for file, along in unfinished.items():
                write(dataset, file, along)
                with open(file, "rb+") as written:
                    os.fsync(written.fileno())
    except OSError as error:
        reason = error.strerror or next(iter(str(error).splitlines()), "")
        raise UserError(f"{path} cannot be written ({reason}): name another file with --out") from error
    return path


def _write_csv(dataset: xr.Dataset, path: Path, along: Sequence[str]) -> None:
    """Writes numbers in full precision, and missing numbers as empty fields."""
    with path.open("w", encoding="utf-8", newline="") as file:
        for number, table in enumerate(flow_tables(dataset, along)):
            table.to_csv(file, header=number == 0, index=False, lineterminator="\n")


def _write_parquet(dataset: xr.Dataset, path: Path, along: Sequence[str]) -> None:
    """Writes the attributes of `dataset` as metadata of the file, and those of its variables as metadata of columns."""
    pa, parquet = _package("pyarrow"), _package("pyarrow.parquet")
    schema: Any = None
    writer: Any = None
    with contextlib.ExitStack() as stack:
        for table in flow_tables(dataset, along):
            if schema is None:
                schema = pa.Schema.from_pandas(table, preserve_index=False).with_metadata(_texts(dataset.attrs))
                for place, (name, _) in enumerate(column_sources(dataset, along).values()):
                    schema = schema.set(place, schema.field(place).with_metadata(_texts(dataset[name].attrs)))
                writer = stack.enter_context(parquet.ParquetWriter(path, schema, compression="zstd"))
            writer.write_table(pa.Table.from_pandas(table, schema, preserve_index=False))


def _write_netcdf(dataset: xr.Dataset, path: Path, _: Sequence[str]) -> None:
    """Writes all variables; xarray opens the file as it opens the store."""
    for name in ("h5py", "h5netcdf"):
        _package(name)
    if (needed := _COPIES * dataset.nbytes) > (present := physical_memory()):
        raise UserError(
            f"netCDF would need {needed / 2**30:,.1f} GiB of memory, and this machine has {present / 2**30:,.1f} GiB: "
            "write parquet, or use results.zarr"
        )
    names = in_order(dataset.data_vars)
    loaded = dataset.assign({n: dataset[n].copy(data=read(dataset[n], {})) for n in names})[names].drop_encoding()
    packed = {name: _PACKED for name in names if loaded[name].size and loaded[name].dims}
    # written to memory first, because HDF5 ends the whole process if the disk is full
    with loaded.to_netcdf(engine="h5netcdf", encoding=packed) as content:  # released if writing fails, too
        path.write_bytes(content)


def _package(name: str) -> Any:
    """Imports a package of the extra `export`."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f'the package {name.partition(".")[0]} is missing: pip install "lcnn_flow[export]"') from None


def _texts(attributes: Mapping[Any, Any]) -> dict[str, str]:
    """Attributes that are texts, without meanings of codes, which the column itself contains."""
    return {str(k): v for k, v in attributes.items() if isinstance(v, str) and k != "flag_meanings"}
