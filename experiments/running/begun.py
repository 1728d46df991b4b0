"""What a run directory says about its run: its sweep, and how that was cut into batches; light, for `status`.

A configuration that is still as the run wrote it was checked then, and is not checked again.
"""

import re
from collections.abc import Sequence
from typing import Any

from experiments.errors import UserError
from experiments.planning.batches import Batch, batch_of, batches, data_digests
from experiments.running.store import RunDirectory, digest
from experiments.sweeps.sweep import Sweep, sweep_of_toml

__all__ = ["batch_lines", "begun_batches", "load_run"]

_LINE = re.compile(r"cells ([0-9]{1,9}(?:,[0-9]{1,9})*) seeds ([0-9]{1,9})-([0-9]{1,9})")


def load_run(directory: RunDirectory) -> Sweep:
    """The sweep of a run directory.

    Raises:
        UserError: its configuration cannot be used, or is not the one that the run was begun with.
    """
    file = directory.path / "config.toml"
    manifest = directory.read_manifest()
    begun = manifest.get("configuration_sha256")
    sweep = _as_written(directory, begun)
    if sweep is None:
        from experiments.planning.loading import load  # here: it needs JAX, which `status` can do without

        sweep = load(file)
        if begun is not None and begun != digest(sweep.toml()):
            message = "has changed since the run was begun: undo that, or start another run of it with --out"
            raise UserError(f"{file} {message}")
    before = manifest.get("data")
    for path, found in data_digests(sweep).items():
        if isinstance(before, dict) and before.get(path, found) != found:
            raise UserError(f"{path} has changed since the run was begun: undo that, or start another run with --out")
    return sweep


def _as_written(directory: RunDirectory, begun: str | None) -> Sweep | None:
    """The sweep of a configuration whose every byte is as the run wrote it; None for any other."""
    try:
        text = (directory.path / "config.toml").read_text("utf-8")
        if begun != digest(text):
            return None
        sweep = sweep_of_toml(text)
        _ = sweep.cells
    except (OSError, ValueError, UserError):  # written by another version, or not to be read: `load` says what it is
        return None
    return sweep


def batch_lines(all_batches: Sequence[Batch]) -> list[str]:
    """Lines of the manifest, one per batch, that `begun_batches` reads."""
    return [f"cells {','.join(map(str, b.cells))} seeds {b.start}-{b.stop - 1}" for b in all_batches]


def begun_batches(sweep: Sweep, manifest: dict[str, Any]) -> tuple[Batch, ...]:
    """The batches that a run was begun with; where its manifest does not say, those that the sweep is cut into now.

    Raises:
        UserError: a data file cannot be read.
    """
    lines = [_LINE.fullmatch(str(line)) for line in manifest.get("batches", [])]
    found: list[Batch] = []
    for match in lines:
        if match is None:
            return batches(sweep)
        cells, start, stop = tuple(map(int, match[1].split(","))), int(match[2]), int(match[3]) + 1
        if max(cells) >= len(sweep.cells) or not start < stop <= sweep.configuration.seeds:
            return batches(sweep)
        found.append(batch_of(sweep, len(found), cells, start, stop))
    return tuple(found) if found else batches(sweep)
