"""Computes one batch: the flows of its cells and their analysis, as flat arrays that are ready to be stored.

The cells of a batch run as conditions of one ensemble if their data have the same shapes.
"""

import functools
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lcnn_flow as lf
from experiments.computing.analysis import analyse
from experiments.computing.build import build_problem, flow_options, initial_filters
from experiments.computing.census import ends_of_flows, points_of_cell
from experiments.computing.certification import Certifier
from experiments.computing.descents import descents
from experiments.computing.observables import observables_of
from experiments.computing.shown_data import shown_data
from experiments.computing.shown_flows import shown_flows
from experiments.computing.solved_cell import SolvedCell
from experiments.errors import UserError
from experiments.modules import Module
from experiments.modules.finding import find_module
from experiments.planning.batches import Batch, still_defined
from experiments.results.layout import describe_problem, flow_arrays
from experiments.running.batch_files import encode
from experiments.running.compilation import Compilation
from experiments.running.engines.base import Outcome
from experiments.schema import FileData
from experiments.sweeps.sweep import Cell, Sweep

__all__ = ["OnProgress", "compute_batch", "compute_outcome", "start_batch"]

_STACKED_BYTES = 256 * 2**20
"""Largest size of the data of several cells that run as one ensemble."""
_FEW_CELLS = 12
"""Largest number of cells of a sweep for which a part of synthetic data is stored, so that reports can show the fit."""

OnProgress = Callable[[int, str], None]
"""Called with the number of flows of the batch that have ended and with a note; all flows count as ended only when the
batch is stored."""


def compute_outcome(sweep: Sweep, batch: Batch) -> Outcome:
    """Computes a batch and packs it in this thread, certificates included; errors are part of the outcome."""
    return start_batch(sweep, batch, lambda done, note: None, Certifier())()


def start_batch(sweep: Sweep, batch: Batch, on_progress: OnProgress, certifier: Certifier) -> Callable[[], Outcome]:
    """Does the part of the work on a batch that needs devices; returns a function that does the rest.

    The returned function waits for the certificates and packs the batch. It may be called in another thread, while the
    devices compute the next batch. Errors are part of the outcome; its seconds count the part that needs devices.
    """
    started, notes = time.perf_counter(), _NotesWithCompilation(on_progress, sweep.noun)
    compilation = Compilation(notes.compiled)
    try:
        notes(0, "")
        with compilation:
            stored = compute_batch(sweep, batch, notes, certifier)
        proofs, seconds = certifier.take(), time.perf_counter() - started
    except Exception as error:  # one failed batch does not end the run
        certifier.take()
        failed = _failure(error)
        return lambda: failed

    def pack() -> Outcome:
        try:
            for wait in proofs:
                wait()
            content = encode(batch, stored)
        except Exception as error:
            return _failure(error)
        device = jax.devices()[0]
        return Outcome(content, f"{device.platform} {device.device_kind}", seconds, compilation.seconds)

    return pack


def _failure(error: Exception) -> Outcome:
    """The outcome of a batch that failed; to be called in the `except` block, because it formats the traceback."""
    line = next(iter(str(error).strip().splitlines()), "")
    if "RESOURCE_EXHAUSTED" in line or isinstance(error, MemoryError):
        jax.clear_caches()  # releases the memory that compiled programs hold
    retryable = not isinstance(error, UserError)
    text = f"{type(error).__name__}: {line}" if retryable else line
    return Outcome(error=text, trace=traceback.format_exc(), retryable=retryable)


class _NotesWithCompilation:
    """An `OnProgress` that adds to every note the seconds spent on compilation so far."""

    def __init__(self, on_progress: OnProgress, noun: str) -> None:
        self._on_progress, self._noun = on_progress, noun
        self._done, self._note, self._compiled = 0, "", ""

    def __call__(self, done: int, note: str) -> None:
        self._done, self._note = done, note
        text = f"{note or f'{self._noun}s'}{self._compiled}" if note or self._compiled else ""
        self._on_progress(done, text)

    def compiled(self, seconds: float) -> None:
        """A large program has been compiled; `seconds` were spent on compilation so far."""
        self._compiled = f", {seconds:.0f} s compiled"
        self(self._done, self._note)


def compute_batch(sweep: Sweep, batch: Batch, on_progress: OnProgress, certifier: Certifier) -> dict[str, np.ndarray]:
    """Arrays of all cells, named "cell/variable", with leading axis seed; and "wall_time" of the batch, in seconds.

    Variables of a whole cell, and certificates, are part of the batch that holds the first seed of the cell.
    """
    started = time.perf_counter()
    cells = [sweep.cells[number] for number in batch.cells]
    module, few = find_module(sweep.configuration.experiment.module), len(sweep.cells) <= _FEW_CELLS
    problems = [_Problem(module, cell, batch, on_progress, few) for cell in cells]
    flows = _flows(module, problems, batch, on_progress)
    stored: dict[str, np.ndarray] = {}
    for problem, flow in zip(problems, flows, strict=True):
        prefix = f"{problem.cell.name}: " if len(cells) > 1 else ""
        configuration = problem.cell.configuration

        def say(text: str, prefix: str = prefix) -> None:
            on_progress(batch.flows - 1, f"{prefix}{text}")

        found = flow_arrays(problem.risk.network, flow) | problem.stored
        solved = SolvedCell(configuration, problem.risk, problem.start, flow)
        found |= module.per_flow(solved) | (shown_flows(solved) | module.per_cell(solved) if batch.start == 0 else {})
        certified = configuration.certificates
        proofs = certified if certified is None or batch.start == 0 else 0
        found |= analyse(problem.risk, problem.start, flow, certifier, proofs, say)
        if configuration.analysis.census:
            say("census")
            found |= ends_of_flows(problem.risk, flow)
            found |= points_of_cell(problem.risk) if batch.start == 0 else {}
        stored |= {f"{problem.cell.number}/{name}": array for name, array in found.items()}
    if not still_defined(sweep, batch):
        raise UserError("a data file has changed during the run: undo that, then resume")
    stored["wall_time"] = np.asarray(time.perf_counter() - started)
    return stored


class _Problem:
    """Risk and initial filters of one cell, and the arrays that are stored before its flows are computed."""

    def __init__(self, module: Module, cell: Cell, batch: Batch, on_progress: OnProgress, few: bool) -> None:
        self.cell = cell
        configuration = cell.configuration
        arch, data, risk = build_problem(configuration)
        self.start = initial_filters(configuration, arch, range(batch.start, batch.stop))
        self.risk, self.stored = module.prepare(configuration, risk, self.start, lambda note: on_progress(0, note))
        if batch.start == 0:
            self.stored = self.stored | describe_problem(self.risk)
            if (few or isinstance(configuration.data, FileData)) and arch.is_linear:
                self.stored = self.stored | shown_data(arch, data)


def _flows(module: Module, problems: Sequence[_Problem], batch: Batch, on_progress: OnProgress) -> list[Any]:
    """The flows or descents of every problem."""
    first = problems[0].cell.configuration
    record = observables_of(module, first)
    options = flow_options(first) | ({"record": record} if record and first.flow.times is not None else {})
    flows = len(problems) * _seeds(problems[0])
    if first.descent is not None:
        progress = functools.partial(_count_flows, on_progress, 0, flows - 1)
        configurations, risks = [p.cell.configuration for p in problems], [p.risk for p in problems]
        return descents(configurations, risks, [p.start for p in problems], batch.start, record, progress)
    if len(problems) > 1 and _alike([problem.risk for problem in problems]):
        risk, start = _stack([p.risk for p in problems]), _stack([p.start for p in problems])
        progress = functools.partial(_count_flows, on_progress, 0, flows - 1)
        together = lf.gradient_flow_ensemble(risk, start, progress=progress, **options)
        return [jax.tree.map(lambda x, i=i: x[i], together) for i in range(len(problems))]
    ended = []
    for problem in problems:
        before = len(ended) * _seeds(problem)
        progress = functools.partial(_count_flows, on_progress, before, flows - 1)
        ended.append(lf.gradient_flow_ensemble(problem.risk, problem.start, progress=progress, **options))
    return ended


def _seeds(problem: _Problem) -> int:
    return len(jax.tree.leaves(problem.start)[0])


def _count_flows(on_progress: OnProgress, before: int, most: int, done: int, total: int) -> None:
    """Reports `done` of `total` flows of an ensemble that follows `before` flows of the same batch; at most `most`."""
    del total
    on_progress(min(before + done, most), "")


def _alike(risks: Sequence[lf.EmpiricalRisk]) -> bool:
    """Whether risks can be stacked: all their arrays have the same shapes and types, and are not too large together."""

    def form(risk: lf.EmpiricalRisk) -> Any:
        leaves, structure = jax.tree.flatten(risk)
        return structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)

    size = len(risks) * sum(leaf.nbytes for leaf in jax.tree.leaves(risks[0]))
    return size <= _STACKED_BYTES and len({form(risk) for risk in risks}) == 1


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
