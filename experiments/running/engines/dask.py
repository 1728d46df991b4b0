"""Workers of dask.distributed, on this machine or of a running scheduler. Batches of a dead worker move to another."""

from concurrent.futures import CancelledError, Future
from typing import Any

from experiments.errors import UserError
from experiments.running.engines.base import Outcome, Task
from experiments.running.work import work

__all__ = ["DaskEngine"]

_ANSWER = 15
"""Seconds within which the scheduler must answer."""
_FIRST_WORKER = 60
"""Seconds within which the first worker must connect to the scheduler."""


class DaskEngine:
    """The workers of the scheduler at `address`, or a cluster of `workers` processes on this machine.

    Raises:
        UserError: dask.distributed is not installed, or no scheduler answers, or it has no worker.
    """

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        try:
            import distributed
        except ImportError:
            raise UserError('the engine dask needs dask.distributed: pip install "lcnn_flow[dask]"') from None
        self._cluster: Any = None
        if address is None:
            options: dict[str, Any] = {
                "threads_per_worker": 1,
                "processes": True,
                "dashboard_address": None,
                "preload": "experiments.computing.parents",
            }
            self._cluster = distributed.LocalCluster(n_workers=workers, **options)
        try:
            self._client: Any = distributed.Client(self._cluster if address is None else address, timeout=_ANSWER)
        except (OSError, ValueError) as error:
            raise UserError(f"no dask scheduler answers at {address}: {str(error).splitlines()[0]}") from None
        try:
            self._client.wait_for_workers(1, timeout=_FIRST_WORKER)
        except TimeoutError:
            self.close(now=True)
            raise UserError(f"the scheduler at {address} has no worker: start one with dask worker {address}") from None
        self._remote: set[Any] = set()  # dask cancels tasks whose futures are no longer referenced

    @property
    def capacity(self) -> int:
        """Twice the number of threads of all workers that are connected now."""
        return max(1, 2 * sum(self._client.nthreads().values()))

    def submit(self, task: Task) -> "Future[Outcome]":
        """Starts a task on some worker."""
        future: Future[Outcome] = Future()
        future.set_running_or_notify_cancel()  # so that it cannot be cancelled: a worker may have started it
        remote = self._client.submit(work, task, pure=False)
        self._remote.add(remote)
        remote.add_done_callback(lambda done: self._pass_on(done, future))
        return future

    def _pass_on(self, remote: Any, future: "Future[Outcome]") -> None:
        self._remote.discard(remote)
        try:
            future.set_result(remote.result())
        except CancelledError:
            future.set_exception(ConnectionError("the dask scheduler has gone, or gave the task up"))
        except Exception as error:  # the worker was lost; the schedule reports it
            future.set_exception(error)

    def close(self, now: bool) -> None:
        """Disconnects from the scheduler, and stops the cluster if this engine has started it."""
        del now
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()
