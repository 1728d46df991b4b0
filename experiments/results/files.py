"""Writes files so that a file has its final name only when it is complete."""

import contextlib
import os
import shutil
from collections.abc import Generator
from pathlib import Path

__all__ = ["atomic_replace", "write_atomically"]


def write_atomically(path: Path, content: bytes | str) -> None:
    """Writes a temporary file, forces it to disk and renames it: a reader sees the old file or the complete new one."""
    with atomic_replace(path) as temporary, open(temporary, "xb", buffering=0) as file:
        rest = memoryview(content.encode() if isinstance(content, str) else content)
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())


@contextlib.contextmanager
def atomic_replace(path: Path) -> Generator[Path, None, None]:
    """A temporary path in the same folder, renamed to `path` at the end, or removed after an error.

    If `path` is a folder, the old folder is first renamed, so that a reader finds the old folder or the new one.
    """
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    token = os.urandom(6).hex()
    temporary, old = (os.path.join(folder, f".{name}.{token}.{end}") for end in ("tmp", "old.tmp"))
    try:
        yield Path(temporary)
        if os.path.isdir(target):
            with contextlib.suppress(FileNotFoundError):
                os.replace(target, old)
            os.replace(temporary, target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(temporary, target)
    except BaseException:
        if os.path.isdir(temporary):
            shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
