"""Data sets from .npz, .npy and .csv files. Pickled objects are refused."""

import csv
import io
import math
import os
import re
import zipfile
from array import array
from pathlib import Path
from typing import IO

import numpy as np

from lcnn_flow.data.checks import count
from lcnn_flow.data.dataset import Dataset
from lcnn_flow.errors import DataError

__all__ = ["load"]

_MAX_BYTES = 4 * 2**30
_SUFFIXES = (".npz", ".npy", ".csv")
_OPTIONAL = ("weights", "true_filter")


def load(
    path: str | os.PathLike[str],
    inputs: str | None = None,
    targets: str | None = None,
    split: int | None = None,
) -> Dataset:
    """Reads a data set; the suffix of the file selects the format.

    - .npz: arrays "inputs" (m, *sample_shape) and "targets" (m, *output_shape), or of the names given by
      `inputs` and `targets`; optionally "weights" (m,) and "true_filter". For images and channels too.
    - .npy: one array (m, d_0 + d_N), one sample per row; its first `split` = d_0 columns are the inputs.
    - .csv: comma-separated numbers, one sample per row. With a header of x0, x1, ..., y0, y1, ... and optionally
      "weight", in any order; or with `split`, and then any header or none.

    Args:
        path: the file, at most 4 GiB.
        inputs: name of the array of inputs, .npz only; "inputs" by default.
        targets: name of the array of targets, .npz only; "targets" by default.
        split: number of input columns, .npy and .csv only.

    Returns:
        A `Dataset` in the shapes of the file.

    Raises:
        DataError: the file is missing, of another kind, too large, truncated or empty; it holds Python objects, text,
            gaps, NaN or infinities; or ranks or numbers of samples do not fit.
    """
    file = _existing_file(path)
    suffix = file.suffix.lower()
    if suffix == ".npz" and split is not None:
        raise DataError(f"{file}: split is for .npy and .csv: an .npz file names its arrays")
    if suffix != ".npz" and (inputs is not None or targets is not None):
        raise DataError(f"{file}: inputs and targets name arrays of an .npz file: for {suffix} write split=d_0")
    try:
        if suffix == ".npz":
            fields = _read_npz(file, inputs or "inputs", targets or "targets")
        elif suffix == ".npy":
            fields = _read_npy(file, split)
        else:
            fields = _read_csv(file, split)
        return Dataset(**fields)
    except DataError as err:
        raise DataError(f"{file}: {err}") from err
    except Exception as err:  # the parsers of foreign files raise errors of many kinds
        reason = str(err).split("\n")[0] or type(err).__name__
        raise DataError(f"{file}: damaged, or not a {suffix} file: {reason}") from err


def _existing_file(path: str | os.PathLike[str]) -> Path:
    try:
        file = Path(path)
        if file.is_dir():
            raise DataError(f"{file} is a directory: give a file")
        if not file.exists():
            raise DataError(f"{file}: no such file in {file.parent.absolute()}")
        if not file.is_file():
            raise DataError(f"{file} is not a regular file")
        size = file.stat().st_size
    except TypeError as err:
        raise DataError(f"path = {path!r}: write a string or a Path") from err
    except OSError as err:
        raise DataError(f"{path}: {err.strerror}") from err
    if file.suffix.lower() not in _SUFFIXES:
        raise DataError(f"{file}: unknown suffix {file.suffix!r}: use one of {', '.join(_SUFFIXES)}")
    if size == 0:
        raise DataError(f"{file} is empty")
    if size > _MAX_BYTES:
        raise DataError(f"{file} has {size} bytes: at most {_MAX_BYTES} are read")
    return file


def _read_npz(file: Path, inputs: str, targets: str) -> dict[str, np.ndarray]:
    fields = {}
    with zipfile.ZipFile(file) as archive:
        sizes = {entry.filename.removesuffix(".npy"): entry.file_size for entry in archive.infolist()}
        for name in (inputs, targets):
            if name not in sizes:
                found = ", ".join(map(repr, sizes)) or "none"
                raise DataError(f"no array {name!r}; arrays are: {found}; write inputs=, targets= to name them")
        unknown = sorted(set(sizes) - {inputs, targets, *_OPTIONAL})
        if unknown:
            raise DataError(f"unknown array {unknown[0]!r}: besides inputs and targets only {', '.join(_OPTIONAL)} fit")
        if sum(sizes.values()) > _MAX_BYTES:
            raise DataError(f"holds {sum(sizes.values())} bytes: at most {_MAX_BYTES} are read")
        for name, size in sizes.items():
            field = {inputs: "inputs", targets: "targets"}.get(name, name)
            with archive.open(f"{name}.npy") as stream:
                _check_header(stream, name, size)
            with archive.open(f"{name}.npy") as stream:
                fields[field] = np.lib.format.read_array(stream, allow_pickle=False)
    return fields


def _read_npy(file: Path, split: int | None) -> dict[str, np.ndarray]:
    with file.open("rb") as stream:
        _check_header(stream, "the array", file.stat().st_size)
        stream.seek(0)
        table = np.lib.format.read_array(stream, allow_pickle=False)
    if table.ndim != 2:
        raise DataError(
            f"the array has shape {table.shape}: an .npy file holds one array (m, d_0 + d_N); save other "
            "shapes as .npz with arrays inputs and targets"
        )
    return _split_columns(table, split)


def _check_header(stream: IO[bytes] | io.BufferedIOBase, name: str, size: int) -> None:
    """Raises DataError unless the header of an array declares numbers and exactly the number of bytes present."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise DataError(f"{name} is in format {version} of structured arrays: save plain numbers")
    if dtype.hasobject:
        raise DataError(f"{name} holds pickled Python objects, which are not read: save numbers")
    if dtype.kind not in "biuf":
        raise DataError(f"{name} holds {dtype} values: save an array of real numbers")
    declared = math.prod(shape) * dtype.itemsize
    if stream.tell() + declared != size:
        raise DataError(
            f"{name} is truncated or damaged: shape {shape} takes {declared} bytes, {size - stream.tell()} are there"
        )


def _read_csv(file: Path, split: int | None) -> dict[str, np.ndarray]:
    header: list[str] | None = None
    values, rows, columns = array("d"), 0, 0
    with file.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream)
        for cells in reader:
            if not cells:
                continue
            if not columns:
                columns = len(cells)
                if not any(_is_number(cell) for cell in cells):
                    header = [cell.strip() for cell in cells]
                    continue
            if len(cells) != columns:
                raise DataError(f"line {reader.line_num} has {len(cells)} cells, the first one {columns}: complete it")
            for column, cell in enumerate(cells, start=1):
                if not _is_number(cell):
                    raise DataError(f"line {reader.line_num}, column {column}: {cell!r} is not a finite number")
                values.append(float(cell))
            rows += 1
    if not rows:
        raise DataError("no row of numbers: write one sample per row, cells separated by commas")
    table = np.array(values).reshape(rows, columns)
    if split is not None:
        return _split_columns(table, split)
    if header is None:
        raise DataError("no header x0, x1, ..., y0, y1, ...: write one, or give split = number of input columns")
    return _named_columns(table, header)


def _is_number(cell: str) -> bool:
    """Whether a cell is a finite number; Python's float would also accept 1_000."""
    try:
        return "_" not in cell and math.isfinite(float(cell))
    except ValueError:
        return False


def _named_columns(table: np.ndarray, header: list[str]) -> dict[str, np.ndarray]:
    groups: dict[str, dict[int, int]] = {"x": {}, "y": {}, "weight": {}}
    for column, name in enumerate(header):
        match = re.fullmatch(r"([xy])([0-9]{1,9})|weight", name)
        if match is None:
            raise DataError(
                f"column {name!r} in the header: names are x0, x1, ..., y0, y1, ... and weight; or give "
                "split = number of input columns"
            )
        group, index = (match[1], int(match[2])) if match[1] else ("weight", 0)
        if index in groups[group]:
            raise DataError(f"column {name!r} occurs twice in the header")
        groups[group][index] = column
    for letter in "xy":
        expected = range(max(groups[letter], default=0) + 1)
        missing = next((i for i in expected if i not in groups[letter]), None)
        if missing is not None:
            raise DataError(f"column '{letter}{missing}' is missing in the header")
    fields = {
        "inputs": table[:, [groups["x"][i] for i in sorted(groups["x"])]],
        "targets": table[:, [groups["y"][i] for i in sorted(groups["y"])]],
    }
    if groups["weight"]:
        fields["weights"] = table[:, groups["weight"][0]]
    return fields


def _split_columns(table: np.ndarray, split: int | None) -> dict[str, np.ndarray]:
    columns = table.shape[1]
    if split is None:
        raise DataError(f"one table of {columns} columns: give split = number of input columns")
    split = count("load", "split", split)
    if split >= columns:
        raise DataError(f"split = {split} leaves no target among {columns} columns: use 1 to {columns - 1}")
    return {"inputs": table[:, :split], "targets": table[:, split:]}
