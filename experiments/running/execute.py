"""Runs a sweep: cell after cell, group after group, saving what is finished.

All seeds of a cell go to one call of the library, which cuts them into blocks; cells of one group follow
each other, so that its program is compiled once.
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import lcnn_flow as lf
from experiments.analysis import analyse
from experiments.build import build_problem, flow_options, initial_filters
from experiments.certification import Certifier
from experiments.errors import Interrupted, RunError, UserError
from experiments.loading import load
from experiments.modules import MODULES
from experiments.results import assemble, describe_problem, flow_arrays
from experiments.runtime import configure, environment
from experiments.store import RunDirectory, digest
from experiments.sweep import Cell, Sweep

__all__ = ["check_problems", "collect_again", "run_cell", "run_sweep"]

Report = Callable[[Cell, int, int, str], None]
"""Called with the cell, its seeds done, all its seeds, and a word on what is going on."""


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


def run_cell(cell: Cell, report: Callable[..., None], certifier: Certifier) -> dict[str, np.ndarray]:
    """Flows of one cell, and what was found out about them, as flat arrays, ready to be stored."""
    started = time.perf_counter()
    configuration, seeds = cell.configuration, cell.configuration.seeds
    arch, data, risk = build_problem(configuration)
    params = initial_filters(configuration, arch)
    prepare = MODULES[configuration.experiment.module].prepare
    risk, prepared = prepare(configuration, risk, params, lambda note: report(0, seeds, note))
    flow = lf.gradient_flow_ensemble(risk, params, progress=report, **flow_options(configuration))
    stored = {**flow_arrays(arch, flow), **describe_problem(data, lf.theory.hypotheses(risk)), **prepared}
    stored |= analyse(risk, params, flow, certifier, lambda note: report(seeds - 1, seeds, note))
    stored["wall_time"] = np.asarray(time.perf_counter() - started)
    return stored


def run_sweep(sweep: Sweep, directory: RunDirectory, report: Report) -> dict[str, Any]:
    """Computes all cells, stores configuration, manifest, cells and results; returns the manifest.

    Raises:
        RunError: the library or the machine gave up in the middle; finished cells are kept and collected.
        Interrupted: Ctrl-C; likewise.
    """
    started = time.perf_counter()
    toml = sweep.toml()
    groups = sweep.groups()
    manifest: dict[str, Any] = {
        "configuration_sha256": digest(toml),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "cells": len(sweep.cells),
        "seeds": sweep.configuration.seeds,
        "compile_groups": [[cell.number for cell in group] for group in groups],
        **environment(),
    }
    where = "storing the configuration"
    try:
        directory.write_configuration(toml)
        directory.write_manifest(manifest)
        with Certifier(sweep.configuration.analysis.certify) as certifier:
            for cell in (cell for group in groups for cell in group):
                where = f"cell {cell.name}"

                def tell(done: int, total: int, note: str = "", cell: Cell = cell) -> None:
                    if done < total:
                        report(cell, done, total, note)

                stored = run_cell(cell, tell, certifier)
                directory.write_cell(cell.number, stored)  # only then is the cell said to be finished
                report(cell, sweep.configuration.seeds, sweep.configuration.seeds, "")
        where = "storing the results"
        _collect(sweep, directory, manifest, started)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; {_keep(sweep, directory, manifest, started)}") from None
    except Exception as error:  # whatever it was: what is finished must not be lost
        kept = _keep(sweep, directory, manifest, started)
        raise RunError(f"{where} failed: {type(error).__name__}: {_first_line(error)}\n{kept}") from error
    return manifest


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "")


def _keep(sweep: Sweep, directory: RunDirectory, manifest: dict[str, Any], started: float) -> str:
    """Collects what is finished, where that is still possible, and says what was kept."""
    cells = len(directory.finished())
    text = f"{cells} of {len(sweep.cells)} cells were finished and are kept in {directory.path}"
    try:
        _collect(sweep, directory, manifest, started)
    except (OSError, UserError) as error:
        text += f", not yet as results.zarr ({_first_line(error)}); when that is mended: "
        return f"{text}python -m experiments report {directory.path}"
    return text


def collect_again(path: str | Path) -> None:
    """Writes results.zarr from the finished cells of a run that was killed before it could; else does nothing.

    Raises:
        UserError: the configuration, the manifest or a cell cannot be read.
    """
    directory = RunDirectory(Path(path))
    started = [directory.path / name for name in ("config.toml", "manifest.json")]
    if (directory.path / "results.zarr").exists() or not directory.finished() or not all(f.is_file() for f in started):
        return
    sweep = load(started[0])
    configure(sweep.configuration.compute.precision)
    try:
        manifest = json.loads(started[1].read_text())
        directory.write_results(assemble(sweep, dict(directory.cells()), manifest))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: its cells cannot be collected: {_first_line(error)}") from error


def _collect(sweep: Sweep, directory: RunDirectory, manifest: dict[str, Any], started: float) -> int:
    """Writes results.zarr and the final manifest from the finished cells; returns their number."""
    cells = dict(directory.cells())
    manifest["cells_finished"] = len(cells)
    manifest["wall_time_s"] = round(time.perf_counter() - started, 3)
    manifest["wall_time_of_cells_s"] = {str(n): round(float(c["wall_time"]), 3) for n, c in sorted(cells.items())}
    directory.write_manifest(manifest)
    if cells:
        directory.write_results(assemble(sweep, cells, manifest))
    return len(cells)
