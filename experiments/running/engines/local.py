"""Computes batches in this process, one after the other on all devices; meanwhile the previous batch is stored."""

import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue

from experiments.computing.certification import Certifier
from experiments.planning.batches import Batch, batches
from experiments.running.compute import attempt
from experiments.running.engines.base import Outcome, Task
from experiments.sweeps.sweep import Sweep

__all__ = ["LocalEngine"]


class LocalEngine:
    """A thread of this process; `on_progress(batch, done, note)` is called as flows end."""

    capacity = 2

    def __init__(self, sweep: Sweep, on_progress: Callable[[Batch, int, str], None]) -> None:
        self._sweep, self._on_progress = sweep, on_progress
        self._certifier = Certifier(sweep.configuration.analysis.certificates, processes=True)
        self._computing = self._leaving = False
        self._tasks: SimpleQueue[tuple[Task, Future[Outcome]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)  # a second Ctrl-C does not wait for it
        self._thread.start()

    def submit(self, task: Task) -> "Future[Outcome]":
        """Queues a task."""
        future: Future[Outcome] = Future()
        self._tasks.put((task, future))
        return future

    def close(self, now: bool) -> None:
        """Stops the thread after its tasks; with `now` a thread that is computing is left to end with the process."""
        self._leaving = now
        self._tasks.put(None)
        if not (now and self._computing):
            self._thread.join()

    def _run(self) -> None:
        known = batches(self._sweep)
        with self._certifier:
            while (item := self._tasks.get()) is not None:
                task, future = item
                if self._leaving or not future.set_running_or_notify_cancel():
                    continue
                self._computing = True
                batch = known[task.number]
                try:
                    future.set_result(
                        attempt(self._sweep, batch, functools.partial(self._on_progress, batch), self._certifier)
                    )
                except BaseException as error:  # the caller decides, also about KeyboardInterrupt
                    future.set_exception(error)
                self._computing = False
