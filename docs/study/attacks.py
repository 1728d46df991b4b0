"""Attempts to refute the study: a tighter tolerance, another integrator, and another definition of "spurious".

Another integrator: LSODA of scipy on a gradient written with numpy's convolutions, at rtol 1e-10, then Newton's method.
Nothing of the library takes part but the starts and the ends that it is compared with.
"""

import math
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

import lcnn_flow as lf
from study.flows import GLOBAL, SPURIOUS, UNDECIDED, ends_of
from study.problems import STDS, Group

__all__ = ["attack", "lsoda_limit"]

_TIGHT = 1e-6
"""rtol of the second integration; the study uses the default, 1e-3 with tighter rounds near saddles."""
_LEAST = 1e-9
"""Risk, relative to the one at v = 0, up to which a limit of an attainable target counts as global."""
_SAME = 1e-6


def attack(group: Group) -> dict[str, tuple[int, int]]:
    """Pairs (flows compared, flows that disagree) per attack."""
    censuses = lf.census_ensemble(group.risks)
    found = {name: [0, 0] for name in ("tolerance", "risk", "lsoda", "lsoda of spurious ends")}
    for position, std in enumerate(STDS):
        ends, filters = ends_of(group, censuses, std)
        tight, _ = ends_of(group, censuses, std, rtol=_TIGHT)
        decided = (ends != UNDECIDED) & (tight != UNDECIDED)
        _add(found["tolerance"], decided, ends != tight)
        if group.targets == "attainable":
            minimum = (ends == GLOBAL) | (ends == SPURIOUS)
            _add(found["risk"], minimum, _above_zero(group, filters) != (ends == SPURIOUS))
        for name, (data_set, start) in _picked(ends, position).items():
            w = [direction[data_set, start] * std for direction in group.directions]
            other = lsoda_limit(group.grams[data_set], group.filters[data_set], w)
            here = filters[data_set, start]
            apart = math.dist(here, other) > _SAME * np.linalg.norm(here)
            _add(found[name], np.ones(1, bool), np.asarray([apart]))
    return {name: (compared, disagreeing) for name, (compared, disagreeing) in found.items()}


def _picked(ends: np.ndarray, position: int) -> dict[str, tuple[int, int]]:
    """Data set and start of the flows that LSODA integrates: any flow, and one that ends in a spurious minimum."""
    decided, spurious = np.argwhere(ends != UNDECIDED), np.argwhere(ends == SPURIOUS)
    chosen = {"lsoda": decided[(37 * position) % len(decided)]} if len(decided) else {}
    if len(spurious):
        chosen["lsoda of spurious ends"] = spurious[(37 * position) % len(spurious)]
    return {name: (int(data_set), int(start)) for name, (data_set, start) in chosen.items()}


def _add(counts: list[int], compared: np.ndarray, different: np.ndarray) -> None:
    counts[0] += int(compared.sum())
    counts[1] += int((compared & different).sum())


def _above_zero(group: Group, filters: np.ndarray) -> np.ndarray:
    """Whether the risk of end-to-end filters (D, S, k_v) is above 0."""
    gaps = filters - group.filters[:, None]
    risks = np.einsum("dsi,dij,dsj->ds", gaps, group.grams, gaps)
    at_zero = np.einsum("di,dij,dj->d", group.filters, group.grams, group.filters)
    return risks > _LEAST * at_zero[:, None]


def lsoda_limit(gram: np.ndarray, target: np.ndarray, start: list[np.ndarray]) -> np.ndarray:
    """End-to-end filter at the limit of the flow of |v - v*|_G^2 / 2, by scipy.

    Args:
        gram: (k_v, k_v) G.
        target: (k_v,) v*.
        start: filters at time 0.

    Raises:
        RuntimeError: LSODA gives up.
    """
    cuts = np.cumsum([len(w) for w in start])[:-1]
    scale = np.linalg.norm(gram @ target)

    def gradient(w: np.ndarray) -> np.ndarray:
        layers = np.split(w, cuts)
        slope = gram @ (_convolved(layers) - target)
        return np.concatenate(
            [np.correlate(slope, _convolved(layers[:i] + layers[i + 1 :]), "valid") for i in range(len(layers))]
        )

    def at_rest(_: float, w: np.ndarray) -> float:
        return math.log(np.linalg.norm(gradient(w)) / scale + 1e-300) - math.log(1e-9)

    at_rest.terminal = True
    w = np.concatenate(start)
    run: Any = solve_ivp(lambda _, w: -gradient(w), (0, 1e13), w, "LSODA", rtol=1e-10, atol=1e-13, events=at_rest)
    if run.status < 0:
        raise RuntimeError(f"LSODA gave up: {run.message}")
    return _convolved(np.split(_polished(gradient, run.y[:, -1]), cuts))


def _polished(gradient: Any, w: np.ndarray) -> np.ndarray:
    """Newton's method of least norm, with a Jacobian by central differences."""
    for _ in range(8):
        steps = 1e-6 * np.eye(len(w))
        jacobian = np.stack([(gradient(w + h) - gradient(w - h)) / 2e-6 for h in steps], axis=1)
        w = w - np.linalg.lstsq(jacobian, gradient(w), rcond=1e-9)[0]
    return w


def _convolved(layers: list[np.ndarray]) -> np.ndarray:
    product = np.ones(1)
    for w in layers:
        product = np.convolve(product, w)
    return product
