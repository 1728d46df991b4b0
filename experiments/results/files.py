"""Writing files so that nothing under a final name is ever half written."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

__all__ = ["beside", "write_atomically"]


def write_atomically(path: Path, content: bytes | str) -> None:
    """Writes beside, forces to disk, renames: a reader sees the old file or the whole new one."""
    with beside(path) as other, open(other, "xb", buffering=0) as file:
        rest = memoryview(content.encode() if isinstance(content, str) else content)
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A path in the same folder to write to; renamed to `path` in the end, or removed after an error.

    A folder that is replaced is renamed first, so that a reader finds the old one or the new one.
    """
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    token = os.urandom(6).hex()
    other, old = (os.path.join(folder, f".{name}.{token}.{end}") for end in ("tmp", "old.tmp"))
    try:
        yield Path(other)
        if os.path.isdir(target):
            with contextlib.suppress(FileNotFoundError):
                os.replace(target, old)
            os.replace(other, target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(other, target)
    except BaseException:
        if os.path.isdir(other):
            shutil.rmtree(other, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.unlink(other)
        raise
