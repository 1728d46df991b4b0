"""Jobs of a SLURM cluster, one per batch, by submitit. The jobs store their batches in the shared run directory."""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from experiments.errors import UserError
from experiments.running.engines.base import Outcome, Task
from experiments.running.work import work

__all__ = ["SlurmEngine"]

_JOBS = 100
_LOOK_EVERY = 0.5  # seconds


class SlurmEngine:
    """Keeps a limited number of jobs in the queue.

    Args:
        directory: the run directory, on a file system that all machines share.
        workers: largest number of jobs in the queue, 100 by default.
        parameters: of submitit, such as slurm_partition, timeout_min or gpus_per_node.
        cluster: "slurm", or "local" for processes on this machine instead of jobs.

    Raises:
        UserError: submitit or SLURM is not installed, or a parameter is unknown.
    """

    def __init__(
        self,
        directory: Path,
        workers: int | None = None,
        parameters: Mapping[str, Any] | None = None,
        cluster: str = "slurm",
    ) -> None:
        try:
            import submitit
        except ImportError:
            raise UserError('the engine slurm needs submitit: pip install "lcnn_flow[slurm]"') from None
        self.capacity = workers or _JOBS
        try:
            self._executor = submitit.AutoExecutor(folder=directory.resolve() / "slurm", cluster=cluster)
            self._executor.update_parameters(**{"name": "lcnn_flow", "timeout_min": 60} | dict(parameters or {}))
        except (RuntimeError, NameError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"--engine slurm: {' '.join(str(error).split())}") from None
        self._jobs: dict[Any, Future[Outcome]] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._watch = threading.Thread(target=self._watch_jobs, daemon=True)
        self._watch.start()

    def submit(self, task: Task) -> "Future[Outcome]":
        """Puts a job into the queue."""
        job, future = self._executor.submit(work, task), Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            self._jobs[job] = future
        return future

    def close(self, now: bool) -> None:
        """Waits until all jobs have ended, unless `now`; cancels those that are left."""
        while not now and self._jobs:
            time.sleep(_LOOK_EVERY)
        self._closed.set()
        for job in list(self._jobs):
            job.cancel()

    def _watch_jobs(self) -> None:
        while not self._closed.wait(_LOOK_EVERY):
            for job, future in list(self._jobs.items()):
                try:
                    if not job.done():
                        continue
                    future.set_result(job.result())
                except Exception as error:  # the job was killed, or submitit failed; the schedule reports it
                    future.set_exception(error)
                with self._lock:
                    del self._jobs[job]
