"""Computes batches in this process, one after the other on all devices; meanwhile the previous one is proved."""

import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue

from experiments.computing.certification import Certifier
from experiments.planning.batches import Batch, batches
from experiments.running.compute import begin
from experiments.running.engines.base import Outcome, Task
from experiments.sweeps.sweep import Sweep

__all__ = ["LocalEngine"]


class LocalEngine:
    """Two threads of this process: one computes, one waits for certificates and packs what was computed.

    `on_progress(batch, done, note)` is called as flows end.
    """

    capacity = 2

    def __init__(self, sweep: Sweep, on_progress: Callable[[Batch, int, str], None]) -> None:
        self._sweep, self._on_progress = sweep, on_progress
        self._certifier = Certifier(sweep.configuration.analysis.certificates, processes=True)
        self._leaving = False
        self._begun = self._packed = 0  # each is counted by one thread alone
        self._tasks: SimpleQueue[tuple[Task, Future[Outcome]] | None] = SimpleQueue()
        self._computed: SimpleQueue[tuple[Callable[[], Outcome], Future[Outcome]] | None] = SimpleQueue()
        self._packer = threading.Thread(target=self._pack, daemon=True)
        self._packer.start()
        self._thread = threading.Thread(target=self._run, daemon=True)  # a second Ctrl-C does not wait for it
        self._thread.start()

    def submit(self, task: Task) -> "Future[Outcome]":
        """Queues a task."""
        future: Future[Outcome] = Future()
        self._tasks.put((task, future))
        return future

    def close(self, now: bool) -> None:
        """Stops the threads after their tasks; with `now` threads that are at work are left to end with the process."""
        self._leaving = now
        self._tasks.put(None)
        if not (now and self._begun > self._packed):
            self._thread.join()

    def _run(self) -> None:
        known = batches(self._sweep)
        with self._certifier:
            while (item := self._tasks.get()) is not None:
                task, future = item
                if self._leaving or not future.set_running_or_notify_cancel():
                    continue
                self._begun += 1
                batch = known[task.number]
                try:
                    tell = functools.partial(self._on_progress, batch)
                    pack = begin(self._sweep, batch, tell, self._certifier)
                except BaseException as error:  # the caller decides, also about KeyboardInterrupt
                    self._begun -= 1
                    future.set_exception(error)
                else:
                    self._computed.put((pack, future))
            self._computed.put(None)
            self._packer.join()  # while there are worker processes

    def _pack(self) -> None:
        while (item := self._computed.get()) is not None:
            pack, future = item
            try:
                future.set_result(pack())
            except BaseException as error:  # likewise
                future.set_exception(error)
            self._packed += 1
