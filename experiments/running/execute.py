"""A run from its beginning to its results, or from where it was left.

Configuration and manifest are written first; every process that works on a run adds a session to its manifest.
"""

import json
import os
import platform
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

import lcnn_flow as lf
from experiments.computing.build import build_problem
from experiments.errors import Interrupted, RunError, UserError, command, reason
from experiments.planning.batches import Batch, batches, data_digests, label_of
from experiments.running.begun import batch_lines, load_run
from experiments.running.collect import collect
from experiments.running.engines.base import Task
from experiments.running.engines.choice import Choice, open_engine
from experiments.running.progress import Monitor
from experiments.running.runtime import configure, environment
from experiments.running.schedule import Finished, Schedule
from experiments.running.store import RunDirectory, digest
from experiments.sweeps.sweep import Cell, Sweep

__all__ = ["Summary", "begin", "changes_since_begun", "check_problems", "collect_run", "go_on"]


class Summary(NamedTuple):
    """What a session of a run has done."""

    batches: int
    """Of the whole run."""
    finished: int
    """Of them, in the results."""
    failed: dict[str, str]
    """Errors by the name of the batch."""
    seconds: float
    compiling: float
    """Seconds of compilation, those of all workers together."""


def check_problems(sweep: Sweep) -> None:
    """Builds one cell of every kind of data, so that unusable data are reported before anything is computed.

    Raises:
        UserError: the library refused the data or a value, or the data overflow.
    """
    for cell in _distinct(sweep):
        _, data, _ = build_problem(cell.configuration)
        if not (np.isfinite(data.inputs).all() and np.isfinite(data.targets).all()):
            raise UserError(f"the data of the cell {cell.name} overflow: lower the sizes of inputs, targets and noise")


def _distinct(sweep: Sweep) -> Iterator[Cell]:
    """The first cell of every network, loss and data; other seeds and noise of the same data are no new kind."""
    known = set()
    for cell in sweep.cells:
        kind = cell.configuration.model_dump(mode="json", include={"network", "data", "loss"})
        kind["data"] = {key: value for key, value in kind["data"].items() if key not in ("seed", "noise")}
        key = json.dumps(kind, sort_keys=True)
        if key not in known:
            known.add(key)
            yield cell


def begin(sweep: Sweep, directory: RunDirectory) -> None:
    """Stores configuration and manifest of a new run.

    Raises:
        UserError: the disk does not take them; nothing has been computed yet.
    """
    all_batches = batches(sweep)
    manifest = {
        "configuration_sha256": digest(sweep.toml()),
        "started": _now(),
        "cells": len(sweep.cells),
        "data": data_digests(sweep),
        "seeds": {"count": sweep.configuration.seeds, "key": f"fold_in(key({sweep.configuration.root_seed}), seed)"},
        "compile_groups": [[cell.number for cell in group] for group in sweep.groups()],
        "batches": batch_lines(all_batches),
        "lanes": _lanes(sweep),
        **environment(),
        "sessions": [],
    }
    try:
        directory.write_configuration(sweep.toml())
        directory.write_manifest(manifest)
    except OSError as error:
        raise UserError(
            f"{directory.path}: configuration and manifest cannot be stored: {reason(error)}; make room, or name "
            "another directory with --out"
        ) from error


def _lanes(sweep: Sweep) -> dict[str, Any]:
    """How flows share a device, in the first compile group."""
    if sweep.configuration.flow.times is not None:
        return {"kind": "flows of a block in lockstep"}
    _, _, risk = build_problem(sweep.configuration)
    if not risk.network.is_linear:
        return {"kind": "flows of a block in lockstep"}
    described = lf.describe(risk)
    return {"kind": "a lane takes the next seed of its block when its flow ends", "count": described.lanes}


def changes_since_begun(directory: RunDirectory) -> list[str]:
    """What is not as it was when the run was begun, and may change the last bits of results."""
    begun, now = directory.read_manifest(), environment()
    found = []
    for section in ("versions", "precision"):
        before = begun.get(section)
        for name, value in now[section].items():
            if isinstance(before, dict) and name in before and before[name] != value:
                found.append(f"{name} was {before[name]} when the run was begun and is {value} now")
    return found


def go_on(sweep: Sweep, directory: RunDirectory, choice: Choice, monitor: Monitor, cache: bool = True) -> Summary:
    """Computes what is missing, and collects the results; every session is recorded in the manifest.

    Raises:
        UserError: the engine cannot be started, or the files in batches/ are those of another configuration.
        RunError: the engine was lost, or batches or results cannot be stored; what is stored is kept.
        Interrupted: Ctrl-C, or a signal to terminate; likewise.
    """
    started, all_batches = time.perf_counter(), batches(sweep)
    toml, session = sweep.toml(), _session(choice)
    _look_at_files(directory, all_batches)
    for batch in all_batches:
        if directory.has(batch):
            monitor.found(batch)

    def task(batch: Batch) -> Task:
        place = str(directory.path.resolve()) if choice.name == "slurm" else None
        return Task(toml, batch.number, batch.key, cache, place)

    schedule = Schedule(directory, all_batches, task, sweep.configuration.compute.retries, monitor, monitor.ended)
    finished = Finished(0, {}, (), False)
    problem: BaseException | None = None
    if schedule.missing:
        engine = open_engine(choice, sweep, directory.path, monitor)
        try:
            _record(directory, sweep, session)
            finished = schedule.run(engine)
        except BaseException as error:  # whatever it was: what is stored is collected, and the session recorded
            problem = error
        finally:
            engine.close(now=problem is not None)
    session |= {
        "ended": _now(),
        "wall_time_s": round(time.perf_counter() - started, 3),
        "compilation_s": round(finished.compiling, 3),
        "batches": finished.computed,
        "devices": list(finished.devices),
    }
    collected: int | None = None
    try:
        _record(directory, sweep, session)
        collected = collect(sweep, directory, all_batches, monitor.say)
    except RunError as error:
        problem = problem or error
    except OSError as error:
        problem = problem or RunError(f"the results cannot be stored: {reason(error)}")
    done = sum(map(directory.has, all_batches))
    verb = "resume" if done < len(all_batches) else "collect"
    kept = f"{done} of {len(all_batches)} batches were finished and are kept in {directory.path}"
    kept += f"; go on with: {command(verb, directory.path)}"
    if isinstance(problem, KeyboardInterrupt) or (problem is None and finished.stopped):
        raise Interrupted(f"interrupted; {kept}")
    if problem is not None:
        text = str(problem) if isinstance(problem, RunError) else f"the engine was lost: {_words(problem)}"
        raise RunError(f"{text}\n{kept}") from problem
    failed = {label_of(sweep, batch): error for batch, error in finished.failed.items()}
    if collected == len(all_batches):
        directory.tidy_up()
    return Summary(len(all_batches), done, failed, time.perf_counter() - started, finished.compiling)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"


def collect_run(directory: RunDirectory, tell: Callable[[str], None] = lambda _: None) -> tuple[int, int]:
    """Collects the results of a run; returns the numbers of collected and of all batches. `tell` hears how far it is.

    Raises:
        UserError: no batch is finished, or the configuration, the manifest or the store cannot be used.
    """
    sweep = load_run(directory)
    configure(sweep.configuration.compute.precision)
    all_batches = batches(sweep)
    try:
        collected = collect(sweep, directory, all_batches, tell)
    except OSError as error:
        raise UserError(f"{directory.path}: results cannot be stored: {reason(error)}") from error
    if collected == len(all_batches):
        directory.tidy_up()
    if collected == 0:
        raise UserError(f"{directory.path}: no batch is finished; {command('resume', directory.path)}")
    return collected, len(all_batches)


def _look_at_files(directory: RunDirectory, all_batches: tuple[Batch, ...]) -> None:
    """Sets damaged files aside, and refuses a directory that holds batches of something else alone."""
    known = [batch for batch in all_batches if directory.has(batch)]
    foreign = directory.foreign(all_batches)
    if foreign and not known:
        raise UserError(
            f"{directory.path}: the {len(foreign)} files in batches/ are those of another configuration or version: "
            "undo what has changed, or start another run with --out"
        )
    for batch in known:
        directory.load(batch)


def _session(choice: Choice) -> dict[str, Any]:
    return {
        "name": uuid.uuid4().hex[:12],
        "started": _now(),
        "host": platform.node(),
        "process": os.getpid(),
        "engine": choice.name,
        "workers": choice.workers,
        **environment(),
    }


def _record(directory: RunDirectory, sweep: Sweep, session: dict[str, Any]) -> None:
    """Writes a session into the manifest, or over its earlier state there; several processes may do so."""
    lock = directory.locks.wait_for("manifest")
    try:
        manifest = directory.read_manifest() or {"configuration_sha256": digest(sweep.toml()), **environment()}
        others = [s for s in manifest.get("sessions", []) if s.get("name") != session["name"]]
        manifest["sessions"] = [*others, session]
        manifest["wall_time_s"] = round(sum(map(_seconds, manifest["sessions"])), 3)
        directory.write_manifest(manifest)
    except OSError as error:
        raise RunError(f"manifest.json cannot be stored: {reason(error)}") from error
    finally:
        lock.release()


def _seconds(session: dict[str, Any]) -> float:
    """Wall time of a session; 0 for one that has not ended, or was edited."""
    seconds = session.get("wall_time_s")
    return float(seconds) if isinstance(seconds, int | float) and 0 <= seconds < 1e12 else 0.0


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
