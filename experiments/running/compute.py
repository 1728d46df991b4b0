"""Computes one batch: flows of its cells, and what is found out about them, as flat arrays ready to be stored.

Cells of a batch run as conditions of one ensemble wherever their data have the same shapes.
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
from experiments.errors import UserError
from experiments.modules.finding import find_module
from experiments.planning.batches import Batch, still_defined
from experiments.results.layout import describe_problem, flow_arrays
from experiments.running.batch_files import encode
from experiments.running.compilation import Compilation
from experiments.running.engines.base import Outcome
from experiments.schema import FileData
from experiments.sweeps.sweep import Cell, Sweep

__all__ = ["Tell", "attempt", "begin", "compute_batch"]

_STACKED_BYTES = 256 * 2**20
"""Most bytes of the data of several cells at once."""
_FEW_CELLS = 12
"""Cells of a sweep up to which a part of synthetic data is stored too: a report shows the fit of so few."""

Tell = Callable[[int, str], None]
"""Hears how many flows of the batch have ended, not all before the batch is stored, and a word on what is going on."""


def attempt(sweep: Sweep, batch: Batch) -> Outcome:
    """Computes a batch and packs it, certificates and all, in this thread; errors are part of the outcome."""
    return begin(sweep, batch, lambda done, note: None, Certifier(sweep.configuration.analysis.certificates))()


def begin(sweep: Sweep, batch: Batch, tell: Tell, certifier: Certifier) -> Callable[[], Outcome]:
    """Computes what of a batch needs devices; the function returned waits for its certificates and packs it.

    That may be done in another thread, while devices compute the next batch. Errors are part of the outcome, and the
    seconds in it are those of the devices.
    """
    started, told = time.perf_counter(), _Told(tell, sweep.noun)
    compilation = Compilation(told.compiled)
    try:
        told(0, "")
        with compilation:
            stored = compute_batch(sweep, batch, told, certifier)
        proofs, seconds = certifier.take(), time.perf_counter() - started
    except Exception as error:  # whatever it was: other batches go on
        certifier.take()
        failed = _failure(error)
        return lambda: failed

    def pack() -> Outcome:
        try:
            for wait in proofs:
                wait()
            content = encode(batch, stored)
        except Exception as error:  # likewise
            return _failure(error)
        device = jax.devices()[0]
        return Outcome(content, f"{device.platform} {device.device_kind}", seconds, compilation.seconds)

    return pack


def _failure(error: Exception) -> Outcome:
    """The outcome of a batch that failed, to be called while the error is handled."""
    line = next(iter(str(error).strip().splitlines()), "")
    if "RESOURCE_EXHAUSTED" in line or isinstance(error, MemoryError):
        jax.clear_caches()  # what compiled programs hold may be what is missing
    retryable = not isinstance(error, UserError)
    text = f"{type(error).__name__}: {line}" if retryable else line
    return Outcome(error=text, trace=traceback.format_exc(), retryable=retryable)


class _Told:
    """A `Tell` that says too how long was spent on compilation."""

    def __init__(self, tell: Tell, noun: str) -> None:
        self._tell, self._noun = tell, noun
        self._done, self._note, self._compiled = 0, "", ""

    def __call__(self, done: int, note: str) -> None:
        self._done, self._note = done, note
        self._tell(done, f"{note or f'{self._noun}s'}{self._compiled}" if note or self._compiled else "")

    def compiled(self, seconds: float) -> None:
        """A large program is ready."""
        self._compiled = f", {seconds:.0f} s compiled"
        self(self._done, self._note)


def compute_batch(sweep: Sweep, batch: Batch, tell: Tell, certifier: Certifier) -> dict[str, np.ndarray]:
    """Arrays of all cells, named "cell/variable", with leading axis seed; and "wall_time" of the batch, in seconds.

    What belongs to a cell as a whole comes with the batch that holds its first seed, and so do certificates.
    """
    started = time.perf_counter()
    cells = [sweep.cells[number] for number in batch.cells]
    few = len(sweep.cells) <= _FEW_CELLS
    problems = [_Problem(cell, batch, tell, few) for cell in cells]
    flows = _flows(problems, batch, tell)
    stored: dict[str, np.ndarray] = {}
    module = find_module(sweep.configuration.experiment.module)
    for problem, flow in zip(problems, flows, strict=True):
        note = f"{problem.cell.name}: " if len(cells) > 1 else ""
        found = flow_arrays(problem.risk.network, flow) | problem.stored
        prover = certifier if batch.start == 0 else Certifier(0)
        if batch.start == 0:
            wanted = module.shows_flows(problem.cell.configuration)
            found |= shown_flows(problem.risk, problem.start, flow, wanted)
        found |= module.beside(problem.cell.configuration, problem.risk, problem.start, flow)
        found |= analyse(
            problem.risk, problem.start, flow, prover, lambda word, note=note: tell(batch.flows - 1, f"{note}{word}")
        )
        if problem.cell.configuration.analysis.census:
            tell(batch.flows - 1, f"{note}census")
            found |= ends_of_flows(problem.risk, flow)
            found |= points_of_cell(problem.risk) if batch.start == 0 else {}
        stored |= {f"{problem.cell.number}/{name}": array for name, array in found.items()}
    if not still_defined(sweep, batch):
        raise UserError("a data file has changed during the run: undo that, then resume")
    stored["wall_time"] = np.asarray(time.perf_counter() - started)
    return stored


class _Problem:
    """Risk and initial filters of one cell, and what its data and its module have to store."""

    def __init__(self, cell: Cell, batch: Batch, tell: Tell, few: bool) -> None:
        self.cell = cell
        configuration = cell.configuration
        arch, data, risk = build_problem(configuration)
        self.start = initial_filters(configuration, arch, range(batch.start, batch.stop))
        module = find_module(configuration.experiment.module)
        self.risk, self.stored = module.prepare(configuration, risk, self.start, lambda note: tell(0, note))
        if batch.start == 0:
            self.stored = self.stored | describe_problem(self.risk)
            self.stored = self.stored | module.measure(configuration, self.risk)
            if (few or isinstance(configuration.data, FileData)) and arch.is_linear:
                self.stored = self.stored | shown_data(arch, data)


def _flows(problems: Sequence[_Problem], batch: Batch, tell: Tell) -> list[Any]:
    """Flows or descents of every problem."""
    first = problems[0].cell.configuration
    record = observables_of(find_module(first.experiment.module), first)
    options = flow_options(first) | ({"record": record} if record and first.flow.times is not None else {})
    flows = len(problems) * _seeds(problems[0])
    if first.descent is not None:
        progress = functools.partial(_tell_more, tell, 0, flows - 1)
        configurations, risks = [p.cell.configuration for p in problems], [p.risk for p in problems]
        return descents(configurations, risks, [p.start for p in problems], batch.start, record, progress)
    if len(problems) > 1 and _alike([problem.risk for problem in problems]):
        risk, start = _stack([p.risk for p in problems]), _stack([p.start for p in problems])
        progress = functools.partial(_tell_more, tell, 0, flows - 1)
        together = lf.gradient_flow_ensemble(risk, start, progress=progress, **options)
        return [jax.tree.map(lambda x, i=i: x[i], together) for i in range(len(problems))]
    ended = []
    for problem in problems:
        before = len(ended) * _seeds(problem)
        progress = functools.partial(_tell_more, tell, before, flows - 1)
        ended.append(lf.gradient_flow_ensemble(problem.risk, problem.start, progress=progress, **options))
    return ended


def _seeds(problem: _Problem) -> int:
    return len(jax.tree.leaves(problem.start)[0])


def _tell_more(tell: Tell, before: int, most: int, done: int, total: int) -> None:
    tell(min(before + done, most), "")


def _alike(risks: Sequence[lf.EmpiricalRisk]) -> bool:
    """Whether risks can be one batch of risks: all parts of the same kinds and shapes, and not too large."""

    def form(risk: lf.EmpiricalRisk) -> Any:
        leaves, structure = jax.tree.flatten(risk)
        return structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)

    size = len(risks) * sum(leaf.nbytes for leaf in jax.tree.leaves(risks[0]))
    return size <= _STACKED_BYTES and len({form(risk) for risk in risks}) == 1


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
