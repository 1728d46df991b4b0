"""The run directory; files are renamed to their final names only when they are complete.

config.toml      the resolved configuration, which can be run again
manifest.json    versions, devices, precision, git revision, batches, sessions
batches/         one file per finished batch; damaged files are moved to batches/damaged/
failures/        one file per failed batch, with its error
locks/           one file per batch, locked by the process that computes it
results.zarr     xarray, dimensions named by the axes + seed (+ time, layer, tap)
summary.csv      one row per cell
figures/         *.svg and *.png
report.html      self-contained
"""

import contextlib
import datetime
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.errors import UserError, command
from experiments.planning.batches import Batch
from experiments.results.files import write_atomically
from experiments.results.manifest import is_manifest
from experiments.running.batch_files import DamagedBatch, file_name, read
from experiments.running.locks import Locks

__all__ = ["RunDirectory", "digest"]


class RunDirectory:
    """Reads and writes the files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.locks = Locks(path / "locks")

    @classmethod
    def create(cls, chosen: str | Path | None, name: str) -> "RunDirectory":
        """A new, writable, empty directory: `chosen`, or runs/<name>-<time>.

        Raises:
            UserError: it exists and holds files, or cannot be written; nothing has been computed yet.
        """
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        path = Path(chosen) if chosen is not None else _new_folder(Path("runs"), f"{name}-{stamp}")
        with contextlib.suppress(OSError, ValueError):
            if path.is_dir() and any(entry.name != "batches" or any(entry.iterdir()) for entry in path.iterdir()):
                hint = f", or go on with it: {command('resume', path)}" * (path / "config.toml").is_file()
                raise UserError(f"{path} exists and is not empty: name another directory with --out{hint}")
        directory = cls(path)
        directory.check_writable("name another directory with --out")
        return directory

    @classmethod
    def existing(cls, path: str | Path) -> "RunDirectory":
        """The directory of a run that has begun.

        Raises:
            UserError: this is not a run directory.
        """
        path = Path(path)
        if not path.is_dir():
            raise UserError(f"{path}: no such directory; name a run directory, such as runs/quickstart-...")
        if not (path / "config.toml").is_file():
            raise UserError(f"{path} has no config.toml: this is no run directory")
        return cls(path)

    def check_writable(self, remedy: str) -> None:
        """Raises UserError with the given remedy if files cannot be written here."""
        probe = self.path / "batches" / f".writable.{os.getpid()}"
        try:
            probe.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(probe, "")
            probe.unlink()
        except (OSError, ValueError) as error:  # ValueError: a null byte in the name
            reason = error.strerror if isinstance(error, OSError) else error
            raise UserError(f"{self.path} cannot be written ({reason}): {remedy}") from None

    def write_configuration(self, toml: str) -> None:
        """Stores the resolved configuration of a new run.

        Raises:
            UserError: another process has begun a run here.
        """
        lock = self.locks.take("begin")
        try:
            if lock is None or (self.path / "config.toml").exists():
                raise UserError(f"{self.path}: another run was begun there just now: name another directory with --out")
            write_atomically(self.path / "config.toml", toml)
        finally:
            if lock is not None:
                lock.release()

    def read_manifest(self) -> dict[str, Any]:
        """The manifest; empty if it is not written yet.

        Raises:
            UserError: the file is no manifest.
        """
        file = self.path / "manifest.json"
        try:
            manifest = json.loads(file.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{file} is damaged ({type(error).__name__}): move it away and resume the run") from None
        if not is_manifest(manifest):
            raise UserError(f"{file} is no manifest of a run: move it away and resume the run")
        return manifest

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Writes the manifest as JSON."""
        write_atomically(self.path / "manifest.json", json.dumps(manifest, indent=2) + "\n")

    def batch_path(self, batch: Batch) -> Path:
        """Where a finished batch is stored."""
        return self.path / "batches" / file_name(batch)

    def has(self, batch: Batch) -> bool:
        """Whether the file of a batch exists; the file is not read."""
        return self.batch_path(batch).exists()

    def save(self, batch: Batch, content: bytes) -> None:
        """Stores a finished batch, and removes the record of an earlier failure."""
        write_atomically(self.batch_path(batch), content)
        self._failure(batch).unlink(missing_ok=True)

    def load(self, batch: Batch) -> dict[str, np.ndarray] | None:
        """Arrays of a finished batch; None if the file is missing, or was damaged and moved to batches/damaged/.

        Raises:
            UserError: the file cannot be read, or is damaged and cannot be moved.
        """
        path = self.batch_path(batch)
        try:
            return read(batch, path)
        except FileNotFoundError:
            return None
        except DamagedBatch:
            return self._set_aside(batch, path)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}; make it readable, or move it away") from None

    def load_cells(self, batch: Batch) -> dict[int, dict[str, np.ndarray]] | None:
        """The same arrays, by the number of the cell and the name of the variable.

        "wall_time" of a cell is its share of the wall time of the batch, in seconds.
        """
        arrays = self.load(batch)
        if arrays is None:
            return None
        share = arrays["wall_time"] / len(batch.cells)
        cells: dict[int, dict[str, np.ndarray]] = {number: {"wall_time": share} for number in batch.cells}
        for key, array in arrays.items():
            cell, slash, name = key.partition("/")
            if slash:
                cells[int(cell)][name] = array
        return cells

    def _set_aside(self, batch: Batch, path: Path) -> dict[str, np.ndarray] | None:
        """Moves a damaged file away, unless another process did so, and perhaps computed the batch again."""
        aside = path.parent / "damaged"
        try:
            lock = self.locks.take(f"{batch.number:06d}")
            if lock is None:
                return None
            try:
                return read(batch, path)
            except DamagedBatch:
                aside.mkdir(exist_ok=True)
                os.replace(path, aside / path.name)
            finally:
                lock.release()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"{path} is damaged, and cannot be set aside: {error.strerror}; move it away") from None
        return None

    def check_batches(self, batches: Sequence[Batch]) -> None:
        """Reads the files of all finished batches, and sets damaged files aside.

        Args:
            batches: all batches of the run.

        Raises:
            UserError: there are batch files, but all of them belong to another run.
        """
        finished, foreign = list(filter(self.has, batches)), self.foreign(batches)
        if foreign and not finished:
            raise UserError(
                f"{self.path}: the {len(foreign)} files in batches/ are those of another configuration or version: "
                "undo what has changed, or start another run with --out"
            )
        for batch in finished:
            self.load(batch)

    def foreign(self, batches: Sequence[Batch]) -> list[Path]:
        """Files under batches/ that belong to no batch of the run."""
        known = {file_name(batch) for batch in batches}
        return [file for file in sorted((self.path / "batches").glob("*.npz")) if file.name not in known]

    def write_failure(self, batch: Batch, failure: Mapping[str, Any]) -> None:
        """Records why a batch failed."""
        self._failure(batch).parent.mkdir(exist_ok=True)
        write_atomically(self._failure(batch), json.dumps(failure, indent=2) + "\n")

    def failure(self, batch: Batch) -> str | None:
        """The error of a failed batch; None if the batch has not failed."""
        try:
            return str(json.loads(self._failure(batch).read_bytes())["error"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return "the record of its error cannot be read"

    def _failure(self, batch: Batch) -> Path:
        return self.path / "failures" / f"{batch.number:06d}.json"

    def write(self, name: str, content: str | bytes) -> Path:
        """Stores a file, such as report.html or figures/risk.svg, and returns its path."""
        (self.path / name).parent.mkdir(exist_ok=True)
        write_atomically(self.path / name, content)
        return self.path / name

    def tidy_up(self) -> None:
        """Removes lock files and temporary files of killed processes, once all batches are finished."""
        self.locks.discard()
        for folder in ("batches", "failures"):
            for remains in (self.path / folder).glob(".*.tmp"):
                with contextlib.suppress(OSError):
                    remains.unlink()


def _new_folder(parent: Path, name: str) -> Path:
    """Creates the folder `name`, or `name`-2, -3, ... if it exists; returns the path even if creation fails."""
    for number in range(1, 100):
        path = parent / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError:
            return path  # `check_writable` reports the reason
        return path
    return parent / name


def digest(text: str) -> str:
    """SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
