"""Which batch is computed when: claims, retries, failures, and how a run is stopped.

Several processes may work on one run directory: a batch is computed by whoever holds its lock, and stored before the
lock is given back.
"""

import contextlib
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

from experiments.errors import RunError, reason
from experiments.planning.batches import Batch
from experiments.running.engines.base import Engine, Outcome, Task
from experiments.running.locks import Lock
from experiments.running.store import RunDirectory

__all__ = ["Finished", "Schedule"]

_LOOK_EVERY = 0.2  # seconds


class Finished(NamedTuple):
    """How a schedule ended."""

    computed: int
    """Batches computed by this process."""
    failed: dict[Batch, str]
    """Errors of the batches that failed."""
    devices: tuple[str, ...]
    stopped: bool
    """Whether Ctrl-C, or a signal to terminate, ended it before all was done."""
    compiling: float = 0.0
    """Seconds of compilation, those of all workers together."""


class _Attempt(NamedTuple):
    batch: Batch
    lock: Lock
    number: int


class Schedule:
    """Computes the missing ones of `batches` with an engine, and stores them.

    Args:
        directory: where they are stored.
        batches: all batches of the sweep.
        task: what a worker is given for a batch.
        retries: how often a batch that failed is tried again.
        tell: called as tell(batch, flows done, note); all flows of a batch are done only when it is stored.
        ended: hears the outcome of every batch that was computed here, or has failed for good.
    """

    def __init__(
        self,
        directory: RunDirectory,
        batches: Sequence[Batch],
        task: Callable[[Batch], Task],
        retries: int,
        tell: Callable[[Batch, int, str], None],
        ended: Callable[[Batch, Outcome], None] = lambda batch, outcome: None,
    ) -> None:
        self._directory, self._task, self._retries, self._tell = directory, task, retries, tell
        self._ended = ended
        self._waiting = deque(batch for batch in batches if not directory.has(batch))
        self._elsewhere: list[Batch] = []
        self._running: dict[Future[Outcome], _Attempt] = {}
        self._failed: dict[Batch, str] = {}
        self._devices: set[str] = set()
        self._computed = 0
        self._compiling = 0.0
        self._stopping = False

    @property
    def missing(self) -> int:
        """Batches that are still to be computed."""
        return len(self._waiting) + len(self._elsewhere) + len(self._running)

    def run(self, engine: Engine) -> Finished:
        """Until every batch is stored, by this process or another, or has failed.

        The first Ctrl-C, or signal to terminate, lets the batches in hand be finished and stored.

        Raises:
            KeyboardInterrupt: the second one.
            RunError: a batch cannot be stored.
        """
        try:
            with self._signals():
                while self.missing:
                    if self._stopping:
                        self._drop()
                    self._start(engine)
                    self._finish(engine)
        except BaseException:
            for attempt in self._running.values():
                attempt.lock.release()
            raise
        return Finished(self._computed, self._failed, tuple(sorted(self._devices)), self._stopping, self._compiling)

    def _start(self, engine: Engine) -> None:
        """Gives the engine what it can take, of what no other process has claimed."""
        while self._waiting and len(self._running) < engine.capacity:
            batch = self._waiting.popleft()
            lock = self._claim(batch)
            if self._directory.has(batch):  # by another process, since we looked
                if lock is not None:
                    lock.release()
                self._tell(batch, batch.flows, "")
            elif lock is None:
                self._elsewhere.append(batch)
            else:
                self._submit(engine, _Attempt(batch, lock, 0))
        if not self._running and self._elsewhere:
            self._tell(self._elsewhere[0], 0, f"waiting for {len(self._elsewhere)} batches of another process")
            time.sleep(_LOOK_EVERY)
            self._waiting.extend(self._elsewhere)
            self._elsewhere.clear()

    def _claim(self, batch: Batch) -> Lock | None:
        try:
            return self._directory.locks.take(f"{batch.number:06d}")
        except OSError as error:
            raise RunError(f"batch {batch.number} cannot be claimed: {reason(error)}") from error

    def _submit(self, engine: Engine, attempt: _Attempt) -> None:
        try:
            self._running[engine.submit(self._task(attempt.batch))] = attempt
        except BaseException:
            attempt.lock.release()
            raise

    def _finish(self, engine: Engine) -> None:
        """Takes over what has ended."""
        if not self._running:
            return
        done, _ = wait(self._running, timeout=_LOOK_EVERY, return_when=FIRST_COMPLETED)
        problem: RunError | None = None
        for future in done:
            try:
                self._take_over(engine, self._running.pop(future), _outcome(future))
            except RunError as error:  # the others that have ended may still be stored
                problem = error
        if problem is not None:
            raise problem

    def _take_over(self, engine: Engine, attempt: _Attempt, outcome: Outcome | None) -> None:
        if outcome is None and self._stopping:
            attempt.lock.release()
        elif outcome is None:
            self._take_over(engine, attempt, Outcome(error="the engine gave the task up"))
        elif outcome.error is None:
            self._store(attempt, outcome)
        elif attempt.number < self._retries and outcome.retryable:
            self._try_again(engine, attempt, outcome)
        else:
            self._fail(attempt, outcome)

    def _try_again(self, engine: Engine, attempt: _Attempt, outcome: Outcome) -> None:
        if self._stopping:  # it is missing, not failed: resuming tries it again
            attempt.lock.release()
        else:
            self._tell(attempt.batch, 0, f"failed ({outcome.error}), trying again")
            self._submit(engine, attempt._replace(number=attempt.number + 1))

    def _store(self, attempt: _Attempt, outcome: Outcome) -> None:
        batch = attempt.batch
        try:
            if outcome.content is not None:
                self._directory.save(batch, outcome.content)
        except OSError as error:
            attempt.lock.release()
            raise RunError(f"batch {batch.number} cannot be stored: {reason(error)}") from error
        attempt.lock.release()
        self._computed += 1
        self._compiling += outcome.compiling
        self._devices.add(outcome.device)
        self._ended(batch, outcome)
        self._tell(batch, batch.flows, "")

    def _fail(self, attempt: _Attempt, outcome: Outcome) -> None:
        batch, error = attempt.batch, outcome.error or ""
        self._failed[batch] = error
        failure = {"error": error, "attempts": attempt.number + 1, "cells": batch.cells, "trace": outcome.trace}
        try:
            self._directory.write_failure(batch, failure)
        except OSError as problem:
            raise RunError(
                f"batch {batch.number} failed ({error}), and that cannot be recorded: {reason(problem)}"
            ) from problem
        finally:
            attempt.lock.release()
        self._ended(batch, outcome)
        self._tell(batch, 0, f"failed: {error}")

    def _drop(self) -> None:
        """Nothing new is started; what only waits in the engine is taken back."""
        self._waiting.clear()
        self._elsewhere.clear()
        for future in self._running:
            future.cancel()

    @contextlib.contextmanager
    def _signals(self) -> Generator[None, None, None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, _: object) -> None:
            if self._stopping:
                raise KeyboardInterrupt
            self._stopping = True
            name = "Ctrl-C" if number == signal.SIGINT else "signal to terminate"
            print(f"\n{name}: the batches in hand are finished and stored; once more stops at once", file=sys.stderr)

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _outcome(future: "Future[Outcome]") -> Outcome | None:
    """None for a task that was taken back."""
    try:
        return future.result()
    except CancelledError:
        return None
    except BrokenProcessPool:
        return Outcome(error="the worker process was killed (out of memory? lower compute.block_size)")
    except Exception as error:  # the worker was lost: killed, out of memory, or its machine has gone
        line = next(iter(str(error).strip().splitlines()), "")
        return Outcome(error=f"worker lost: {type(error).__name__}: {line}")
