"""Writing files so that nothing under a final name is ever half written."""

import contextlib
import io
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

__all__ = ["beside", "write_atomically"]


def write_atomically(path: Path, content: bytes | str) -> None:
    """Writes beside, forces to disk, renames: a reader sees the old file or the whole new one."""
    target = os.path.realpath(path) if os.path.islink(path) else os.fspath(path)
    folder, name = os.path.split(target)
    other = os.path.join(folder, f".{name}.{os.urandom(6).hex()}.tmp")
    try:
        with open(other, "xb", buffering=0) as file:
            _write_all(file, content.encode() if isinstance(content, str) else content)
            os.fsync(file.fileno())
        os.replace(other, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(other)
        raise


def _write_all(file: io.RawIOBase, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


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
