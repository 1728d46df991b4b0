"""Collecting batch files into results.zarr, slab by slab: memory does not grow with the number of flows.

A slab is a box of cells and seeds, and one chunk of every variable in the store. Collecting twice changes nothing.
"""

import contextlib
import itertools
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr

import lcnn_flow as lf
from experiments.errors import UserError
from experiments.networks import architecture
from experiments.planning.batches import Batch
from experiments.results.files import atomic_replace
from experiments.results.layout import not_computed, per_seed, shape_in_cell, skeleton
from experiments.results.opening import lost_chunks
from experiments.running.store import RunDirectory
from experiments.sweeps.sweep import Sweep

__all__ = ["collect"]

_SLAB_BYTES = 64 * 2**20

Arrays = Mapping[str, np.ndarray]


@dataclass
class _Survey:
    """What one pass over all batch files says about the whole run."""

    finished: list[Batch] = field(default_factory=list)
    damaged: list[Batch] = field(default_factory=list)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    """Wall time of every cell."""
    samples: dict[int, list[tuple[Batch, tuple[np.ndarray, ...], np.ndarray]]] = field(default_factory=dict)
    """For cells in several batches: per batch the first limit of every orbit, and how many flows end there."""


def collect(
    sweep: Sweep,
    directory: RunDirectory,
    all_batches: Sequence[Batch],
    on_progress: Callable[[str], None] = lambda _: None,
) -> int:
    """Writes results.zarr from the finished batches, unless it holds exactly these already; returns their number.

    Args:
        sweep: what is run in `directory`.
        directory: where the batches are.
        all_batches: of the sweep.
        on_progress: called with a text that says how far it is.

    Raises:
        UserError: the store holds batches whose files are missing; the store is not changed.
        OSError: the store cannot be written; the batches are untouched.
    """
    with contextlib.ExitStack() as stack:
        stack.callback(directory.locks.wait_for("collect").release)
        for remains in directory.path.glob(".results.zarr.*.tmp"):  # of processes that were killed
            shutil.rmtree(remains, ignore_errors=True)
        return _collect(sweep, directory, all_batches, on_progress)


def _collect(
    sweep: Sweep, directory: RunDirectory, all_batches: Sequence[Batch], on_progress: Callable[[str], None]
) -> int:
    present = [batch for batch in all_batches if directory.has(batch)]
    state = _state(directory, present)
    store = directory.path / "results.zarr"
    stored = _stored_state(store)
    if stored == state:
        return len(present)
    survey = _survey(sweep, directory, present, on_progress)
    state = _state(directory, survey.finished)
    if lost := set(stored) - set(state) - {batch.key for batch in survey.damaged}:
        raise UserError(
            f"{store} holds {len(lost)} batches whose files are gone from batches/, and is left as it is: "
            "remove it to collect what is there"
        )
    if not survey.finished:
        return 0
    dataset = skeleton(
        sweep, survey.shapes, {"manifest": json.dumps(directory.read_manifest()), "batches": json.dumps(state)}
    )
    chunks = _chunks(sweep, survey.shapes)
    encoding = {}
    for name, shape in survey.shapes.items():
        own = shape[1:] if per_seed(name) else shape
        along = chunks if per_seed(name) else chunks[:-1]
        encoding[name] = {"chunks": (*along, *(max(1, n) for n in own)), "fill_value": not_computed(name)}
    with atomic_replace(store) as temporary:
        dataset.to_zarr(temporary, mode="w", consolidated=False, encoding=encoding)
        with zarr.config.set({"array.write_empty_chunks": True}):  # so that a chunk that gets lost is missed
            _write_slabs(sweep, directory, survey, chunks, zarr.open_group(temporary, mode="r+"), on_progress)
    return len(survey.finished)


def _state(directory: RunDirectory, finished: list[Batch]) -> dict[str, str]:
    """Checksums of batch files, which are the last 64 bytes, by the key of the batch."""
    state = {}
    for batch in finished:
        with directory.batch_path(batch).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 64))
            state[batch.key] = file.read().decode("latin-1")
    return state


def _stored_state(store: Path) -> dict[str, str]:
    """The same for the batches in a store; empty if the store cannot be read or has lost chunks."""
    try:
        group = zarr.open_group(store, mode="r")
        if lost_chunks(group):
            return {}
        state = json.loads(str(group.attrs["batches"]))
        return state if isinstance(state, dict) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _survey(sweep: Sweep, directory: RunDirectory, present: list[Batch], on_progress: Callable[[str], None]) -> _Survey:
    found, seeds = _Survey(), sweep.configuration.seeds
    for number, batch in enumerate(present, start=1):
        on_progress(f"checking batch {number}/{len(present)}")
        arrays = directory.load(batch)
        if arrays is None:
            found.damaged.append(batch)
            continue
        found.finished.append(batch)
        for cell, stored in _by_cell(arrays).items():
            for name, array in stored.items():
                shape = shape_in_cell(name, array, seeds)
                known = found.shapes.setdefault(name, shape)
                found.shapes[name] = tuple(max(a, b) for a, b in zip(known, shape, strict=True))
            found.seconds[cell] = found.seconds.get(cell, 0.0) + float(arrays["wall_time"]) / len(batch.cells)
            if batch.stop - batch.start < seeds and "orbit" in stored:
                found.samples.setdefault(cell, []).append((batch, *_orbit_samples(stored)))
    found.shapes["wall_time"] = ()
    return found


def _by_cell(arrays: Mapping[str, np.ndarray]) -> dict[int, Arrays]:
    """Arrays of a batch that belong to a cell, by its number."""
    cells: dict[int, dict[str, np.ndarray]] = {}
    for key, array in arrays.items():
        cell, slash, name = key.partition("/")
        if slash:
            cells.setdefault(int(cell), {})[name] = array
    return dict(cells)


def _orbit_samples(stored: Arrays) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """First limit of every orbit of a batch, in the order of the labels, and the number of flows that end there."""
    rows = np.flatnonzero(~np.isnan(stored["orbit"]))
    _, firsts, counts = np.unique(stored["orbit"][rows], return_index=True, return_counts=True)
    layers = sum(name.startswith("limit_w") for name in stored)
    return tuple(stored[f"limit_w{layer}"][rows[firsts]] for layer in range(1, layers + 1)), counts


def _orbit_labels(sweep: Sweep, survey: _Survey) -> dict[int, np.ndarray]:
    """For batches that hold part of a cell: the number within the whole cell of every orbit of the batch."""
    labels: dict[int, np.ndarray] = {}
    for cell, samples in survey.samples.items():
        arch = architecture(sweep.cells[cell].configuration).convolution()
        filters: tuple[Any, ...] = tuple(
            np.concatenate([limits[layer] for _, limits, _ in samples]).reshape(-1, *shape)
            for layer, shape in enumerate(arch.layer_shapes)
        )
        if not len(filters[0]):
            continue
        same = lf.critical.orbits(arch, filters).labels
        counts = np.bincount(same, np.concatenate([count for _, _, count in samples]))
        rank = np.empty(len(counts), int)
        rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
        ends = np.cumsum([len(count) for _, _, count in samples])
        for (batch, _, count), end in zip(samples, ends, strict=True):
            labels[batch.number] = rank[same[end - len(count) : end]]
    return labels


def _chunks(sweep: Sweep, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Number of cells along every axis, and of seeds, per slab: the last axes are kept whole where memory allows."""
    flow = 8 * sum(int(np.prod(shape[1:])) for name, shape in shapes.items() if per_seed(name))
    room = max(1, _SLAB_BYTES // flow)
    chunks = []
    for size in reversed((*sweep.shape, sweep.configuration.seeds)):
        chunks.append(max(1, min(size, room)))
        room //= size
    return tuple(reversed(chunks))


def _write_slabs(
    sweep: Sweep,
    directory: RunDirectory,
    survey: _Survey,
    chunks: tuple[int, ...],
    group: Any,
    on_progress: Callable[[str], None],
) -> None:
    of_cell: dict[int, list[Batch]] = {}
    for batch in survey.finished:
        for cell in batch.cells:
            of_cell.setdefault(cell, []).append(batch)
    labels = _orbit_labels(sweep, survey)
    whole = (*sweep.shape, sweep.configuration.seeds)
    corners = list(itertools.product(*(range(0, size, chunk) for size, chunk in zip(whole, chunks, strict=True))))
    numbers = np.arange(len(sweep.cells)).reshape(sweep.shape)
    loaded: dict[Batch, dict[int, Arrays]] = {}
    for count, corner in enumerate(corners, start=1):
        on_progress(f"writing part {count}/{len(corners)}")
        box = tuple(slice(start, min(start + c, n)) for start, c, n in zip(corner, chunks, whole, strict=True))
        cells = {index: int(cell) for index, cell in np.ndenumerate(numbers[box[:-1]])}
        needed = {
            index: [b for b in of_cell.get(cell, []) if b.start < box[-1].stop and b.stop > box[-1].start]
            for index, cell in cells.items()
        }
        batches = dict.fromkeys(itertools.chain(*needed.values()))
        loaded = {batch: loaded.get(batch) or _by_cell(directory.load(batch) or {}) for batch in batches}
        slab = _Slab(box, survey.shapes)
        for index, cell in cells.items():
            for batch in needed[index]:
                for name, array in loaded[batch].get(cell, {}).items():
                    if name == "orbit" and batch.number in labels:
                        known = np.nan_to_num(array).astype(int)
                        array = np.where(np.isnan(array), np.nan, labels[batch.number][known])
                    slab.put(index, name, array, batch.start)
            slab.put(index, "wall_time", np.asarray(survey.seconds.get(cell, np.nan)), 0)
        slab.write(group)


class _Slab:
    """Values of all variables in a box of cells and seeds; those of whole cells come with their first seeds."""

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
