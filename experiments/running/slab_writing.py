"""Copies batch files into a zarr store, slab by slab: the memory needed does not grow with the number of flows.

A slab is a box of cells and seeds, and one chunk of every variable of the store.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import zarr

from experiments.planning.batches import Batch
from experiments.results.layout import not_computed, per_seed
from experiments.running.store import RunDirectory
from experiments.running.survey import Survey
from experiments.sweeps.sweep import Sweep

__all__ = ["slab_shape", "write_slabs"]

_SLAB_BYTES = 64 * 2**20


def slab_shape(sweep: Sweep, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Number of cells along every axis, and of seeds, per slab; the last axes are whole as far as memory allows.

    Args:
        sweep: the sweep.
        shapes: shape of every variable in one cell.
    """
    flow_bytes = 8 * sum(int(np.prod(shape[1:])) for name, shape in shapes.items() if per_seed(name))
    room = max(1, _SLAB_BYTES // flow_bytes)
    lengths: list[int] = []
    for size in reversed((*sweep.shape, sweep.configuration.seeds)):
        lengths.append(max(1, min(size, room)))
        room //= size
    return tuple(reversed(lengths))


def write_slabs(
    sweep: Sweep,
    directory: RunDirectory,
    survey: Survey,
    slab: tuple[int, ...],
    group: zarr.Group,
    on_progress: Callable[[str], None],
) -> None:
    """Writes the finished batches into a store whose arrays exist.

    Args:
        sweep: the sweep.
        directory: the run directory, in which the batches are.
        survey: what the batches hold.
        slab: number of cells along every axis, and of seeds, per slab.
        group: the store.
        on_progress: called with a text that describes the progress.
    """
    whole = (*sweep.shape, sweep.configuration.seeds)
    corners = list(itertools.product(*(range(0, size, length) for size, length in zip(whole, slab, strict=True))))
    numbers = np.arange(len(sweep.cells)).reshape(sweep.shape)
    batches_of: dict[int, list[Batch]] = {}
    for batch in survey.finished:
        for cell in batch.cells:
            batches_of.setdefault(cell, []).append(batch)
    loaded: dict[Batch, dict[int, dict[str, np.ndarray]]] = {}
    for count, corner in enumerate(corners, start=1):
        on_progress(f"writing part {count}/{len(corners)}")
        box = tuple(slice(start, min(start + c, n)) for start, c, n in zip(corner, slab, whole, strict=True))
        cells = {index: int(cell) for index, cell in np.ndenumerate(numbers[box[:-1]])}
        needed = {
            index: [b for b in batches_of.get(cell, []) if b.start < box[-1].stop and b.stop > box[-1].start]
            for index, cell in cells.items()
        }
        batches = dict.fromkeys(itertools.chain(*needed.values()))
        loaded = {batch: loaded.get(batch) or directory.load_cells(batch) or {} for batch in batches}
        values = _Slab(box, survey.shapes)
        for index, cell in cells.items():
            for batch in needed[index]:
                for name, array in loaded[batch].get(cell, {}).items():
                    if name == "orbit" and batch.number in survey.orbit_numbers:
                        in_batch = np.nan_to_num(array).astype(int)
                        array = np.where(np.isnan(array), np.nan, survey.orbit_numbers[batch.number][in_batch])
                    values.put(index, name, array, batch.start)
            values.put(index, "wall_time", np.asarray(survey.seconds.get(cell, np.nan)), 0)
        values.write(group)


class _Slab:
    """Values of all variables in a box of cells and seeds; variables of whole cells belong to their first seeds."""

    def __init__(self, box: tuple[slice, ...], shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._box = box
        lengths = [part.stop - part.start for part in box]
        self._values: dict[str, np.ndarray] = {}
        for name, shape in shapes.items():
            if per_seed(name) or box[-1].start == 0:
                full = (*lengths, *shape[1:]) if per_seed(name) else (*lengths[:-1], *shape)
                self._values[name] = np.full(full, not_computed(name))

    def put(self, index: tuple[int, ...], name: str, array: np.ndarray, start: int) -> None:
        """Copies a variable of the cell at `index` in the box; the first seed of `array` is `start`."""
        if name not in self._values:
            return
        values, seeds = self._values[name][(*index, ...)], self._box[-1]
        if per_seed(name):
            first, last = max(start, seeds.start), min(start + len(array), seeds.stop)
            array, values = array[first - start : last - start], values[first - seeds.start : last - seeds.start]
        values[tuple(map(slice, array.shape))] = array

    def write(self, group: Any) -> None:
        """Writes the box to the store."""
        for name, values in self._values.items():
            group[name][(*(self._box if per_seed(name) else self._box[:-1]), ...)] = values
