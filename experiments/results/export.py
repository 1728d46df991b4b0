"""Results in formats that other programs read: netCDF for the whole of them, CSV and Parquet for tables of flows.

Nothing is written over, and nothing under a final name is ever half written.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from experiments.errors import UserError
from experiments.faults import did_you_mean
from experiments.results.comma_separated import write_csv
from experiments.results.files import beside
from experiments.results.netcdf import write_netcdf
from experiments.results.opening import open_results
from experiments.results.parquet import write_parquet

__all__ = ["export"]

_SUFFIXES = {"csv": ".csv", "parquet": ".parquet", "netcdf": ".nc"}
_TABLES = {"csv": write_csv, "parquet": write_parquet}


def export(directory: Path, kind: str, out: Path | None = None, trajectories: bool = False) -> Path:
    """Writes the results of a run directory as one file, and returns its path.

    Args:
        directory: a run directory with results.zarr.
        kind: "csv", "parquet" or "netcdf".
        out: the file to write, which must not exist; results.csv, .parquet or .nc in the directory by default.
        trajectories: a second table NAME-trajectories with a row per flow and time; netCDF holds them anyway.

    Raises:
        UserError: no results, or damaged ones; a package is missing; the file exists or cannot be written; there are no
            trajectories to write.
    """
    if kind not in _SUFFIXES:
        raise UserError(f'no format "{kind}"; known: {", ".join(_SUFFIXES)}{did_you_mean(kind, _SUFFIXES)}')
    dataset = open_results(directory, most_in_memory=0)
    if trajectories and "time" not in dataset.dims:
        raise UserError(f"{directory} holds no trajectories: leave them out, or run with flow.times")
    path = Path(directory) / f"results{_SUFFIXES[kind]}" if out is None else Path(out)
    files = [path]
    if trajectories and kind in _TABLES:
        files.append(path.with_name(f"{path.stem}-trajectories{path.suffix}"))
    for file in files:
        if os.path.lexists(file):
            raise UserError(f"{file} exists and is not written over: name another file with --out")
    with _told_in_one_line(path), contextlib.ExitStack() as stack:
        unfinished = [stack.enter_context(beside(file)) for file in files]
        if kind == "netcdf":
            write_netcdf(dataset, unfinished[0])
        else:
            for file, along in zip(unfinished, ((), ("time",)), strict=False):
                _TABLES[kind](dataset, file, along)
        for file in unfinished:
            _force_to_disk(file)
    return path


@contextlib.contextmanager
def _told_in_one_line(path: Path) -> Iterator[None]:
    """Turns failures to write into UserError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or next(iter(str(error).splitlines()), "")
        raise UserError(f"{path} cannot be written ({reason}): name another file with --out") from error


def _force_to_disk(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
