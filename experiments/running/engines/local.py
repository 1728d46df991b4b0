"""Computes batches in this process, one after the other on all devices, and certifies the previous one meanwhile."""

import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue

from experiments.computing.certification import Certifier
from experiments.planning.batches import Batch
from experiments.running.compute import start_batch
from experiments.running.engines.base import Outcome, Task
from experiments.sweeps.sweep import Sweep

__all__ = ["LocalEngine"]

_FEW_CERTIFICATES = 16
"""As many take less time, up to 0.3 s each, than it takes to start worker processes, which import the library anew."""


class LocalEngine:
    """Two threads of this process: one computes batches, the other waits for their certificates and packs them.

    Args:
        sweep: what is computed.
        on_progress: called as on_progress(batch, flows done, note) when flows end.
    """

    capacity = 2

    def __init__(self, sweep: Sweep, on_progress: Callable[[Batch, int, str], None]) -> None:
        self._sweep, self._on_progress = sweep, on_progress
        proofs = [cell.configuration.certificates or 0 for cell in sweep.cells]
        self._certifier = Certifier(processes=max(proofs) if sum(proofs) > _FEW_CERTIFICATES else 0)
        self._leaving = False
        self._begun = self._packed = 0  # each counter is changed by one thread only
        self._tasks: SimpleQueue[tuple[Task, Future[Outcome]] | None] = SimpleQueue()
        self._computed: SimpleQueue[tuple[Callable[[], Outcome], Future[Outcome]] | None] = SimpleQueue()
        self._packer = threading.Thread(target=self._pack, daemon=True)
        self._packer.start()
        # as daemons, the threads do not keep the process alive after a second Ctrl-C
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def submit(self, task: Task) -> "Future[Outcome]":
        """Queues a task."""
        future: Future[Outcome] = Future()
        self._tasks.put((task, future))
        return future

    def close(self, now: bool) -> None:
        """Stops the threads after their tasks; if `now`, threads that are working are left to end with the process."""
        self._leaving = now
        self._tasks.put(None)
        if not (now and self._begun > self._packed):
            self._thread.join()

    def _run(self) -> None:
        with self._certifier:
            while (item := self._tasks.get()) is not None:
                task, future = item
                if self._leaving or not future.set_running_or_notify_cancel():
                    continue
                self._begun += 1
                try:
                    on_progress = functools.partial(self._on_progress, task.batch)
                    pack = start_batch(self._sweep, task.batch, on_progress, self._certifier)
                except BaseException as error:  # also KeyboardInterrupt: the caller handles it
                    self._begun -= 1
                    future.set_exception(error)
                else:
                    self._computed.put((pack, future))
            self._computed.put(None)
            self._packer.join()  # before the worker processes of the certifier are stopped

    def _pack(self) -> None:
        while (item := self._computed.get()) is not None:
            pack, future = item
            try:
                future.set_result(pack())
            except BaseException as error:
                future.set_exception(error)
            self._packed += 1
