"""The file of one batch: an .npz archive with its own checksum.

The comment of the zip archive is the SHA-256 of all bytes before it. Therefore every reader of .npz can open the file,
and `decode` detects truncation and changed bits. Pickled objects are refused.
"""

import hashlib
import io
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments.planning.batches import Batch

__all__ = ["DamagedBatch", "decode", "encode", "file_name", "read"]

_KEY = "key"
_COMMENT = b"sha256:"
_LENGTH = len(_COMMENT) + 64


class DamagedBatch(Exception):
    """A batch file that was truncated or changed, or belongs to another batch."""


def file_name(batch: Batch) -> str:
    """Name of the file of a batch: its number and the beginning of its key."""
    return f"{batch.number:06d}-{batch.key[:16]}.npz"


def encode(batch: Batch, arrays: Mapping[str, np.ndarray]) -> bytes:
    """Bytes of the file of a batch."""
    key = np.frombuffer(bytes.fromhex(batch.key), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{_KEY: key, **arrays})
    body = buffer.getbuffer()[:-2]  # an archive without comment ends with the comment's length, 0
    end = struct.pack("<H", _LENGTH) + _COMMENT + hashlib.sha256(body).hexdigest().encode()
    return b"".join([body, end])


def decode(batch: Batch, content: bytes) -> dict[str, np.ndarray]:
    """Arrays of a batch from the bytes of its file.

    Raises:
        DamagedBatch: the bytes are not those that `encode` made for this batch.
    """
    body, end = content[: -_LENGTH - 2], content[-_LENGTH - 2 :]
    if end != struct.pack("<H", _LENGTH) + _COMMENT + hashlib.sha256(body).hexdigest().encode():
        raise DamagedBatch("the checksum does not fit")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = dict(stored)
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile) as error:
        raise DamagedBatch(f"no archive of arrays ({type(error).__name__})") from error
    if (key := arrays.pop(_KEY, None)) is None or key.tobytes().hex() != batch.key:
        raise DamagedBatch("it belongs to another batch")
    return arrays


def read(batch: Batch, path: Path) -> dict[str, np.ndarray]:
    """Arrays of a batch from its file.

    Raises:
        DamagedBatch: as `decode`.
        OSError: the file cannot be read.
    """
    return decode(batch, path.read_bytes())
