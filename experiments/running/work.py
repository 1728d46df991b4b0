"""What a worker does, in whatever process or machine: one batch from the text of its configuration.

This module and the packages that it imports at the top are light, and read no setting of JAX: the environment is
prepared first. Everything that goes to or comes from a worker is made of strings, numbers and bytes.
"""

import functools
import os
from dataclasses import replace
from pathlib import Path

from experiments.running.engines.base import Outcome, Task

__all__ = ["prepare_environment", "work"]


def prepare_environment() -> None:
    """Settings that JAX and equinox read when they are imported; what the user has set stays.

    Checks that raise from compiled code are host callbacks, and programs with those are never cached; as NaN they end
    in the verdict NOT_FINITE. Every core is a device of its own, on which flows run side by side.
    """
    os.environ.setdefault("EQX_ON_ERROR", "nan")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(min(8, cores)))


def work(task: Task) -> Outcome:
    """Computes a batch; errors are part of the outcome."""
    prepare_environment()
    from experiments.running.compute import attempt
    from experiments.running.store import RunDirectory

    try:
        sweep, known = _prepared(task.toml, task.cache)
        batch = known[task.number]
        if batch.key != task.key:
            raise ValueError(
                "the batch has another key here: the worker has other files, or other code, of this project"
            )
    except Exception as error:  # whatever it was, it is to be reported where the run was started
        return Outcome(error=f"{type(error).__name__}: {error}", retryable=False)
    outcome = attempt(sweep, batch)
    if task.directory is None or outcome.content is None:
        return outcome
    try:
        RunDirectory(Path(task.directory)).save(batch, outcome.content)
    except OSError as error:
        return Outcome(error=f"{task.directory} cannot be written: {error.strerror}")
    return replace(outcome, content=None)


@functools.lru_cache(maxsize=2)
def _prepared(toml: str, cache: bool):
    """Sweep and batches of a configuration; the precision is set."""
    from experiments.planning.batches import batches
    from experiments.planning.loading import sweep_of_toml
    from experiments.running.runtime import configure

    sweep = sweep_of_toml(toml)
    configure(sweep.configuration.compute.precision, cache)
    return sweep, batches(sweep)
