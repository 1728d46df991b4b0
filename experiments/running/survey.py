"""One pass over all batch files of a run, before they are collected: which are whole, and what they say together.

Batches number their orbits (critical points up to rescaling) on their own, the most frequent first. Where a cell has
several batches, the survey finds the number of each orbit within the whole cell.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import lcnn_flow as lf
from experiments.networks import architecture
from experiments.planning.batches import Batch
from experiments.results.layout import shape_in_cell
from experiments.running.store import RunDirectory
from experiments.schema import Configuration
from experiments.sweeps.sweep import Sweep

__all__ = ["Survey", "survey"]


@dataclass
class Survey:
    """What the finished batches of a run hold."""

    finished: list[Batch] = field(default_factory=list)
    damaged: list[Batch] = field(default_factory=list)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Shape of every variable in one cell; the largest one, where cells differ."""
    seconds: dict[int, float] = field(default_factory=dict)
    """Wall time by the number of the cell."""
    orbit_numbers: dict[int, np.ndarray] = field(default_factory=dict)
    """For every batch that holds part of a cell: the number within the whole cell of each of its orbits."""


class _Orbits:
    """The first limit of every orbit of a batch, layer by layer, and the number of flows that end there."""

    def __init__(self, batch: Batch, stored: Mapping[str, np.ndarray]) -> None:
        rows = np.flatnonzero(~np.isnan(stored["orbit"]))
        _, firsts, self.counts = np.unique(stored["orbit"][rows], return_index=True, return_counts=True)
        layers = sum(name.startswith("limit_w") for name in stored)
        self.batch = batch
        self.limits = [stored[f"limit_w{layer}"][rows[firsts]] for layer in range(1, layers + 1)]


def survey(
    sweep: Sweep, directory: RunDirectory, batches: Sequence[Batch], on_progress: Callable[[str], None]
) -> Survey:
    """Reads the files of some batches; damaged files are set aside."""
    found, seeds = Survey(), sweep.configuration.seeds
    orbits: dict[int, list[_Orbits]] = {}
    for number, batch in enumerate(batches, start=1):
        on_progress(f"checking batch {number}/{len(batches)}")
        cells = directory.load_cells(batch)
        if cells is None:
            found.damaged.append(batch)
            continue
        found.finished.append(batch)
        for cell, stored in cells.items():
            found.seconds[cell] = found.seconds.get(cell, 0.0) + float(stored.pop("wall_time"))
            for name, array in stored.items():
                shape = shape_in_cell(name, array, seeds)
                known = found.shapes.setdefault(name, shape)
                found.shapes[name] = tuple(max(a, b) for a, b in zip(known, shape, strict=True))
            if batch.stop - batch.start < seeds and "orbit" in stored:
                orbits.setdefault(cell, []).append(_Orbits(batch, stored))
    found.shapes["wall_time"] = ()
    for cell, parts in orbits.items():
        found.orbit_numbers |= _numbers_in_cell(sweep.cells[cell].configuration, parts)
    return found


def _numbers_in_cell(configuration: Configuration, parts: Sequence[_Orbits]) -> dict[int, np.ndarray]:
    """The number within a cell of every orbit of its batches, by the number of the batch; the most frequent first."""
    arch = architecture(configuration).convolution()
    filters: tuple[Any, ...] = tuple(
        np.concatenate([part.limits[layer] for part in parts]).reshape(-1, *shape)
        for layer, shape in enumerate(arch.layer_shapes)
    )
    if not len(filters[0]):
        return {}
    labels = lf.critical.orbits(arch, filters).labels
    counts = np.bincount(labels, np.concatenate([part.counts for part in parts]))
    rank = np.empty(len(counts), int)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    ends = np.cumsum([len(part.counts) for part in parts])
    return {
        part.batch.number: rank[labels[end - len(part.counts) : end]] for part, end in zip(parts, ends, strict=True)
    }
