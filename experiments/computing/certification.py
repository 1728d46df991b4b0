"""Certificates of limits, in worker processes: exact arithmetic on the host, beside what the device computes.

Workers are started with the run, so that they are ready when the first cell has its limits, and ignore Ctrl-C, which
is for the process that started them. They get plain arrays and compile nothing.
"""

import concurrent.futures
import multiprocessing
import os
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


class Certifier:
    """Finds certificates, here or, as a context manager with `processes`, in a pool of worker processes."""

    def __init__(self, count: int, processes: bool = False) -> None:
        self.count = count
        self._processes = processes
        self._pool: concurrent.futures.ProcessPoolExecutor | None = None
        self._workers = max(1, min(_MOST_WORKERS, count, os.cpu_count() or 1))
        self._open: list[Callable[[], None]] = []

    def __enter__(self) -> "Certifier":
        if self.count and self._processes:
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
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Gives `found` the certificates of a batch of points (leading axis), in their order.

        With worker processes that happens when what `take` returns is called; `tell` hears how far they are.
        """
        batch: list[list[Any]] = [[np.asarray(w[i], float) for w in params] for i in range(len(params[0]))]
        if lf.critical.no_proof(risk) is not None:
            found([lf.certify(risk, params_of(risk.network, point)) for point in batch])
            return
        plain = lf.critical.plain_numbers_of(risk)
        if self._pool is None:
            found(_certificates(plain, batch))
            return
        size = -(-len(batch) // self._workers)  # one task per worker: what certificates share is computed once in each
        parts = [batch[first : first + size] for first in range(0, len(batch), size)]
        waiting = [self._pool.submit(_certificates, plain, part) for part in parts]

        def wait() -> None:
            done = 0
            for future in concurrent.futures.as_completed(waiting):
                done += len(future.result())
                tell(f"certificates {done}/{len(batch)}")
            found([certificate for future in waiting for certificate in future.result()])

        self._open.append(wait)

    def take(self) -> list[Callable[[], None]]:
        """What has to be called, in any thread, before the certificates asked for since the last `take` are found."""
        taken, self._open = self._open, []
        return taken


def _certificates(plain: Any, batch: Sequence[Sequence[np.ndarray]]) -> list[lf.Certificate]:
    return [lf.critical.certify_plain(plain, point) for point in batch]


def no_certificates(seeds: int) -> dict[str, np.ndarray]:
    """Arrays over all seeds, before anything is proved."""
    stored = {name: np.full(seeds, np.nan) for name in _NUMBERS}
    return {"certificate": np.full(seeds, NOT_COMPUTED, np.int32), **stored}


def fill_in(stored: dict[str, np.ndarray], certificates: Sequence[lf.Certificate], where: np.ndarray) -> None:
    """Puts certificates of the seeds `where` into arrays over all seeds."""
    stored["certificate"][where] = [_CODES[c.status] for c in certificates]
    for name, number in _NUMBERS.items():
        stored[name][where] = [number(c) for c in certificates]
