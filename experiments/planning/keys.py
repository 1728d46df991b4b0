"""Keys of batches: SHA-256 hashes of everything that the results of a batch depend on.

The key is part of the name of the file of a batch, so that stored results are only reused for the same definition.
"""

import functools
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.errors import UserError
from experiments.schema import Configuration, FileData
from experiments.sweeps.sweep import Cell, Sweep

__all__ = ["batch_key", "data_digests"]

_FORMAT = "lcnn_flow batch 1"


def batch_key(cells: Sequence[Cell], start: int, stop: int) -> str:
    """The key of the seeds `start` <= seed < `stop` of some cells, in hexadecimal.

    Raises:
        UserError: a data file cannot be read.
    """
    parts = [_FORMAT, start, stop, *(_definition(cell.configuration) for cell in cells)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def data_digests(sweep: Sweep) -> dict[str, str]:
    """SHA-256 of every data file of a sweep, by its path.

    Raises:
        UserError: a file cannot be read.
    """
    data = (cell.configuration.data for cell in sweep.cells)
    return {file.path: _digest_of_file(file.path) for file in data if isinstance(file, FileData)}


def _definition(configuration: Configuration) -> dict[str, Any]:
    """What the results of a cell depend on: the configuration without its texts and without the size of batches."""
    definition = configuration.model_dump(mode="json", exclude_none=True)
    definition["experiment"] = configuration.experiment.module
    for name in ("batch_size", "retries"):
        definition["compute"].pop(name, None)
    definition["data"].pop("label", None)
    definition["analysis"]["certify"] = configuration.certificates
    for name in ("census", "sharpness"):  # so that runs which were begun before these existed can be resumed
        if not getattr(configuration.analysis, name):
            definition["analysis"].pop(name)
    if configuration.network.kind == "convolution":  # the default, which need not be written
        definition["network"].pop("kind")
    if isinstance(configuration.data, FileData):
        definition["data"]["sha256"] = _digest_of_file(configuration.data.path)
    return definition


def _digest_of_file(path: str) -> str:
    """SHA-256 of a file, which is read again only if its time of modification or its size has changed."""
    try:
        state = os.stat(path)
        return _digest(path, state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


@functools.lru_cache(maxsize=1024)
def _digest(path: str, *_: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
