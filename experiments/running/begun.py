"""Reads the plan of a run from its directory, without JAX where that is possible: the command `status` needs no more.

A configuration that is still as the run wrote it was checked when the run was begun, and is not checked again.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.errors import UserError
from experiments.planning.batches import Batch, batch_of
from experiments.planning.keys import data_digests
from experiments.planning.plan import Plan, plan_of
from experiments.running.store import RunDirectory, digest
from experiments.sweeps.sweep import Sweep, sweep_of_toml

__all__ = ["batch_lines", "begun_plan", "load_run"]

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
        from experiments.planning.loading import load  # imported here, because it needs JAX

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
    """The sweep of a configuration every byte of which is as the run wrote it; None for any other configuration."""
    try:
        text = (directory.path / "config.toml").read_text("utf-8")
        if begun != digest(text):
            return None
        sweep = sweep_of_toml(text)
        _ = sweep.cells
    except (OSError, ValueError, UserError):  # written by another version, or not readable: `load` reports the reason
        return None
    return sweep


def batch_lines(all_batches: Sequence[Batch]) -> list[str]:
    """Lines of the manifest, one per batch, which `begun_plan` reads."""
    return [f"cells {','.join(map(str, b.cells))} seeds {b.start}-{b.stop - 1}" for b in all_batches]


def begun_plan(directory: RunDirectory) -> Plan:
    """The plan with which a run was begun, from its manifest; only if that does not say it, the sweep is cut again.

    Raises:
        UserError: the configuration, the manifest or a data file cannot be used.
    """
    sweep = load_run(directory)
    batches = _batches_of_manifest(sweep, directory.read_manifest())
    return plan_of(sweep) if batches is None else Plan(sweep, batches)


def _batches_of_manifest(sweep: Sweep, manifest: Mapping[str, Any]) -> tuple[Batch, ...] | None:
    """The batches that `batch_lines` wrote; None where the manifest does not hold batches of this sweep."""
    found: list[Batch] = []
    for line in manifest.get("batches", []):
        match = _LINE.fullmatch(str(line))
        if match is None:
            return None
        cells, start, stop = tuple(map(int, match[1].split(","))), int(match[2]), int(match[3]) + 1
        if max(cells) >= len(sweep.cells) or not start < stop <= sweep.configuration.seeds:
            return None
        found.append(batch_of(sweep, len(found), cells, start, stop))
    return tuple(found) or None
