"""Computes batches in this process on all devices, and certifies finished ones meanwhile.

While a program is being traced and compiled, which uses one core, the flows of another batch run. So two threads
compute batches on a CPU with several cores: besides one batch there may be another whose program is new. Batches whose
programs are compiled already run one after the other, each on all cores.
"""

import functools
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue

import jax

from experiments.computing.certification import Certifier
from experiments.planning.batches import Batch
from experiments.planning.plan import Plan
from experiments.running.compute import start_batch
from experiments.running.engines.base import Outcome, Task

__all__ = ["LocalEngine"]

_FEW_CERTIFICATES = 16
"""As many take less time, up to 0.3 s each, than it takes to start worker processes, which import the library anew."""


class LocalEngine:
    """Threads of this process: one or two compute batches, another waits for their certificates and packs them.

    Args:
        plan: what is computed.
        on_progress: called as on_progress(batch, flows done, note) when flows end.
    """

    def __init__(self, plan: Plan, on_progress: Callable[[Batch, int, str], None]) -> None:
        self._plan, self._on_progress = plan, on_progress
        proofs = [cell.configuration.certificates or 0 for cell in plan.sweep.cells]
        self._certifier = Certifier(processes=max(proofs) if sum(proofs) > _FEW_CERTIFICATES else 0)
        several_cores = jax.default_backend() == "cpu" and jax.local_device_count() > 1
        self._width = 2 if several_cores and len(set(plan.programs.values())) > 1 else 1
        self.capacity = self._width + 1
        self._tasks, self._changed = deque[tuple[Task, Future[Outcome]]](), threading.Condition()
        self._closed = self._leaving = False
        self._computing = self._unpacked = 0
        self._known: set[int] = set()
        self._computed: SimpleQueue[tuple[Callable[[], Outcome], Future[Outcome]] | None] = SimpleQueue()
        # as daemons, the threads do not keep the process alive after a second Ctrl-C
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def submit(self, task: Task) -> "Future[Outcome]":
        """Queues a task."""
        future: Future[Outcome] = Future()
        with self._changed:
            self._tasks.append((task, future))
            self._changed.notify_all()
        return future

    def close(self, now: bool) -> None:
        """Stops the threads after their tasks; if `now`, threads that are working are left to end with the process."""
        with self._changed:
            self._closed, self._leaving = True, now
            working = self._unpacked > 0
            self._changed.notify_all()
        if not (now and working):
            self._thread.join()

    def _run(self) -> None:
        with self._certifier:
            packing = threading.Thread(target=self._pack, daemon=True)
            computing = [threading.Thread(target=self._compute, daemon=True) for _ in range(self._width)]
            for thread in (packing, *computing):
                thread.start()
            for thread in computing:
                thread.join()
            self._computed.put(None)
            packing.join()  # before the worker processes of the certifier are stopped

    def _compute(self) -> None:
        while (item := self._next()) is not None:
            task, future = item
            try:
                on_progress = functools.partial(self._on_progress, task.batch)
                pack = start_batch(self._plan.sweep, task.batch, on_progress, self._certifier)
            except BaseException as error:  # also KeyboardInterrupt: the caller handles it
                self._count(computing=-1, unpacked=-1)
                future.set_exception(error)
            else:
                self._count(computing=-1)
                self._computed.put((pack, future))

    def _next(self) -> "tuple[Task, Future[Outcome]] | None":
        """The next task, as soon as it may begin; None if there is none and none will come."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._may_begin() or (self._closed and not self._tasks))
                if not self._tasks:
                    return None
                task, future = self._tasks.popleft()
                if self._leaving or not future.set_running_or_notify_cancel():
                    continue
                self._known.add(self._plan.programs[task.batch.number])
                self._computing, self._unpacked = self._computing + 1, self._unpacked + 1
                return task, future

    def _may_begin(self) -> bool:
        """Whether there is a task, and nothing is being computed or its program is new."""
        if not self._tasks:
            return False
        return self._computing == 0 or self._plan.programs[self._tasks[0][0].batch.number] not in self._known

    def _count(self, computing: int = 0, unpacked: int = 0) -> None:
        with self._changed:
            self._computing, self._unpacked = self._computing + computing, self._unpacked + unpacked
            self._changed.notify_all()

    def _pack(self) -> None:
        while (item := self._computed.get()) is not None:
            pack, future = item
            try:
                future.set_result(pack())
            except BaseException as error:
                future.set_exception(error)
            self._count(unpacked=-1)
