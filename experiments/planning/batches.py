"""Batches: the units in which a sweep is computed and stored, cut by the definition of the sweep alone.

A batch is a range of seeds of one cell or, where a cell has few seeds, all seeds of several cells of one compile group.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from experiments.planning.keys import batch_key
from experiments.schema import Configuration, FileData
from experiments.sweeps.sizes import stored_bytes
from experiments.sweeps.sweep import Cell, Sweep

__all__ = ["Batch", "batch_of", "cut_into_batches", "still_defined"]

_SEEDS, _SEEDS_WITH_TIMES = 4096, 512
"""Largest numbers of seeds per batch: such batches take between a fraction of a second and a few seconds."""
_BYTES = 64 * 2**20
"""Largest size of the results of a batch."""
_FLOWS_OF_SEVERAL_CELLS = 64
"""Number of flows up to which several cells with few seeds share a batch."""
_MOST_CELLS = 16
"""Largest number of cells per batch."""


@dataclass(frozen=True)
class Batch:
    """Seeds `start` <= seed < `stop` of each of its cells."""

    number: int
    cells: tuple[int, ...]
    start: int
    stop: int
    key: str
    """Hash of everything that the results depend on (`keys.batch_key`)."""

    @property
    def flows(self) -> int:
        """Number of flows."""
        return len(self.cells) * (self.stop - self.start)


def cut_into_batches(sweep: Sweep, whole_cells: bool) -> tuple[Batch, ...]:
    """All batches of a sweep, one compile group after the other, independent of the machine and of the engine.

    Args:
        sweep: the sweep.
        whole_cells: whether all seeds of a cell must be in one batch.

    Raises:
        UserError: a data file cannot be read.
    """
    found: list[Batch] = []
    for group in sweep.groups:
        for cells, start, stop in _cut(group, whole_cells):
            numbers = tuple(cell.number for cell in cells)
            found.append(Batch(len(found), numbers, start, stop, batch_key(cells, start, stop)))
    return tuple(found)


def batch_of(sweep: Sweep, number: int, cells: tuple[int, ...], start: int, stop: int) -> Batch:
    """The batch with this number, these cells and these seeds; only its key is computed.

    Raises:
        UserError: a data file cannot be read.
    """
    return Batch(number, cells, start, stop, batch_key([sweep.cells[cell] for cell in cells], start, stop))


def still_defined(sweep: Sweep, batch: Batch) -> bool:
    """Whether the data files of a batch are those with which its key was made."""
    if not any(isinstance(sweep.cells[number].configuration.data, FileData) for number in batch.cells):
        return True
    return batch_of(sweep, batch.number, batch.cells, batch.start, batch.stop) == batch


def _cut(group: Sequence[Cell], whole_cells: bool) -> Iterator[tuple[Sequence[Cell], int, int]]:
    """Cells, first seed and end of the seeds of every batch of a compile group."""
    seeds = group[0].configuration.seeds
    most = _most_seeds(group[0].configuration)
    if whole_cells or seeds > most:
        size = seeds if whole_cells else most
        for cell in group:
            for start in range(0, seeds, size):
                yield [cell], start, min(start + size, seeds)
        return
    cells = min(_MOST_CELLS, max(1, min(most, _FLOWS_OF_SEVERAL_CELLS) // seeds))
    for first_cell in range(0, len(group), cells):
        yield group[first_cell : first_cell + cells], 0, seeds


def _most_seeds(configuration: Configuration) -> int:
    """Largest number of seeds per batch, if possible such that all batches of a cell have equally many."""
    if configuration.compute.batch_size is not None:
        return configuration.compute.batch_size
    most = _SEEDS_WITH_TIMES if configuration.records else _SEEDS
    most = max(1, min(most, _BYTES // (stored_bytes(configuration) // configuration.seeds)))
    parts = (size for size in range(most, most // 2, -1) if configuration.seeds % size == 0)
    return next(parts, most)  # batches of equal size share a compiled program
