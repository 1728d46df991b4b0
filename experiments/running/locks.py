"""Which process computes a batch: whoever holds the lock of its file.

Locks belong to the process, so that they are free again the moment it ends, killed or not. They hold between machines
where the file system keeps locks for all of them (NFS 4, GPFS, Lustre mounted with `flock`).

To make a file costs more than to lock it. The lock file of a batch that is stored is therefore linked to the name of
the next batch, while it is held: whoever opens it under either name finds it locked.
"""

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import Protocol

import filelock

__all__ = ["Lock", "Locks"]

_MOST_SPARE = 100
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP)
_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)


class Lock(Protocol):
    """A lock that is held."""

    def release(self) -> None:
        """Gives it back; a second time does nothing."""
        ...


class Locks:
    """Locks of a run directory, one file each. Only one thread may `take` and `finish`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spare: list[_FileLock] = []

    def take(self, name: str) -> Lock | None:
        """The lock of that name; None if it is held already. `release` or `finish` it when the work is stored."""
        path = os.path.join(self._folder, f"{name}.lock")
        if self._spare and (spare := self._spare.pop()).rename(path):
            return spare
        try:
            return self._open(path)
        except FileNotFoundError:
            self._folder.mkdir(parents=True, exist_ok=True)
            return self._open(path)

    def _open(self, path: str) -> Lock | None:
        while True:
            file = os.open(path, _OPEN, 0o666)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(file, path):
                    return _FileLock(file, path)
                os.close(file)  # it was linked to another name, or removed, before we had it
            except BlockingIOError:
                os.close(file)
                return None
            except OSError as error:
                os.close(file)
                if error.errno not in _NO_LOCKS:
                    raise
                return _lock_of_any_kind(path)

    def finish(self, lock: Lock) -> None:
        """Gives back the lock of work that is stored, which nobody needs any more."""
        if isinstance(lock, _FileLock) and len(self._spare) < _MOST_SPARE:
            self._spare.append(lock)
        else:
            lock.release()

    def put_away(self) -> None:
        """Removes the lock files that are kept for the next ones to `take`."""
        while self._spare:
            self._spare.pop().remove()

    def wait_for(self, name: str) -> Lock:
        """The lock of that name, as soon as it is free."""
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self._folder / f"{name}.lock", thread_local=False)
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


class _FileLock:
    """An open file that is locked; closing it gives the lock back."""

    def __init__(self, file: int, path: str) -> None:
        self._file, self._path = file, path

    def release(self) -> None:
        """Gives it back; a second time does nothing."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def rename(self, path: str) -> bool:
        """Takes another name that no file has, still locked; where that cannot be, it is removed."""
        try:
            os.link(self._path, path)
        except OSError:
            self.remove()
            return False
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        self._path = path
        if _is_at(self._file, path):
            return True
        self.release()  # our file had been removed, and another process made one of that name
        return False

    def remove(self) -> None:
        """Gives it back, and removes the file if it is still ours."""
        if self._file >= 0 and _is_at(self._file, self._path):
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        self.release()


def _is_at(file: int, path: str) -> bool:
    """Whether an open file is the one of that name."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path, follow_symlinks=False))
    except OSError:
        return False


def _lock_of_any_kind(path: str) -> Lock | None:
    """Where the file system has no `flock`: what stands in for it, with a warning."""
    lock = filelock.FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return None
    return lock
