"""What a run directory says about its run: configuration and manifest, written when it begins, then every session.

A session is one process that computes batches of the run, from its start to its end.
"""

import os
import platform
import time
import uuid
from collections.abc import Mapping
from typing import Any

from experiments.errors import RunError, UserError, reason
from experiments.planning.keys import data_digests
from experiments.planning.plan import Plan
from experiments.running.begun import batch_lines
from experiments.running.engines.choice import Choice
from experiments.running.runtime import environment
from experiments.running.store import RunDirectory, digest

__all__ = ["begin", "changes_since_begun", "new_session", "record_session", "time_stamp"]


def begin(plan: Plan, directory: RunDirectory) -> None:
    """Stores configuration and manifest of a new run.

    Raises:
        UserError: they cannot be stored, or the library refused a value; nothing has been computed yet.
    """
    sweep, toml = plan.sweep, plan.sweep.toml()
    how_flows_share_a_device: dict[str, Any] = {"kind": "flows of a block in lockstep"}
    if lanes := plan.work[0].lanes:  # in the first compile group
        kind = "a lane takes the next seed of its block when its flow ends"
        how_flows_share_a_device = {"kind": kind, "count": lanes}
    manifest = {
        "configuration_sha256": digest(toml),
        "started": time_stamp(),
        "cells": len(sweep.cells),
        "data": data_digests(sweep),
        "seeds": {"count": sweep.configuration.seeds, "key": f"fold_in(key({sweep.configuration.root_seed}), seed)"},
        "compile_groups": [[cell.number for cell in group] for group in sweep.groups],
        "batches": batch_lines(plan.batches),
        "lanes": how_flows_share_a_device,
        **environment(),
        "sessions": [],
    }
    try:
        directory.write_configuration(toml)
        directory.write_manifest(manifest)
    except OSError as error:
        raise UserError(
            f"{directory.path}: configuration and manifest cannot be stored: {reason(error)}; make room, or name "
            "another directory with --out"
        ) from error


def changes_since_begun(directory: RunDirectory) -> list[str]:
    """Versions and settings of precision that are not those with which the run was begun, in one sentence each."""
    begun, now = directory.read_manifest(), environment()
    found: list[str] = []
    for section in ("versions", "precision"):
        before = begun.get(section)
        for name, value in now[section].items():
            if isinstance(before, dict) and name in before and before[name] != value:
                found.append(f"{name} was {before[name]} when the run was begun and is {value} now")
    return found


def new_session(choice: Choice) -> dict[str, Any]:
    """A session of this process, which starts now."""
    return {
        "name": uuid.uuid4().hex[:12],
        "started": time_stamp(),
        "host": platform.node(),
        "process": os.getpid(),
        "engine": choice.name,
        "workers": choice.workers,
        **environment(),
    }


def record_session(plan: Plan, directory: RunDirectory, session: Mapping[str, Any]) -> None:
    """Writes a session into the manifest, in place of its earlier state there.

    Several processes may do so at the same time.

    Raises:
        RunError: the manifest cannot be stored.
    """
    lock = directory.locks.wait_for("manifest")
    try:
        manifest = directory.read_manifest() or {"configuration_sha256": digest(plan.sweep.toml()), **environment()}
        others = [s for s in manifest.get("sessions", []) if s.get("name") != session["name"]]
        manifest["sessions"] = [*others, session]
        manifest["wall_time_s"] = round(sum(map(_seconds, manifest["sessions"])), 3)
        directory.write_manifest(manifest)
    except OSError as error:
        raise RunError(f"manifest.json cannot be stored: {reason(error)}") from error
    finally:
        lock.release()


def _seconds(session: Mapping[str, Any]) -> float:
    """Wall time of a session; 0 for a session that has not ended or whose entry was edited."""
    seconds = session.get("wall_time_s")
    return float(seconds) if isinstance(seconds, int | float) and 0 <= seconds < 1e12 else 0.0


def time_stamp() -> str:
    """The current time with its zone, in ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
