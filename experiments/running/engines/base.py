"""What the runner asks of an engine: a little less than concurrent.futures.Executor."""

from concurrent.futures import Future
from typing import Protocol

from experiments.running.work import Outcome, Task

__all__ = ["Engine"]


class Engine(Protocol):
    """Computes tasks side by side.

    The future of a task ends with its outcome, or with an exception where the worker was lost.
    """

    @property
    def capacity(self) -> int:
        """Tasks that it takes at once; more would only wait, and be out of reach for other processes."""
        ...

    def submit(self, task: Task) -> "Future[Outcome]":
        """Starts a task."""
        ...

    def close(self, now: bool) -> None:
        """Ends all workers: at once, or when their tasks are done."""
        ...
