"""Progress of a run: a bar with the time left on a terminal, plain lines elsewhere."""

import sys
import time
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

from experiments.sweep import Cell

__all__ = ["Bar", "Lines", "Monitor", "monitor"]


class Monitor(Protocol):
    """Shows how far a run is; a context manager."""

    def __enter__(self) -> "Monitor": ...
    def __exit__(self, *_: object) -> None: ...
    def __call__(self, cell: Cell, done: int, total: int, note: str = "") -> None:
        """`done` of the `total` seeds of `cell` are finished; `note` says what is going on."""
        ...


def monitor(cells: int, seeds: int) -> Monitor:
    """The monitor that fits where standard error goes."""
    return Bar(cells, seeds) if sys.stderr.isatty() else Lines(cells, seeds)


class Bar:
    """A bar over all flows."""

    def __init__(self, cells: int, seeds: int) -> None:
        self._finished: dict[int, int] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("flows"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task("compiling", total=cells * seeds)

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, cell: Cell, done: int, total: int, note: str = "") -> None:
        self._finished[cell.number] = done
        description = f"{cell.name}: {note}" if note else cell.name
        self._progress.update(self._task, completed=sum(self._finished.values()), description=description)


class Lines:
    """A line a finished cell, and within a cell at most one every ten seconds."""

    def __init__(self, cells: int, seeds: int) -> None:
        self._flows = cells * seeds
        self._finished: dict[int, int] = {}
        self._started = self._last = time.monotonic()

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        return

    def __call__(self, cell: Cell, done: int, total: int, note: str = "") -> None:
        already = self._finished.get(cell.number) == done and not note
        self._finished[cell.number] = done
        now = time.monotonic()
        if already or (done < total and now - self._last < 10):
            return
        self._last = now
        count = sum(self._finished.values())
        elapsed = now - self._started
        left = f", about {elapsed * (self._flows - count) / count:.0f} s left" if count else ""
        name = f"{cell.name}: {note}" if note else cell.name
        print(f"{count}/{self._flows} flows  {name}  {elapsed:.0f} s{left}", file=sys.stderr, flush=True)
