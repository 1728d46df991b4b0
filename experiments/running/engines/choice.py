"""The engine that a user chose by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.errors import UserError
from experiments.faults import did_you_mean
from experiments.planning.batches import Batch
from experiments.planning.plan import Plan
from experiments.running.engines.base import Engine
from experiments.running.engines.dask import DaskEngine
from experiments.running.engines.local import LocalEngine
from experiments.running.engines.processes import ProcessEngine
from experiments.running.engines.slurm import SlurmEngine

__all__ = ["ENGINES", "Choice", "open_engine"]

ENGINES = ("local", "processes", "dask", "slurm")


@dataclass(frozen=True)
class Choice:
    """The name and the options of an engine.

    Raises:
        UserError: the engine is unknown or does not have an option.
    """

    name: str = "local"
    workers: int | None = None
    scheduler: str | None = None
    slurm: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise UserError(f"--engine {self.name}: allowed: {', '.join(ENGINES)}{did_you_mean(self.name, ENGINES)}")
        if self.workers is not None and self.name == "local":
            raise UserError("--workers: the engine local is one process on all devices; add --engine processes")
        if self.workers is not None and self.workers < 1:
            raise UserError(f"--workers {self.workers}: at least 1 is needed")
        if self.scheduler is not None and (self.name != "dask" or self.workers is not None):
            raise UserError("--scheduler belongs to --engine dask, and its workers are those of the scheduler")
        if self.slurm and self.name != "slurm":
            raise UserError("--slurm belongs to --engine slurm")


def open_engine(choice: Choice, plan: Plan, directory: Path, on_progress: Callable[[Batch, int, str], None]) -> Engine:
    """Starts the engine; the caller closes it."""
    match choice.name:
        case "local":
            return LocalEngine(plan, on_progress)
        case "processes":
            return ProcessEngine(choice.workers)
        case "dask":
            return DaskEngine(choice.scheduler, choice.workers)
        case _:
            parameters = dict(choice.slurm)
            return SlurmEngine(directory, choice.workers, parameters, str(parameters.pop("cluster", "slurm")))
