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

__all__ = ["Certifier", "certificate_arrays"]

_MOST_WORKERS = 8
_CODES = {word: code for code, word in CERTIFICATES.items()}


class Certifier:
    """Finds certificates, here or, as a context manager with `processes`, in a pool of worker processes."""

    def __init__(self, count: int, processes: bool = False) -> None:
        self.count = count
        self._processes = processes
        self._pool: concurrent.futures.ProcessPoolExecutor | None = None

    def __enter__(self) -> "Certifier":
        if self.count and self._processes:
            workers = min(_MOST_WORKERS, self.count, os.cpu_count() or 1)
            context = multiprocessing.get_context("spawn")  # a fork of a process with threads of JAX may hang
            self._pool = concurrent.futures.ProcessPoolExecutor(workers, context, initializer=end_with_parent)
            for _ in range(workers):
                self._pool.submit(os.getpid)
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def __call__(
        self, risk: lf.EmpiricalRisk, params: Sequence[np.ndarray], tell: Callable[[str], None] = lambda _: None
    ) -> list[lf.Certificate]:
        """Certificates of a batch of points (leading axis), in their order; `tell` hears how far they are."""
        batch: list[list[Any]] = [[np.asarray(w[i], float) for w in params] for i in range(len(params[0]))]
        if lf.critical.no_proof(risk) is not None:
            return [lf.certify(risk, params_of(risk.network, point)) for point in batch]
        plain = lf.critical.plain_risk(risk)
        if self._pool is None:
            return [lf.critical.certify_plain(plain, point) for point in batch]
        waiting = [self._pool.submit(lf.critical.certify_plain, plain, point) for point in batch]
        for done, _ in enumerate(concurrent.futures.as_completed(waiting), start=1):
            tell(f"certificates {done}/{len(waiting)}")
        return [future.result() for future in waiting]


def certificate_arrays(certificates: Sequence[lf.Certificate], where: np.ndarray, seeds: int) -> dict[str, Any]:
    """Certificates of the seeds `where` as arrays over all seeds."""
    numbers = {
        "certified_index": [c.hessian_index if c.status == "certified" else np.nan for c in certificates],
        "existence_radius": [c.existence_radius for c in certificates],
        "uniqueness_radius": [c.uniqueness_radius for c in certificates],
        "trapping_radius": [c.trapping_radius for c in certificates],
    }
    stored = {"certificate": np.full(seeds, NOT_COMPUTED, np.int32)}
    stored["certificate"][where] = [_CODES[c.status] for c in certificates]
    for name, values in numbers.items():
        stored[name] = np.full(seeds, np.nan)
        stored[name][where] = values
    return stored
