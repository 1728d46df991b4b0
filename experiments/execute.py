"""Runs a sweep: cell after cell, group after group, saving what is finished.

All seeds of a cell go to one call of the library, which cuts them into blocks; cells of one group follow
each other, so that its program is compiled once.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import lcnn_flow as lf
from experiments.build import build_problem, flow_options, initial_filters
from experiments.errors import RunError
from experiments.results import assemble, describe_problem, flow_arrays
from experiments.runtime import environment
from experiments.store import RunDirectory, digest
from experiments.sweep import Cell, Sweep

__all__ = ["check_problems", "run_cell", "run_sweep"]

Report = Callable[[Cell, int, int], None]
"""Called with the cell, its seeds done, and all its seeds."""


def check_problems(sweep: Sweep) -> None:
    """Builds one cell of every group, so that unusable data are reported before anything is computed.

    Raises:
        UserError: the library refused the data or a value.
    """
    for group in sweep.groups():
        build_problem(group[0].configuration)


def run_cell(cell: Cell, report: Callable[[int, int], None] | None = None) -> dict[str, np.ndarray]:
    """Flows of one cell as flat arrays, ready to be stored."""
    started = time.perf_counter()
    arch, data, risk = build_problem(cell.configuration)
    params = initial_filters(cell.configuration, arch)
    flow = lf.gradient_flow_ensemble(risk, params, progress=report, **flow_options(cell.configuration))
    flow = jax.block_until_ready(flow)
    stored = {**flow_arrays(arch, flow), **describe_problem(arch, data)}
    stored["wall_time"] = np.asarray(time.perf_counter() - started)
    return stored


def run_sweep(sweep: Sweep, directory: RunDirectory, report: Report) -> dict[str, Any]:
    """Computes all cells, stores configuration, manifest, cells and results; returns the manifest.

    Raises:
        RunError: the library or the machine gave up in the middle; finished cells are kept and collected.
        KeyboardInterrupt: passed on, after finished cells were collected.
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
    directory.write_configuration(toml)
    directory.write_manifest(manifest)
    try:
        for cell in (cell for group in groups for cell in group):
            stored = run_cell(cell, lambda done, total, cell=cell: report(cell, done, total))
            directory.write_cell(cell.number, stored)
            report(cell, sweep.configuration.seeds, sweep.configuration.seeds)
    except Exception as error:  # whatever it was: what is finished must not be lost
        done = _collect(sweep, directory, manifest, started)
        raise RunError(
            f"cell {cell.name} failed: {type(error).__name__}: {error}\n"
            f"{done} of {len(sweep.cells)} cells were finished and are kept in {directory.path}"
        ) from error
    except KeyboardInterrupt:
        _collect(sweep, directory, manifest, started)
        raise
    _collect(sweep, directory, manifest, started)
    return manifest


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
