"""Schedules the missing batches of a run: locks, retries, failures, and stopping.

Several processes may work on one run directory. A process computes a batch only while it holds the lock of the batch,
and stores the batch before it releases the lock.
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
    """Whether Ctrl-C or a signal to terminate ended it before all batches were computed."""
    compiling: float = 0.0
    """Seconds of compilation, summed over all workers."""


class _Attempt(NamedTuple):
    batch: Batch
    lock: Lock
    number: int


class Schedule:
    """Computes those of `batches` that are missing with an engine, and stores them.

    Args:
        directory: the run directory, in which the batches are stored.
        batches: all batches of the run.
        task: maps a batch to the task that an engine is given.
        retries: how often a batch that failed is tried again.
        on_progress: called as on_progress(batch, flows done, note); all flows count as done when the batch is stored.
        ended: called with the outcome of every batch that this process has computed, or that has failed for good.
    """

    def __init__(
        self,
        directory: RunDirectory,
        batches: Sequence[Batch],
        task: Callable[[Batch], Task],
        retries: int,
        on_progress: Callable[[Batch, int, str], None],
        ended: Callable[[Batch, Outcome], None] = lambda batch, outcome: None,
    ) -> None:
        self._directory, self._task, self._retries = directory, task, retries
        self._on_progress, self._ended = on_progress, ended
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
        """Number of batches that are still to be computed."""
        return len(self._waiting) + len(self._elsewhere) + len(self._running)

    def run(self, engine: Engine) -> Finished:
        """Runs until every batch has been stored, by this process or another, or has failed.

        After the first Ctrl-C or signal to terminate, the batches that are being computed are finished and stored.

        Raises:
            KeyboardInterrupt: at the second Ctrl-C or signal to terminate.
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
        """Submits batches that no other process has locked, as many as the engine accepts."""
        while self._waiting and len(self._running) < engine.capacity:
            batch = self._waiting.popleft()
            lock = self._claim(batch)
            if self._directory.has(batch):  # another process has stored it in the meantime
                if lock is not None:
                    lock.release()
                self._on_progress(batch, batch.flows, "")
            elif lock is None:
                self._elsewhere.append(batch)
            else:
                self._submit(engine, _Attempt(batch, lock, 0))
        if not self._running and self._elsewhere:
            self._on_progress(self._elsewhere[0], 0, f"waiting for {len(self._elsewhere)} batches of another process")
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
        """Handles the tasks that have ended."""
        if not self._running:
            return
        done, _ = wait(self._running, timeout=_LOOK_EVERY, return_when=FIRST_COMPLETED)
        problem: RunError | None = None
        for future in done:
            try:
                self._handle(engine, self._running.pop(future), _outcome(future))
            except RunError as error:  # raised after the other tasks that have ended have been handled
                problem = error
        if problem is not None:
            raise problem

    def _handle(self, engine: Engine, attempt: _Attempt, outcome: Outcome | None) -> None:
        if outcome is None and self._stopping:
            attempt.lock.release()
        elif outcome is None:
            self._handle(engine, attempt, Outcome(error="the engine gave the task up"))
        elif outcome.error is None:
            self._store(attempt, outcome)
        elif attempt.number < self._retries and outcome.retryable:
            self._try_again(engine, attempt, outcome)
        else:
            self._fail(attempt, outcome)

    def _try_again(self, engine: Engine, attempt: _Attempt, outcome: Outcome) -> None:
        if self._stopping:  # the batch stays missing, so that resuming the run tries it again
            attempt.lock.release()
        else:
            self._on_progress(attempt.batch, 0, f"failed ({outcome.error}), trying again")
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
        self._on_progress(batch, batch.flows, "")

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
        self._on_progress(batch, 0, f"failed: {error}")

    def _drop(self) -> None:
        """Starts no more batches, and cancels tasks that the engine has not started."""
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
    """The outcome of a task that has ended; None if it was cancelled."""
    try:
        return future.result()
    except CancelledError:
        return None
    except BrokenProcessPool:
        return Outcome(error="the worker process was killed (out of memory? lower compute.block_size)")
    except Exception as error:  # the worker was killed, ran out of memory, or its machine is gone
        line = next(iter(str(error).strip().splitlines()), "")
        return Outcome(error=f"worker lost: {type(error).__name__}: {line}")
