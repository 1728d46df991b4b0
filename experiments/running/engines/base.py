"""What the runner asks of an engine: a little less than concurrent.futures.Executor.

Tasks and outcomes are made of strings, numbers and bytes: they go to other processes and machines.
"""

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Engine", "Outcome", "Task"]


@dataclass(frozen=True)
class Task:
    """A batch of the sweep whose resolved configuration is `toml`."""

    toml: str
    number: int
    key: str
    cache: bool = True
    """Whether compiled programs are stored in the user's cache folder."""
    directory: str | None = None
    """A run directory that the worker can write to: then the worker stores the batch itself."""


@dataclass(frozen=True)
class Outcome:
    """How the computation of a batch ended."""

    content: bytes | None = None
    """Bytes of the batch file; None after an error, or if the worker has stored the file."""
    device: str = ""
    seconds: float = 0.0
    compiling: float = 0.0
    """Seconds of these in which something was being compiled."""
    error: str | None = None
    """One line; None if there was no error."""
    trace: str = ""
    retryable: bool = True
    """Whether another attempt may succeed; False for mistakes of the user."""


class Engine(Protocol):
    """Computes tasks side by side.

    The future of a task ends with its outcome, or with an exception where the worker was lost.
    """

    @property
    def capacity(self) -> int:
        """Number of tasks that it accepts at once; more would wait here, where no other process can take them."""
        ...

    def submit(self, task: Task) -> "Future[Outcome]":
        """Starts a task."""
        ...

    def close(self, now: bool) -> None:
        """Stops all workers: at once with `now`, else after the tasks that they hold."""
        ...
