"""Batches: the unit of work, of storage and of bits, cut from a sweep by its definition alone.

A batch is a range of seeds of one cell or, where a cell has few seeds, all seeds of several cells of one compile group.
Its key is a hash of everything that its results depend on, so that a stored batch is known by its name.
"""

import functools
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import UserError
from experiments.schema import Configuration, FileData
from experiments.sweeps.sweep import Cell, Sweep, stored_bytes

__all__ = ["Batch", "batch_of", "batches", "data_digests", "label_of", "programs_of", "still_defined"]

_FORMAT = "lcnn_flow batch 1"
_SEEDS, _SEEDS_WITH_TIMES = 4096, 512
"""Most seeds a batch: with them the devices are busy for a fraction of a second, or seconds."""
_BYTES = 64 * 2**20
"""Most results a batch."""
_TOGETHER = 64
"""Flows that cells with few seeds share a batch for."""
_MOST_CELLS = 16


@dataclass(frozen=True)
class Batch:
    """Seeds `start` <= seed < `stop` of each of its cells."""

    number: int
    cells: tuple[int, ...]
    start: int
    stop: int
    key: str
    """SHA-256, in hexadecimal, of what the results depend on."""

    @property
    def flows(self) -> int:
        """Number of flows."""
        return len(self.cells) * (self.stop - self.start)


def batches(sweep: Sweep) -> tuple[Batch, ...]:
    """All batches of a sweep, group after group; numbers, cells and seeds do not depend on machine or engine.

    Raises:
        UserError: a data file cannot be read.
    """
    found: list[Batch] = []
    for group in sweep.groups():
        for cells, start, stop in _cut(group):
            found.append(batch_of(sweep, len(found), tuple(cell.number for cell in cells), start, stop))
    return tuple(found)


def still_defined(sweep: Sweep, batch: Batch) -> bool:
    """Whether the data files of a batch are those that its key was made with."""
    cells = [sweep.cells[number] for number in batch.cells]
    if not any(isinstance(cell.configuration.data, FileData) for cell in cells):
        return True
    return _key(cells, batch.start, batch.stop) == batch.key


def data_digests(sweep: Sweep) -> dict[str, str]:
    """SHA-256 of every data file of a sweep, by its path.

    Raises:
        UserError: one cannot be read.
    """
    data = (cell.configuration.data for cell in sweep.cells)
    return {file.path: _digest_of_file(file.path) for file in data if isinstance(file, FileData)}


def batch_of(sweep: Sweep, number: int, cells: tuple[int, ...], start: int, stop: int) -> Batch:
    """One batch of a sweep that was cut before.

    Raises:
        UserError: a data file cannot be read.
    """
    return Batch(number, cells, start, stop, _key([sweep.cells[cell] for cell in cells], start, stop))


def programs_of(sweep: Sweep, all_batches: Iterable[Batch]) -> dict[int, int]:
    """The number of the compiled program of every batch, by the number of the batch: other shapes compile anew."""
    group_of = {cell.number: number for number, group in enumerate(sweep.groups()) for cell in group}
    known: dict[tuple[int, int, int], int] = {}
    shapes = {b.number: (group_of[b.cells[0]], len(b.cells), b.stop - b.start) for b in all_batches}
    return {number: known.setdefault(shape, len(known)) for number, shape in shapes.items()}


def label_of(sweep: Sweep, batch: Batch) -> str:
    """A short name for people: of its cell, or of its first and its last."""
    names = [sweep.cells[number].name for number in dict.fromkeys((batch.cells[0], batch.cells[-1]))]
    whole = batch.stop - batch.start == sweep.configuration.seeds
    return " … ".join(names) + ("" if whole else f", seeds {batch.start} to {batch.stop - 1}")


def _cut(group: list[Cell]) -> Iterator[tuple[list[Cell], int, int]]:
    from experiments.modules import unchanged  # here: stored batches are known by their keys without JAX
    from experiments.modules.finding import find_module

    first = group[0].configuration
    seeds = first.seeds
    alone = find_module(first.experiment.module).prepare is not unchanged  # it looks at all seeds of a cell at once
    most = _most_seeds(first)
    if alone or seeds > most:
        size = seeds if alone else most
        for cell in group:
            for start in range(0, seeds, size):
                yield [cell], start, min(start + size, seeds)
        return
    together = min(_MOST_CELLS, max(1, min(most, _TOGETHER) // seeds))
    for first_cell in range(0, len(group), together):
        yield group[first_cell : first_cell + together], 0, seeds


def _most_seeds(configuration: Configuration) -> int:
    if configuration.compute.batch_size is not None:
        return configuration.compute.batch_size
    most = _SEEDS_WITH_TIMES if configuration.records else _SEEDS
    most = max(1, min(most, _BYTES // (stored_bytes(configuration) // configuration.seeds)))
    parts = (size for size in range(most, most // 2, -1) if configuration.seeds % size == 0)
    return next(parts, most)  # batches of one size share their programs


def _key(cells: list[Cell], start: int, stop: int) -> str:
    parts = [_FORMAT, start, stop, *(_definition(cell.configuration) for cell in cells)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _definition(configuration: Configuration) -> dict[str, Any]:
    """What the results of a cell depend on: all but words, and how many seeds other batches take."""
    definition = configuration.model_dump(mode="json", exclude_none=True)
    definition["experiment"] = configuration.experiment.module
    for name in ("batch_size", "retries"):
        definition["compute"].pop(name, None)
    definition["data"].pop("label", None)
    definition["analysis"]["certify"] = configuration.analysis.certificates
    for name in ("census", "sharpness"):  # so that runs of before there was such a choice can be resumed
        if not getattr(configuration.analysis, name):
            definition["analysis"].pop(name)
    if configuration.network.kind == "convolution":  # which need not be written
        definition["network"].pop("kind")
    if isinstance(configuration.data, FileData):
        definition["data"]["sha256"] = _digest_of_file(configuration.data.path)
    return definition


def _digest_of_file(path: str) -> str:
    try:
        state = os.stat(path)
        return _digest(path, state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


@functools.lru_cache(maxsize=1024)
def _digest(path: str, *_: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
