"""Worker processes on this machine, each with devices of its own: one GPU, or a part of the cores."""

import multiprocessing
import os
import queue
import shutil
import subprocess
from collections.abc import Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from experiments.computing.parents import end_with_parent
from experiments.running.engines.base import Outcome, Task
from experiments.running.work import work
from experiments.running.worker_environment import prepare_environment

__all__ = ["ProcessEngine", "visible_gpus"]


class ProcessEngine:
    """A fixed number of worker processes; by default one per GPU, or one per core if there is no GPU.

    Every worker is a process pool of its own, so that a worker that dies loses only its own task, and is replaced.
    """

    def __init__(self, workers: int | None = None) -> None:
        gpus = visible_gpus()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.capacity = workers or len(gpus) or cores
        self._settings = [_settings(k, self.capacity, gpus, cores) for k in range(self.capacity)]
        self._pools = [_pool(settings) for settings in self._settings]
        self._idle: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(self.capacity):
            self._idle.put(number)

    def submit(self, task: Task) -> "Future[Outcome]":
        """Starts a task on an idle worker."""
        number = self._idle.get()
        try:
            future = self._pools[number].submit(work, task)
        except BrokenProcessPool:  # killed during its last task, or while it was idle
            self._replace(number)
            future = self._pools[number].submit(work, task)
        future.add_done_callback(lambda _: self._idle.put(number))  # holds a lock of its pool: it must not replace it
        return future

    def close(self, now: bool) -> None:
        """Ends all workers: at once if `now`, else after their tasks."""
        for pool in self._pools:
            if now:
                for process in list((getattr(pool, "_processes", None) or {}).values()):
                    process.kill()
            pool.shutdown(wait=True, cancel_futures=True)

    def _replace(self, number: int) -> None:
        self._pools[number].shutdown(wait=False)
        self._pools[number] = _pool(self._settings[number])


def visible_gpus() -> list[str]:
    """Names of the NVIDIA GPUs that this process may use; the GPUs are not initialised."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name.strip() and name.strip() != "-1"]
    if os.environ.get("JAX_PLATFORMS", "").startswith("cpu") or shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return answer.stdout.split() if answer.returncode == 0 else []


def _settings(number: int, workers: int, gpus: list[str], cores: int) -> dict[str, str]:
    if gpus:
        return {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]}
    return {"JAX_NUM_CPU_DEVICES": str(max(1, min(8, cores // workers)))}


def _pool(settings: Mapping[str, str]) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads of JAX may hang
    return ProcessPoolExecutor(1, context, initializer=_begin, initargs=(dict(settings),))


def _begin(settings: Mapping[str, str]) -> None:
    """Runs in the new process, before JAX is imported there."""
    end_with_parent()
    os.environ.update(settings)
    prepare_environment()
