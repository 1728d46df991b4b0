"""File locks of a run directory: a batch is computed by the process that holds the lock with its number.

The operating system releases a lock when the process that holds it ends, even if it was killed. Locks work between
machines if the file system supports that (NFS 4, GPFS, Lustre mounted with `flock`).
"""

import contextlib
from pathlib import Path

import filelock

__all__ = ["Lock", "Locks"]

Lock = filelock.BaseFileLock
"""A lock that is held until `release` is called; calling `release` again does nothing."""


class Locks:
    """Locks of a run directory, one file per name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take(self, name: str) -> Lock | None:
        """Acquires the lock of that name; returns None if it is already held."""
        try:
            return self._acquire(name, timeout=0)
        except filelock.Timeout:
            return None

    def wait_for(self, name: str) -> Lock:
        """Acquires the lock of that name, and waits until it is free."""
        return self._acquire(name, timeout=-1)

    def _acquire(self, name: str, timeout: float) -> Lock:
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self._folder / f"{name}.lock", thread_local=False)
        lock.acquire(timeout=timeout)
        return lock

    def held(self, name: str) -> bool:
        """Whether a process holds the lock of that name; False if the lock file cannot be read."""
        if not (self._folder / f"{name}.lock").exists():
            return False
        try:
            lock = self.take(name)
        except OSError:
            return False
        if lock is not None:
            lock.release()
        return lock is None

    def discard(self) -> None:
        """Removes the lock files of batches, when all batches have been computed."""
        for file in self._folder.glob("[0-9]*.lock"):
            with contextlib.suppress(OSError):
                file.unlink()
