"""Progress of a run: a bar with the time left on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from experiments.planning.batches import Batch

__all__ = ["Bar", "Lines", "Monitor", "monitor"]


class Monitor(Protocol):
    """Shows how far a run is; a context manager."""

    def __enter__(self) -> "Monitor": ...
    def __exit__(self, *_: object) -> None: ...
    def __call__(self, batch: Batch, done: int, note: str = "") -> None:
        """`done` of the flows of `batch` are finished; `note` says what is going on."""
        ...

    def found(self, batch: Batch) -> None:
        """`batch` was finished before."""
        ...

    def say(self, note: str) -> None:
        """What is going on besides batches."""
        ...


def monitor(flows: int, label: Callable[[Batch], str]) -> Monitor:
    """The monitor that fits where standard error goes; `label` names batches."""
    return Bar(flows, label) if sys.stderr.isatty() else Lines(flows, label)


class Bar:
    """A bar over all flows."""

    def __init__(self, flows: int, label: Callable[[Batch], str]) -> None:
        self._label = label
        self._done: dict[int, int] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("flows"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task("compiling", total=flows)
        self._count = 0

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, batch: Batch, done: int, note: str = "") -> None:
        self._count += done - self._done.get(batch.number, 0)
        self._done[batch.number] = done
        name = self._label(batch)
        self._progress.update(self._task, completed=self._count, description=f"{name}: {note}" if note else name)

    def found(self, batch: Batch) -> None:
        """As `Monitor.found`."""
        self(batch, batch.flows)

    def say(self, note: str) -> None:
        """As `Monitor.say`."""
        self._progress.update(self._task, description=note)


class Lines:
    """A line every ten seconds at most, one for every failure, and one in the end."""

    def __init__(self, flows: int, label: Callable[[Batch], str]) -> None:
        self._flows, self._label = flows, label
        self._done: dict[int, int] = {}
        self._count = self._before = 0
        self._started = self._last = time.monotonic()

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        return

    def __call__(self, batch: Batch, done: int, note: str = "") -> None:
        more = done - self._done.get(batch.number, 0)
        self._count += more
        self._done[batch.number] = done
        now = time.monotonic()
        urgent = note.startswith("failed") or (more > 0 and self._count == self._flows)
        if not urgent and now - self._last < 10:
            return
        self._last = now
        fresh, elapsed = self._count - self._before, now - self._started
        left = f", about {elapsed * (self._flows - self._count) / fresh:.0f} s left" if fresh else ""
        name = self._label(batch)
        text = f"{name}: {note}" if note else name
        print(f"{self._count}/{self._flows} flows  {text}  {elapsed:.0f} s{left}", file=sys.stderr, flush=True)

    def found(self, batch: Batch) -> None:
        """As `Monitor.found`."""
        self._done[batch.number] = batch.flows
        self._count += batch.flows
        self._before += batch.flows

    def say(self, note: str) -> None:
        """As `Monitor.say`."""
        now = time.monotonic()
        if now - self._last >= 10:
            self._last = now
            print(note, file=sys.stderr, flush=True)
