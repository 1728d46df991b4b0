"""The whole Dataset as netCDF-4, written slab by slab: results may be larger than memory.

xarray opens the file as it opens the store: same dimensions, coordinates, variables and attributes.
"""

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from experiments.results.slabs import chunked_slabs, in_order, package, read

__all__ = ["write_netcdf"]

_SLAB_BYTES = 32 * 2**20
_CHUNK_BYTES = 2**20  # what HDF5 keeps of a variable until it is compressed
_PACKED = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


def write_netcdf(dataset: xr.Dataset, path: Path) -> None:
    """Writes all variables with their attributes.

    Raises:
        UserError: a package is missing, or the store of `dataset` is damaged.
        OSError: the file cannot be written.
    """
    h5py, h5netcdf = package("h5py"), package("h5netcdf")
    with _Stream(path) as stream:
        with h5netcdf.File(stream, "w") as file:
            file.dimensions = {str(name): size for name, size in dataset.sizes.items()}
            for name, value in dataset.attrs.items():
                file.attrs[str(name)] = _attribute(value, np.dtype(np.int32))
            for name in [*map(str, dataset.coords), *in_order(dataset.data_vars)]:
                source = dataset[name]
                dtype = _netcdf_type(source.dtype)
                chunks = _chunks(source)
                packed: dict[str, Any] = (
                    {"chunks": chunks, **_PACKED} if dtype is not None and source.size and source.dims else {}
                )
                kind = h5py.string_dtype() if dtype is None else dtype
                target = file.create_variable(name, source.dims, kind, **packed)
                for key, value in _attributes(dataset, name).items():
                    target.attrs[key] = _attribute(value, dtype or np.dtype(np.int32))
                for part in chunked_slabs(source.shape, chunks, _SLAB_BYTES // source.dtype.itemsize):
                    values = read(source, dict(zip(map(str, source.dims), part, strict=True)))
                    target[part or ...] = values.astype(object if dtype is None else dtype)
                    stream.check()
        stream.check()


class _Stream(io.RawIOBase):
    """A file that remembers its first error and takes all later writing for done.

    HDF5 ends the whole process when it cannot write what it still has to write on closing, as on a full disk.
    """

    def __init__(self, path: Path) -> None:
        self._file = io.FileIO(path, "wb+")
        self._error: OSError | None = None

    def check(self) -> None:
        """Raises what went wrong in writing."""
        if self._error is not None:
            raise self._error

    def write(self, data: Any) -> int:
        """Writes all bytes, unless something went wrong before."""
        view = memoryview(data).cast("B")
        written = 0
        while written < len(view) and self._error is None:
            try:
                written += self._file.write(view[written:])
            except OSError as error:
                self._error = error
        return len(view)

    def readinto(self, buffer: Any) -> int:
        """Reads into the whole buffer, up to the end of the file."""
        view = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(view) and (count := self._file.readinto(view[filled:])):
            filled += count
        return filled

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to a place in the file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Place in the file."""
        return self._file.tell()

    def truncate(self, size: int | None = None) -> int:
        """Gives the file its final size, unless something went wrong before."""
        try:
            return self._file.truncate(size) if self._error is None else size or 0
        except OSError as error:
            self._error = error
            return size or 0

    def readable(self) -> bool:
        """HDF5 reads back what it wrote."""
        return True

    def writable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
        super().close()


def _netcdf_type(dtype: np.dtype) -> np.dtype | None:
    """Type of a variable in netCDF; None for strings."""
    if dtype.kind == "b":
        return np.dtype(np.int8)
    return dtype if dtype.kind in "iuf" else None


def _chunks(source: xr.DataArray) -> tuple[int, ...]:
    """Chunks of the store, cut where they are larger than HDF5 can hold open."""
    chunks = [min(c, n) for c, n in zip(source.encoding.get("chunks") or source.shape, source.shape, strict=True)]
    for axis in range(len(chunks)):
        rest = math.prod(chunks[axis + 1 :])
        chunks[axis] = max(1, min(chunks[axis], _CHUNK_BYTES // source.dtype.itemsize // max(1, rest)))
    return tuple(chunks)


def _attributes(dataset: xr.Dataset, name: str) -> dict[str, Any]:
    """Attributes of a variable, and those by which xarray finds booleans and coordinates again."""
    attributes = {str(key): value for key, value in dataset[name].attrs.items()}
    if dataset[name].dtype.kind == "b":
        attributes["dtype"] = "bool"
    further = [str(c) for c in dataset[name].coords if c not in dataset.indexes and c != name]
    if further and name in dataset.data_vars:
        attributes["coordinates"] = " ".join(further)
    return attributes


def _attribute(value: Any, dtype: np.dtype) -> Any:
    """An attribute as netCDF holds it; whole numbers, as of flags, in the type of their variable."""
    if isinstance(value, str):
        return value
    array = np.asarray(value)
    if array.dtype.kind in "bi":
        return array.astype(dtype if dtype.kind == "i" else np.int32)
    return array if array.dtype.kind == "f" else json.dumps(value)
