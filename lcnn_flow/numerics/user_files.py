"""Files in the user's cache folder, which later processes read instead of computing their content again.

A file has its name only when it is complete. A folder that cannot be written costs time and nothing else: it is said in
a warning.
"""

import hashlib
import os
import tempfile
import warnings
from pathlib import Path

__all__ = ["keep", "keep_with_hash", "kept_with_hash", "user_folder"]

_MAGIC = b"lcnn_flow file 1\n"


def user_folder(kind: str) -> Path:
    """The folder for files of this kind, in $XDG_CACHE_HOME or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "lcnn_flow" / kind


def keep(file: Path, content: bytes, what: str) -> None:
    """Writes a temporary file and renames it, so that other processes see the complete file or none."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as out:
                out.write(content)
            Path(temporary).replace(file)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        warnings.warn(f"{what} cannot be kept in {file.parent}: {error.strerror}", UserWarning, stacklevel=4)


def keep_with_hash(file: Path, payload: bytes, what: str) -> None:
    """Keeps a payload together with its hash, for `kept_with_hash`."""
    keep(file, _MAGIC + hashlib.sha256(payload).digest() + payload, what)


def kept_with_hash(file: Path) -> bytes | None:
    """The payload of a file; None if the file is missing, incomplete or changed."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    head, digest, payload = content[: len(_MAGIC)], content[len(_MAGIC) :][:32], content[len(_MAGIC) + 32 :]
    return payload if head == _MAGIC and hashlib.sha256(payload).digest() == digest else None
