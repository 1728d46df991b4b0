"""Certificates of limits, computed in worker processes: ball arithmetic on the host, while devices compute flows.

Workers are started with the run, so that they are ready when the first cell has its limits. They ignore Ctrl-C, which
the process that has started them handles. They get plain arrays and compile nothing.
"""

import concurrent.futures
import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import lcnn_flow as lf
from experiments.computing.parents import end_with_parent
from experiments.networks import params_of
from experiments.results.variables import CERTIFICATES, NOT_COMPUTED

__all__ = ["Certifier", "fill_in", "no_certificates"]

_MOST_WORKERS = 8
_CODES = {word: code for code, word in CERTIFICATES.items()}
_NUMBERS: dict[str, Callable[[lf.Certificate], float]] = {
    "certified_index": lambda c: c.hessian_index if c.status == "certified" else np.nan,
    "existence_radius": lambda c: c.existence_radius,
    "uniqueness_radius": lambda c: c.uniqueness_radius,
    "trapping_radius": lambda c: c.trapping_radius,
}


class _OfThisThread(threading.local):
    """Functions that wait for certificates: every thread that computes batches has a list of its own."""

    def __init__(self) -> None:
        self.waits: list[Callable[[], None]] = []


class Certifier:
    """Computes certificates, in this process or, as a context manager with `processes`, in worker processes.

    Args:
        processes: largest number of worker processes that have something to do; 0 for none.
    """

    def __init__(self, processes: int = 0) -> None:
        self._pool: concurrent.futures.ProcessPoolExecutor | None = None
        self._workers = min(_MOST_WORKERS, processes, os.cpu_count() or 1)
        self._open = _OfThisThread()

    def __enter__(self) -> "Certifier":
        if self._workers:
            context = multiprocessing.get_context("spawn")  # a fork of a process with threads of JAX may hang
            self._pool = concurrent.futures.ProcessPoolExecutor(self._workers, context, initializer=end_with_parent)
            for _ in range(self._workers):
                self._pool.submit(os.getpid)
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def prove(
        self,
        risk: lf.EmpiricalRisk,
        params: Sequence[np.ndarray],
        found: Callable[[list[lf.Certificate]], None],
        on_progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Computes the certificates of a batch of points (leading axis), and calls `found` with them in that order.

        With worker processes, `found` is called by the functions that `take` returns, and `on_progress` with a text.
        """
        batch: list[list[Any]] = [[np.asarray(w[i], float) for w in params] for i in range(len(params[0]))]
        if lf.critical.no_proof(risk) is not None:
            found([lf.certify(risk, params_of(risk.network, point)) for point in batch])
            return
        plain = lf.critical.plain_numbers_of(risk)
        if self._pool is None:
            found(_certificates(plain, batch))
            return
        size = -(-len(batch) // self._workers)  # one task per worker, because certificates of one problem share work
        parts = [batch[first : first + size] for first in range(0, len(batch), size)]
        waiting = [self._pool.submit(_certificates, plain, part) for part in parts]

        def wait() -> None:
            done = 0
            for future in concurrent.futures.as_completed(waiting):
                done += len(future.result())
                on_progress(f"certificates {done}/{len(batch)}")
            found([certificate for future in waiting for certificate in future.result()])

        self._open.waits.append(wait)

    def take(self) -> list[Callable[[], None]]:
        """Functions that wait for the certificates this thread has asked for since its last `take`.

        They may be called in any thread.
        """
        taken, self._open.waits = self._open.waits, []
        return taken


def _certificates(plain: Any, batch: Sequence[Sequence[np.ndarray]]) -> list[lf.Certificate]:
    return [lf.critical.certify_plain(plain, point) for point in batch]


def no_certificates(seeds: int) -> dict[str, np.ndarray]:
    """The stored arrays of certificates over all seeds, before any has been computed."""
    stored = {name: np.full(seeds, np.nan) for name in _NUMBERS}
    return {"certificate": np.full(seeds, NOT_COMPUTED, np.int32), **stored}


def fill_in(stored: dict[str, np.ndarray], certificates: Sequence[lf.Certificate], where: np.ndarray) -> None:
    """Writes the certificates of the seeds `where` into arrays over all seeds."""
    stored["certificate"][where] = [_CODES[c.status] for c in certificates]
    for name, number in _NUMBERS.items():
        stored[name][where] = [number(c) for c in certificates]
