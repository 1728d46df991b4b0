"""Collects the finished batches of a run into results.zarr; doing it twice changes nothing."""

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zarr

from experiments.errors import UserError
from experiments.planning.batches import Batch
from experiments.planning.plan import Plan
from experiments.results.files import atomic_replace
from experiments.results.layout import not_computed, per_seed, skeleton
from experiments.results.opening import lost_chunks
from experiments.running.slab_writing import slab_shape, write_slabs
from experiments.running.store import RunDirectory
from experiments.running.survey import survey

__all__ = ["collect"]


def collect(plan: Plan, directory: RunDirectory, on_progress: Callable[[str], None] = lambda _: None) -> int:
    """Writes results.zarr from the finished batches, unless it holds exactly these already; returns their number.

    Once all batches are collected, lock files and temporary files of killed processes are removed.

    Args:
        plan: the plan of the run.
        directory: the run directory, in which the batches are.
        on_progress: called with a text that describes the progress.

    Raises:
        UserError: the store holds batches whose files are missing; the store is not changed.
        OSError: the store cannot be written; the batches are untouched.
    """
    with contextlib.ExitStack() as stack:
        stack.callback(directory.locks.wait_for("collect").release)
        for remains in directory.path.glob(".results.zarr.*.tmp"):  # of processes that were killed
            shutil.rmtree(remains, ignore_errors=True)
        collected = _collect(plan, directory, on_progress)
    if collected == len(plan.batches):
        directory.tidy_up()
    return collected


def _collect(plan: Plan, directory: RunDirectory, on_progress: Callable[[str], None]) -> int:
    store = directory.path / "results.zarr"
    present = [batch for batch in plan.batches if directory.has(batch)]
    stored, checksums = _stored_checksums(store), _checksums(directory, present)
    if stored == checksums:
        return len(present)
    found = survey(plan.sweep, directory, present, on_progress)
    finished = {batch.key: checksums[batch.key] for batch in found.finished}
    if lost := set(stored) - set(checksums):
        raise UserError(
            f"{store} holds {len(lost)} batches whose files are gone from batches/, and is left as it is: "
            "remove it to collect what is there"
        )
    if not found.finished:
        return 0
    attributes = {"manifest": json.dumps(directory.read_manifest()), "batches": json.dumps(finished)}
    empty = skeleton(plan.sweep, found.shapes, attributes)
    slab = slab_shape(plan.sweep, found.shapes)
    encoding: dict[str, dict[str, Any]] = {}
    for name, shape in found.shapes.items():
        own = shape[1:] if per_seed(name) else shape
        along = slab if per_seed(name) else slab[:-1]
        encoding[name] = {"chunks": (*along, *(max(1, n) for n in own)), "fill_value": not_computed(name)}
    with atomic_replace(store) as temporary:
        empty.to_zarr(temporary, mode="w", consolidated=False, encoding=encoding)
        with zarr.config.set({"array.write_empty_chunks": True}):  # so that a lost chunk can be told from an empty one
            write_slabs(plan.sweep, directory, found, slab, zarr.open_group(temporary, mode="r+"), on_progress)
    return len(found.finished)


def _checksums(directory: RunDirectory, batches: list[Batch]) -> dict[str, str]:
    """Checksums of batch files, which are the last 64 bytes of the files, by the key of the batch."""
    found: dict[str, str] = {}
    for batch in batches:
        with directory.batch_path(batch).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 64))
            found[batch.key] = file.read().decode("latin-1")
    return found


def _stored_checksums(store: Path) -> dict[str, str]:
    """Checksums of the batches that a store was made from; empty if it cannot be read or has lost chunks."""
    try:
        group = zarr.open_group(store, mode="r")
        if lost_chunks(group):
            return {}
        checksums = json.loads(str(group.attrs["batches"]))
        return checksums if isinstance(checksums, dict) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
