"""The flow of one problem by scipy's LSODA with the exact Hessian, and what can be said of where it ends.

Exchangeable filters that start equal or opposite are integrated as one filter, so that symmetry is exact. The end is
handed to the 200-digit search; where that does not find a critical point close by, the limit is not known.
"""

import warnings
from typing import NamedTuple

import numpy as np
from scipy.integrate import LSODA, Radau

from .exact import CriticalPoint, critical_point, layer_units
from .problem import Problem

__all__ = ["ReferenceFlow", "nearest_approach", "parameter_gap", "reference_flow", "relative_gap"]

_LONGEST = 1e24
"""In units of time of the start."""
_MAX_STEPS = 10_000
_LOOK = 1e-6
"""Gradient relative to its terms from which on the end is looked at, whenever time has grown fourfold."""
_RESTS = 5
"""A saddle is reached if the flow is found at it in so many looks in a row."""


class ReferenceFlow(NamedTuple):
    """What the reference says of one flow."""

    status: str
    """"minimum", "saddle" (reached, and not left), "degenerate" (near it, power-law tail) or "unsure"."""
    vector: np.ndarray
    """The limit, or the last state."""
    isolated: bool
    """A minimum with positive curvature across the symmetries."""
    steps: int
    path: np.ndarray
    """States along the way, (T, n)."""


def reference_flow(problem: Problem, start: np.ndarray, rtol: float = 1e-11, method: str = "LSODA") -> ReferenceFlow:
    """The limit of the gradient flow from `start`."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return _flow(problem, start, rtol, method)
        except (np.linalg.LinAlgError, ValueError, RuntimeError):
            return ReferenceFlow("unsure", np.full_like(start, np.nan), False, 0, start[None])


def _flow(problem: Problem, start: np.ndarray, rtol: float, method: str) -> ReferenceFlow:
    copies, symmetric = _copies(problem, start)
    weights = np.sum(np.abs(copies), axis=0)
    reduced = np.sum(copies * start[:, None], axis=0) / weights
    gradient = problem.gradient(start)
    if not np.all(np.isfinite(gradient)):
        return ReferenceFlow("unsure", start, False, 0, start[None])
    layers = problem.shape.layers
    if not np.any(gradient):
        return _judge(problem, start, start, symmetric, 0, start[None], at_rest=True)
    size = np.max(np.abs(start))
    fit = max(size, problem.filter_size() ** (1 / len(layers)))
    rates = [np.linalg.norm(gradient[where]) / (np.linalg.norm(start[where]) or fit) for where in layers]
    unit = 1 / max(rates)

    def field(t, u):
        return -unit * (copies.T @ problem.gradient(copies @ u)) / weights

    def jacobian(t, u):
        return -unit * (copies.T @ problem.hessian(copies @ u) @ copies) / weights[:, None]

    norms = np.concatenate([np.full(where.stop - where.start, np.linalg.norm(start[where])) for where in layers])
    atol = (np.abs(copies).T @ np.maximum(norms, 1e-3 * size)) / weights * min(rtol, 1e-11) * 1e-2
    options = {"rtol": rtol, "atol": atol, "jac": jacobian, "first_step": 1e-4}
    solver = (LSODA if method == "LSODA" else Radau)(field, 0.0, reduced, _LONGEST, **options)
    path, steps, next_look, rests = [start], 0, 0.0, 0
    while solver.status == "running" and steps < _MAX_STEPS:
        solver.step()
        steps += 1
        w = copies @ solver.y
        if steps % 8 == 0:
            path.append(w)
        if not np.all(np.isfinite(w)):
            return ReferenceFlow("unsure", w, False, steps, np.array(path))
        if steps % 4 or solver.t < next_look or _rest(problem, w) > _LOOK:
            continue
        next_look = 4 * solver.t
        end = _judge(problem, w, start, symmetric, steps, np.array([*path, w]))
        rests = rests + 1 if end.status == "saddle" else 0
        if end.status == "minimum" or rests >= _RESTS:
            return end
    w = copies @ solver.y
    return _judge(problem, w, start, symmetric, steps, np.array([*path, w]))


def _rest(problem: Problem, w: np.ndarray) -> float:
    """The gradient that is left, relative to its terms."""
    terms, gradient = problem.uncancelled(w), problem.gradient(w)
    sizes = [np.linalg.norm(gradient[where]) for where in problem.shape.layers]
    return max(size / term if term > 0 else 0.0 for size, term in zip(sizes, terms, strict=True))


def _judge(problem, w, start, symmetric: bool, steps: int, path, at_rest: bool = False) -> ReferenceFlow:
    """What the critical point nearby says."""
    point = critical_point(problem, w, start)
    if point.status != "found":
        return ReferenceFlow("unsure", w, False, steps, path)
    near = point.distance <= 1e-4
    if point.index == 0 and near and point.nullity <= 0:
        return ReferenceFlow("minimum", point.vector, True, steps, path)
    if point.index == 0 and near and _is_manifold(problem, point):
        return ReferenceFlow("minimum", point.vector, False, steps, path)
    if point.index > 0 and point.distance <= 1e-7 and (symmetric or at_rest):
        return ReferenceFlow("saddle", point.vector, False, steps, path)
    if point.index == 0 and point.distance <= 1e-2:
        return ReferenceFlow("degenerate", point.vector, False, steps, path)
    return ReferenceFlow("unsure", w, False, steps, path)


def _is_manifold(problem: Problem, point: CriticalPoint) -> bool:
    """Newton's steps were those of a regular zero modulo the kernel: the distance did not shrink slowly."""
    return point.distance <= 1e-7


def _copies(problem: Problem, start: np.ndarray) -> tuple[np.ndarray, bool]:
    """E with w = E u, u one filter for all that are equal or opposite; whether there are such filters."""
    shape, columns, done = problem.shape, [], set()
    symmetric = False
    for layer, where in enumerate(shape.layers):
        if layer in done:
            continue
        block = np.zeros((shape.size, where.stop - where.start))
        block[where] = np.eye(block.shape[1])
        group = next((g for g in shape.exchangeable if layer in g), ())
        for other in group:
            there = shape.layers[other]
            if other > layer and other not in done and np.any(start[where]):
                for sign in (1, -1):
                    if np.array_equal(start[there], sign * start[where]):
                        block[there] = sign * np.eye(block.shape[1])
                        done.add(other)
                        symmetric = True
                        break
        columns.append(block)
    return np.concatenate(columns, axis=1), symmetric


def relative_gap(problem: Problem, one: np.ndarray, two: np.ndarray) -> float:
    """Distance of two end-to-end filters relative to their size, or to the size that fits."""
    a, b = problem.filter(one), problem.filter(two)
    size = max(np.linalg.norm(b), problem.filter_size())
    return float(np.linalg.norm(a - b) / size) if size > 0 else float(np.linalg.norm(a - b))


def parameter_gap(problem: Problem, one: np.ndarray, two: np.ndarray) -> float:
    """Distance of two points of one leaf, in units of each layer of the second."""
    return float(np.linalg.norm((one - two) / _units(problem, two)))


def nearest_approach(problem: Problem, path: np.ndarray, point: np.ndarray) -> float:
    """Smallest distance of the path from a point, in units of each layer."""
    return float(np.min(np.linalg.norm((path - point) / _units(problem, point), axis=1)))


def _units(problem: Problem, point: np.ndarray) -> np.ndarray:
    norms = layer_units(problem, point, point)
    layers = problem.shape.layers
    return np.concatenate([np.full(where.stop - where.start, x) for where, x in zip(layers, norms, strict=True)])
