"""Which process computes a batch: whoever holds the lock of its file.

Locks belong to the process, so that they are free again the moment it ends, killed or not. They hold between machines
where the file system keeps locks for all of them (NFS 4, GPFS, Lustre mounted with `flock`).
"""

import contextlib
import fcntl
from pathlib import Path

import filelock

__all__ = ["Lock", "Locks"]

Lock = filelock.BaseFileLock


class Locks:
    """Locks of a run directory, one file each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take(self, name: str) -> Lock | None:
        """The lock of that name; None if it is held already. `release` it when the work is stored."""
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = self._lock(name)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            return None
        return lock

    def wait_for(self, name: str) -> Lock:
        """The lock of that name, as soon as it is free."""
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = self._lock(name)
        lock.acquire()
        return lock

    def held(self, name: str) -> bool:
        """Whether some process holds the lock of that name."""
        try:
            with (self._folder / f"{name}.lock").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back when the file is closed
        except BlockingIOError:
            return True
        except OSError:  # no such lock, or not for us to see
            return False
        return False

    def discard(self) -> None:
        """Removes the lock files of batches, once nothing is left to compute; the folder may be in use by others."""
        for file in self._folder.glob("[0-9]*.lock"):
            with contextlib.suppress(OSError):
                file.unlink()

    def _lock(self, name: str) -> Lock:
        return filelock.FileLock(self._folder / f"{name}.lock", thread_local=False)
