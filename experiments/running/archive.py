"""A .npz archive in memory: what `numpy.savez` writes, without the cost of a file object for every array.

A batch has some fifty arrays of a few kilobytes each, and `zipfile` takes longer for their headers than everything else
does for their numbers. Entries are stored uncompressed, and carry no time, so that equal arrays make equal bytes.
"""

import io
import struct
import zlib
from collections.abc import Mapping

import numpy as np

__all__ = ["npz"]

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_VERSION, _UTF8, _STORED = 20, 0x800, 0
_DATE = 0x21  # 1 January 1980, the earliest one
_MOST_BYTES, _MOST_ENTRIES = 2**32 - 2**20, 2**16 - 1
"""What an archive without the extension for large files can hold."""


def npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Bytes of an archive of these arrays, which ends with the length of its comment, 0."""
    entries = [(f"{name}.npy".encode(), _header(array), array) for name, array in arrays.items()]
    size = sum(2 * len(name) + len(header) + array.nbytes + 128 for name, header, array in entries)
    if size > _MOST_BYTES or len(entries) > _MOST_ENTRIES:
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **dict(arrays))
        return buffer.getvalue()
    parts: list[bytes | memoryview] = []
    directory: list[bytes] = []
    start = 0
    for name, header, array in entries:
        numbers = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        length = len(header) + len(numbers)
        about = (zlib.crc32(numbers, zlib.crc32(header)), length, length, len(name), 0)
        local = _LOCAL.pack(b"PK\x03\x04", _VERSION, _UTF8, _STORED, 0, _DATE, *about)
        central = (b"PK\x01\x02", _VERSION, _VERSION, _UTF8, _STORED, 0, _DATE, *about, 0, 0, 0, 0, start)
        directory += [_CENTRAL.pack(*central), name]
        parts += [local, name, header, numbers]
        start += len(local) + len(name) + length
    table = b"".join(directory)
    end = _END.pack(b"PK\x05\x06", 0, 0, len(entries), len(entries), len(table), start, 0)
    return b"".join([*parts, table, end])


def _header(array: np.ndarray) -> bytes:
    """The header of a .npy file; the numbers follow it, the last axis varying fastest."""
    if array.dtype.hasobject:
        raise ValueError("arrays of Python objects are not stored")
    buffer = io.BytesIO()
    description = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(buffer, description)
    return buffer.getvalue()
