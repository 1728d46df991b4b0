"""Writing files so that nothing under a final name is ever half written."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

__all__ = ["beside", "write_atomically"]


def write_atomically(path: Path, content: bytes | str) -> None:
    """Writes beside, forces to disk, renames: a reader sees the old file or the whole new one."""
    with beside(path) as other, open(other, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A path in the same folder to write to; renamed to `path` in the end, or removed after an error.

    A folder that is replaced is renamed first, so that a reader finds the old one or the new one.
    """
    path = path.resolve()
    other, old = (path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.{end}") for end in ("tmp", "old.tmp"))
    try:
        yield other
        with contextlib.suppress(FileNotFoundError):
            if path.is_dir():
                os.replace(path, old)
        os.replace(other, path)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        if other.is_dir():
            shutil.rmtree(other, ignore_errors=True)
        other.unlink(missing_ok=True)
        raise
