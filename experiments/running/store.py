"""The run directory: nothing under a final name is ever half written.

config.toml      as resolved, runnable again
manifest.json    versions, device, precision, git revision, times
batches/         one file a finished cell
results.zarr     xarray, dimensions named by the axes + seed (+ time, layer, tap)
summary.csv      one row a cell
figures/         *.svg and *.png
report.html      self-contained
"""

import contextlib
import datetime
import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from experiments.errors import UserError
from experiments.results import FORMAT, missing_parts
from experiments.variables import NOT_COMPUTED, codes

__all__ = ["RunDirectory", "digest", "open_results", "write_atomically"]


def write_atomically(path: Path, content: bytes | str) -> None:
    """Writes beside, forces to disk, renames: a reader sees the old file or the whole new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(beside, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


class RunDirectory:
    """Files of one run, and their writing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, chosen: str | Path | None, name: str) -> "RunDirectory":
        """A new, writable, empty directory: `chosen`, or runs/<name>-<time>.

        Raises:
            UserError: it exists and holds files, or cannot be written; nothing has been computed yet.
        """
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        path = Path(chosen) if chosen is not None else Path("runs") / f"{name}-{stamp}"
        with contextlib.suppress(OSError, ValueError):
            if path.is_dir() and any(path.iterdir()):
                raise UserError(f"{path} exists and is not empty: name another directory with --out")
        try:
            (path / "batches").mkdir(parents=True, exist_ok=True)
            write_atomically(path / "batches" / ".writable", "")
            (path / "batches" / ".writable").unlink()
        except (OSError, ValueError) as error:  # ValueError: a null byte in the name
            reason = error.strerror if isinstance(error, OSError) else error
            raise UserError(f"{path} cannot be written ({reason}): name another directory with --out") from None
        return cls(path)

    def write_configuration(self, toml: str) -> None:
        """Stores the resolved configuration."""
        write_atomically(self.path / "config.toml", toml)

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Stores provenance as JSON."""
        write_atomically(self.path / "manifest.json", json.dumps(manifest, indent=2) + "\n")

    def write_cell(self, number: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Stores a finished cell."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **dict(arrays))
        write_atomically(self.path / "batches" / f"cell-{number:05d}.npz", buffer.getvalue())

    def finished(self) -> list[Path]:
        """Files of finished cells."""
        return sorted((self.path / "batches").glob("cell-*.npz"))

    def cells(self) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Finished cells and their numbers.

        Raises:
            UserError: a file was damaged from outside.
        """
        for file in self.finished():
            try:
                with np.load(file, allow_pickle=False) as stored:
                    arrays = dict(stored)
            except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
                raise UserError(f"{file} is damaged ({type(error).__name__}): move it away or run again") from error
            yield int(file.stem.removeprefix("cell-")), arrays

    def write_results(self, dataset: xr.Dataset) -> None:
        """Stores all results; replaces an earlier store."""
        final, beside = self.path / "results.zarr", self.path / f".results.{os.getpid()}.tmp"
        shutil.rmtree(beside, ignore_errors=True)
        # a chunk that gets lost must read as not computed: codes start at 0
        fill = {str(name): {"fill_value": NOT_COMPUTED} for name in dataset.data_vars if codes(str(name))}
        try:
            dataset.to_zarr(beside, mode="w", consolidated=False, encoding=fill)
            shutil.rmtree(final, ignore_errors=True)
            os.replace(beside, final)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise

    def write_text(self, name: str, text: str) -> Path:
        """Stores a text file, such as summary.csv or report.html."""
        write_atomically(self.path / name, text)
        return self.path / name

    def write_figure(self, name: str, content: bytes) -> None:
        """Stores one file under figures/."""
        (self.path / "figures").mkdir(exist_ok=True)
        write_atomically(self.path / "figures" / name, content)


def open_results(directory: str | Path) -> xr.Dataset:
    """Results of a run directory, in memory.

    Raises:
        UserError: not a run directory, foreign, or truncated.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(f"{directory}: no such directory; name a run directory, such as runs/quickstart-...")
    store = directory / "results.zarr"
    if not store.is_dir():
        hint = "the run did not finish" if (directory / "manifest.json").exists() else "this is no run directory"
        raise UserError(f"{directory} has no results.zarr: {hint}")
    try:
        dataset = xr.open_zarr(store, consolidated=False).load()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile) as error:
        raise UserError(f"{store} is damaged and cannot be read ({type(error).__name__}): run it again") from error
    if dataset.attrs.get("format") != FORMAT:
        raise UserError(f"{store} was not written by this program: no attribute format = {FORMAT!r}")
    missing = missing_parts(dataset)
    if missing:
        raise UserError(f"{store} is incomplete or damaged (look at {', '.join(missing)}): run it again")
    return dataset


def digest(text: str) -> str:
    """SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
