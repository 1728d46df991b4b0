"""The progress of a run: what is being computed, which program is being compiled, and the remaining time.

The time per flow of a program is the median over its batches that have ended, without compilation; it is unknown until
the first of them has ended. The estimate is

    time left = sum over batches (flows left * seconds per flow) / (seconds worked / seconds passed),

where the last quotient is the number of batches that are computed in parallel. Batches with the first seeds of their
cells also compute certificates; their times are kept apart from those of other batches.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from experiments.planning.batches import Batch
from experiments.running.engines.base import Outcome

__all__ = ["Course", "Left"]


class Left(NamedTuple):
    """The estimated remaining time of a run."""

    seconds: float
    """For the flows of programs whose time per flow is known."""
    unknown: int
    """Number of programs that have flows left and whose time per flow is unknown."""

    def __str__(self) -> str:
        if self.unknown:
            return f"at least {self.seconds:.0f} s left" if self.seconds > 0 else ""
        return f"about {self.seconds:.0f} s left"


class Course:
    """Collects the progress reports of a run.

    Args:
        batches: all batches of the run.
        programs: the number of the compiled program of every batch, by the number of the batch.
        label: gives the names of batches.
        noun: what is computed, "flow" or "descent".
        clock: returns the current time in seconds.
    """

    def __init__(
        self,
        batches: Sequence[Batch],
        programs: Mapping[int, int],
        label: Callable[[Batch], str],
        noun: str = "flow",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.noun = noun
        self._label = label
        self._batches = {batch.number: batch for batch in batches}
        self._programs, self._clock = programs, clock
        self._done = dict.fromkeys(self._batches, 0)
        self._over: set[int] = set()
        self._begun: dict[int, float] = {}
        self._order: dict[int, int] = {}
        self._compiled: set[int] = set()
        self._rates: dict[tuple[int, bool], list[float]] = {}
        self._started = self._last = clock()
        self._worked = 0.0
        self._latest: tuple[Batch | None, str] = None, ""

    @property
    def flows(self) -> tuple[int, int]:
        """Numbers of finished flows and of all flows."""
        return sum(self._done.values()), sum(batch.flows for batch in self._batches.values())

    @property
    def elapsed(self) -> float:
        """Seconds since the run was begun, or resumed."""
        return self._clock() - self._started

    def found(self, batch: Batch) -> None:
        """`batch` was finished before."""
        self._done[batch.number] = batch.flows
        self._over.add(batch.number)

    def hear(self, batch: Batch, done: int, note: str) -> None:
        """`done` flows of `batch` are finished; a note or a finished flow means that its program has been compiled."""
        program, self._latest = self._programs[batch.number], (batch, note)
        self._done[batch.number] = done
        self._begun.setdefault(batch.number, self._clock())
        self._order.setdefault(program, len(self._order) + 1)
        if done > 0 or note:
            self._compiled.add(program)

    def say(self, note: str) -> None:
        """`note` describes other work than that on batches."""
        self._latest = None, note

    def __str__(self) -> str:
        """What was reported last: the name of a batch and what is done with it, or a note."""
        batch, note = self._latest
        if batch is None:
            return note or "waiting for the first batch"
        note = self.compiling(batch) or note
        return f"{self._label(batch)}: {note}" if note else self._label(batch)

    def ended(self, batch: Batch, outcome: Outcome) -> None:
        """`batch` was computed, or has failed for good."""
        self._over.add(batch.number)
        self._last = self._clock()
        self._worked += outcome.seconds
        if outcome.error is None:
            rate = max(0.0, outcome.seconds - outcome.compiling) / batch.flows
            self._rates.setdefault(self._kind(batch), []).append(rate)

    def compiling(self, batch: Batch) -> str:
        """ "compiling 1 of 3 (12 s)" until the program of `batch` has been compiled; then an empty text."""
        program, begun = self._programs[batch.number], self._begun.get(batch.number)
        if program in self._compiled or begun is None:
            return ""
        missing = {self._programs[number] for number in self._batches if number not in self._over}
        total = len(missing | set(self._order))
        return f"compiling {self._order[program]} of {total} ({self._clock() - begun:.0f} s)"

    def left(self) -> Left:
        """The estimated remaining time."""
        seconds, unknown = 0.0, set()
        for number, batch in self._batches.items():
            rate = self._rate(batch)
            if number in self._over:
                continue
            if rate is None:
                unknown.add(self._programs[number])
            else:
                seconds += rate * (batch.flows - self._done[number])
        side_by_side = max(1.0, self._worked / max(self._last - self._started, 1e-9))
        return Left(seconds / side_by_side, len(unknown))

    def _kind(self, batch: Batch) -> tuple[int, bool]:
        return self._programs[batch.number], batch.start == 0

    def _rate(self, batch: Batch) -> float | None:
        """Seconds per flow; None if no batch with the program of this one has ended."""
        program, first = self._kind(batch)
        known = self._rates.get((program, first)) or self._rates.get((program, not first))
        return statistics.median(known) if known else None
