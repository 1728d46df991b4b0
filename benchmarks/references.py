"""Where the flows truly go: tight limits and trajectories by codes that share nothing with the library.

Limits: CVODE's BDF at a relative tolerance of 1e-10 until |grad L| <= 1e-10, then Newton's method. Trajectories:
scipy's Radau at 1e-12.
"""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from scipy.integrate import solve_ivp
from sksundae.cvode import CVODE

from benchmarks.numpy_risk import NumpyRisk

__all__ = ["Limits", "cvode", "limits", "trajectories"]

_MAX_TIME = 1e12


class Limits(NamedTuple):
    """Reference limits of some seeds."""

    vectors: np.ndarray
    """(seeds, parameters)."""
    confirmed: np.ndarray
    """(seeds,): Newton's method came to rest at a minimum close to where the integration stopped."""
    curvature: np.ndarray
    """(seeds,): largest eigenvalue of the Hessian along the flow."""


def cvode(risk: NumpyRisk, start: np.ndarray, tolerance: float, absolute: float, gradient_norm: float) -> Any:
    """States of CVODE's BDF, a row a step, up to |grad L| = `gradient_norm`; numpy callbacks, dense Jacobian."""

    def field(t: float, w: np.ndarray, slope: np.ndarray) -> Any:
        slope[:] = -risk.gradient(w)

    def jacobian(t: float, w: np.ndarray, slope: np.ndarray, out: np.ndarray) -> Any:
        out[:] = -risk.hessian(w)

    def arrival(t: float, w: np.ndarray, out: np.ndarray) -> Any:
        out[0] = np.linalg.norm(risk.gradient(w)) - gradient_norm

    solver = CVODE(
        field,
        rtol=tolerance,
        atol=absolute,
        jacfn=jacobian,
        eventsfn=arrival,
        num_events=1,
        max_num_steps=1_000_000,
    )
    return solver.solve(np.array([0.0, _MAX_TIME]), np.array(start)).y


def _limit(task: tuple[NumpyRisk, np.ndarray]) -> Any:
    risk, start = task
    path = cvode(risk, start, 1e-10, 1e-12, 1e-10)
    vector, confirmed = risk.polish(path[-1], risk.balance(start))
    steepest = max(np.linalg.eigvalsh(risk.hessian(w))[-1] for w in path[:: max(1, len(path) // 50)])
    return vector, confirmed, steepest


def limits(risk: NumpyRisk, starts: np.ndarray) -> Limits:
    """Limits of the flows from `starts` (seeds, parameters), on all cores."""
    found = _on_all_cores(_limit, [(risk, start) for start in starts], 16)
    return Limits(*(np.array(column) for column in zip(*found, strict=True)))


def _trajectory(task: tuple[NumpyRisk, np.ndarray, np.ndarray]) -> np.ndarray:
    risk, start, times = task
    options: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-14, "jac": lambda t, w: -risk.hessian(w)}
    return solve_ivp(lambda t, w: -risk.gradient(w), (0.0, times[-1]), start, "Radau", times, **options).y.T


def trajectories(risk: NumpyRisk, starts: np.ndarray, times: np.ndarray) -> np.ndarray:
    """w(t) at `times`, (seeds, times, parameters), on all cores."""
    return np.array(_on_all_cores(_trajectory, [(risk, start, times) for start in starts], 1))


def _on_all_cores(function: Callable[..., Any], tasks: list[Any], chunk: int) -> list[Any]:
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(function, tasks, chunksize=chunk))
