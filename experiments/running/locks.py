"""Which process computes a batch: the one that holds the lock of its name.

A lock belongs to its process, so that it is free again the moment the process ends, killed or not. Locks hold between
machines where the file system keeps them for all of them (NFS 4, GPFS, Lustre mounted with `flock`).
"""

import contextlib
from pathlib import Path

import filelock

__all__ = ["Lock", "Locks"]

Lock = filelock.BaseFileLock
"""A lock that is held until its `release`; a second `release` does nothing."""


class Locks:
    """Locks of a run directory, one file per name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take(self, name: str) -> Lock | None:
        """The lock of that name; None if it is held already."""
        try:
            return self._acquire(name, timeout=0)
        except filelock.Timeout:
            return None

    def wait_for(self, name: str) -> Lock:
        """The lock of that name, as soon as it is free."""
        return self._acquire(name, timeout=-1)

    def _acquire(self, name: str, timeout: float) -> Lock:
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self._folder / f"{name}.lock", thread_local=False)
        lock.acquire(timeout=timeout)
        return lock

    def held(self, name: str) -> bool:
        """Whether some process holds the lock of that name; False where the lock may not be read."""
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
        """Removes the lock files of batches, once nothing is left to compute."""
        for file in self._folder.glob("[0-9]*.lock"):
            with contextlib.suppress(OSError):
                file.unlink()
