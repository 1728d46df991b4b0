"""Where gradient flows go: linearly implicit Euler steps, extrapolated, many flows at once in float64.

A step of length h is taken in 1, 2, ..., 7 parts and extrapolated to part length 0 (order 7); every flow has a step
size of its own, and steps that raise the function are taken again. The end of time is as good as infinite: step sizes
grow with the times at which the flow changes.
"""

from typing import Any, NamedTuple

import numpy as np

from .duals import variables
from .structure import Structure

__all__ = ["Ends", "flow_ends"]

_ORDER = 7
_STEPS = 1500
_STAGNANT = 40
"""Steps without a smaller gradient after which one near rounding is as small as it gets."""


class Ends(NamedTuple):
    """Ends of flows, one a row."""

    vectors: np.ndarray
    gradients: np.ndarray
    """Norms."""
    rested: np.ndarray
    """The gradient came down to rounding, or time to its end."""
    times: np.ndarray
    """In units of the largest curvature at the start."""


def flow_ends(structure: Structure, data: dict, starts: np.ndarray, rtol: float, steps: int = _STEPS) -> Ends:
    """Flows of functions with `data` (B, ...) from `starts` (B, n)."""
    z, count = np.array(starts, float), len(starts)
    values, slopes, bends = _derivatives(structure, data, z)
    unit = np.maximum(np.linalg.norm(bends, axis=(1, 2)), 1e-300)
    size = np.maximum(np.linalg.norm(z, axis=1), 1e-3)
    h, t = 1e-3 / unit, np.zeros(count)
    rested, live = np.zeros(count, bool), np.arange(count)
    final = np.linalg.norm(slopes, axis=1)
    last_slopes = slopes.copy()
    best, since = np.full(count, np.inf), np.zeros(count, int)
    with np.errstate(all="ignore"):
        for _ in range(steps):
            final[live] = np.linalg.norm(last_slopes[live], axis=1)
            here = np.maximum(size[live], np.linalg.norm(z[live], axis=1))
            curvature = np.maximum(np.linalg.norm(bends[live], axis=(1, 2)), 1e-12 * unit[live])
            noise = 1e-12 * np.minimum(curvature, unit[live]) * here
            improved = final[live] < 0.5 * best[live]
            best[live] = np.where(improved, final[live], best[live])
            since[live] = np.where(improved, 0, since[live] + 1)
            done = (final[live] <= 3e-17 * curvature * here) | (t[live] > 1e16 / unit[live])
            done |= (final[live] <= noise) & (since[live] > _STAGNANT)
            rested[live[done]] = True
            live = live[~done & np.isfinite(final[live])]
            if not len(live):
                break
            h[live] = np.minimum(h[live], 1e13 / np.linalg.norm(bends[live], axis=(1, 2)))
            rows = {k: v[live] for k, v in data.items()}
            new, error = _step(structure, rows, z[live], h[live], last_slopes[live], bends[live])
            error = error / (rtol * np.maximum(1e-3 * size[live], np.linalg.norm(z[live], axis=1)))
            error = np.where(np.isfinite(error), error, 1e9)
            value, slope, bend = _derivatives(structure, rows, new)
            noise = 1e-14 * np.abs(values[live]) + 1e-13 * final[live] * np.linalg.norm(z[live], axis=1)
            rises = ~(value <= values[live] + noise) | ~np.isfinite(slope).all(axis=1)
            good = (error <= 1) & ~rises
            factor = np.clip(0.8 * np.maximum(error, 1e-12) ** (-1 / (_ORDER + 1)), 0.1, 5.0)
            rows_good = live[good]
            z[rows_good], values[rows_good] = new[good], value[good]
            last_slopes[rows_good], bends[rows_good] = slope[good], bend[good]
            t[rows_good] += h[rows_good]
            h[live] *= np.where(rises, 0.2, factor)
    return Ends(z, np.linalg.norm(last_slopes, axis=1), rested, t * unit)


def _derivatives(structure: Structure, data: dict, z: np.ndarray) -> tuple[Any, Any, Any]:
    jet = structure.jet(variables(z), data)
    return jet.v, jet.g, jet.h


def _inverse(matrices: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.inv(matrices)
    except np.linalg.LinAlgError:
        return np.linalg.inv(matrices * (1 + 1e-9 * np.eye(matrices.shape[1])))


def _step(structure: Structure, data: dict, z: np.ndarray, h: np.ndarray, slope: np.ndarray, bend: np.ndarray):
    eye, rows = np.eye(z.shape[1]), []
    for parts in range(1, _ORDER + 1):
        part = (h / parts)[:, None, None]
        matrix = eye + part * bend
        inverse = _inverse(np.where(np.isfinite(matrix), matrix, eye))
        y, g = z, slope
        for k in range(parts):
            y = y - (inverse @ (part[:, 0] * g)[..., None])[..., 0]
            if k + 1 < parts:
                g = structure.jet(variables(y, second=False), data).g
        row = [y]
        for k in range(1, parts):
            row.append(row[k - 1] + (row[k - 1] - rows[-1][k - 1]) / (parts / (parts - k) - 1))
        rows.append(row)
    return rows[-1][-1], np.linalg.norm(rows[-1][-1] - rows[-1][-2], axis=1)
