"""The work of one worker process, on this machine or another: computes one batch from the text of its configuration.

Modules that need JAX are imported inside of the functions, after the environment has been prepared.
"""

import functools
from dataclasses import replace
from pathlib import Path

from experiments.planning.batches import batch_of
from experiments.running.engines.base import Outcome, Task
from experiments.running.worker_environment import prepare_environment
from experiments.sweeps.sweep import Sweep, sweep_of_toml

__all__ = ["work"]


def work(task: Task) -> Outcome:
    """Computes a batch; an error is part of the outcome."""
    prepare_environment()
    from experiments.running.compute import compute_outcome
    from experiments.running.store import RunDirectory

    try:
        sweep, batch = _prepared(task.toml, task.cache), task.batch
        if batch_of(sweep, batch.number, batch.cells, batch.start, batch.stop) != batch:
            raise ValueError(
                "the batch has another key here: the worker has other files, or other code, of this project"
            )
    except Exception as error:  # all errors are reported by the process that has started the run
        return Outcome(error=f"{type(error).__name__}: {error}", retryable=False)
    outcome = compute_outcome(sweep, batch)
    if task.directory is None or outcome.content is None:
        return outcome
    try:
        RunDirectory(Path(task.directory)).save(batch, outcome.content)
    except OSError as error:
        return Outcome(error=f"{task.directory} cannot be written: {error.strerror}")
    return replace(outcome, content=None)


@functools.lru_cache(maxsize=2)
def _prepared(toml: str, cache: bool) -> Sweep:
    """The sweep of a configuration; JAX has been configured for it."""
    from experiments.running.runtime import configure

    sweep = sweep_of_toml(toml)
    configure(sweep.configuration.compute.precision, cache)
    return sweep
