"""The interface of an engine, a small part of that of concurrent.futures.Executor.

Tasks and outcomes are sent to other processes and machines. Therefore they hold only strings, numbers, bytes and
batches, which are made of numbers and strings.
"""

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from experiments.planning.batches import Batch

__all__ = ["Engine", "Outcome", "Task"]


@dataclass(frozen=True)
class Task:
    """A batch of the sweep whose resolved configuration is `toml`."""

    toml: str
    batch: Batch
    cache: bool = True
    """Whether compiled programs are stored in the user's cache folder."""
    directory: str | None = None
    """A run directory in which the worker stores the batch itself; None: the batch file is part of the outcome."""


@dataclass(frozen=True)
class Outcome:
    """How the computation of a batch ended."""

    content: bytes | None = None
    """Content of the batch file; None after an error, or if the worker has stored the file."""
    device: str = ""
    seconds: float = 0.0
    compiling: float = 0.0
    """The part of `seconds` in which something was being compiled."""
    error: str | None = None
    """One line; None if there was no error."""
    trace: str = ""
    retryable: bool = True
    """Whether another attempt may succeed; False for mistakes of the user."""


class Engine(Protocol):
    """Computes tasks in parallel.

    The future of a task holds its outcome, or an exception if the worker was lost.
    """

    @property
    def capacity(self) -> int:
        """Number of tasks that are submitted at once: a submitted task can no longer be taken by another process."""
        ...

    def submit(self, task: Task) -> "Future[Outcome]":
        """Starts a task."""
        ...

    def close(self, now: bool) -> None:
        """Stops all workers: at once if `now`, else after the tasks that have been submitted."""
        ...
