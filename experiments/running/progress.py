"""Progress of a run: a bar with the time left on a terminal, plain lines elsewhere."""

import sys
import threading
from collections.abc import Callable
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from experiments.planning.batches import Batch
from experiments.running.course import Course
from experiments.running.engines.base import Outcome

__all__ = ["Bar", "Lines", "Monitor", "monitor"]

_EVERY = 10.0
"""Seconds between lines."""


class Monitor(Protocol):
    """Shows the progress of a run; a context manager."""

    def __enter__(self) -> "Monitor": ...
    def __exit__(self, *_: object) -> None: ...
    def __call__(self, batch: Batch, done: int, note: str = "") -> None:
        """`done` flows of `batch` are finished; `note` says what is being computed."""
        ...

    def found(self, batch: Batch) -> None:
        """`batch` was finished before."""
        ...

    def ended(self, batch: Batch, outcome: Outcome) -> None:
        """`batch` was computed, or has failed for good."""
        ...

    def say(self, note: str) -> None:
        """Shows a note about other work than that on batches."""
        ...


def monitor(course: Course) -> Monitor:
    """A bar if standard error is a terminal, else lines."""
    return Bar(course) if sys.stderr.isatty() else Lines(course)


class _Column(ProgressColumn):
    """A column whose text is computed whenever the bar is drawn, because it contains times."""

    def __init__(self, text: Callable[[], str]) -> None:
        super().__init__()
        self._text = text

    def render(self, task: Task) -> Text:
        return Text(self._text())


class Bar:
    """A bar over all flows."""

    def __init__(self, course: Course) -> None:
        self._course = course
        latest, left = _Column(lambda: str(course)), _Column(lambda: str(course.left()))
        columns = (latest, BarColumn(), MofNCompleteColumn(), TextColumn(f"{course.noun}s"), TimeElapsedColumn(), left)
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._task = self._progress.add_task("", total=course.flows[1])

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, batch: Batch, done: int, note: str = "") -> None:
        self._course.hear(batch, done, note)
        self._progress.update(self._task, completed=self._course.flows[0])

    def found(self, batch: Batch) -> None:
        """As `Monitor.found`."""
        self._course.found(batch)
        self._progress.update(self._task, completed=self._course.flows[0])

    def ended(self, batch: Batch, outcome: Outcome) -> None:
        """As `Monitor.ended`."""
        self._course.ended(batch, outcome)

    def say(self, note: str) -> None:
        """As `Monitor.say`."""
        self._course.say(note)


class Lines:
    """One line every ten seconds, one per failure, and one at the end."""

    def __init__(self, course: Course) -> None:
        self._course = course
        self._last = 0.0
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Lines":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def __call__(self, batch: Batch, done: int, note: str = "") -> None:
        with self._lock:
            before = self._course.flows[0]
            self._course.hear(batch, done, note)
            now, total = self._course.flows
            self._print(note.startswith("failed") or before < now == total)

    def found(self, batch: Batch) -> None:
        """As `Monitor.found`."""
        self._course.found(batch)

    def ended(self, batch: Batch, outcome: Outcome) -> None:
        """As `Monitor.ended`."""
        with self._lock:
            self._course.ended(batch, outcome)

    def say(self, note: str) -> None:
        """As `Monitor.say`."""
        with self._lock:
            self._course.say(note)
            self._print()

    def _watch(self) -> None:
        while not self._ended.wait(1.0):
            with self._lock:
                self._print()

    def _print(self, urgent: bool = False) -> None:
        elapsed = self._course.elapsed
        if not urgent and elapsed - self._last < _EVERY:
            return
        self._last = elapsed
        done, total = self._course.flows
        left = f", {text}" if done < total and (text := str(self._course.left())) else ""
        text = f"{done}/{total} {self._course.noun}s  {self._course}  {elapsed:.0f} s{left}"
        print(text, file=sys.stderr, flush=True)
