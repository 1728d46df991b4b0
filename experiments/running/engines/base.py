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
    """Whether compiled programs are kept in the user's cache folder."""
    directory: str | None = None
    """A run directory that the worker sees too: it stores the batch itself."""


@dataclass(frozen=True)
class Outcome:
    """How the computation of a batch ended."""

    content: bytes | None = None
    """Bytes of its file; None after an error, or where the worker has stored them."""
    device: str = ""
    seconds: float = 0.0
    error: str | None = None
    """One line; None if there was no error."""
    trace: str = ""
    hopeless: bool = False
    """Whether the same error would come again."""


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
