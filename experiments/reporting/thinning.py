"""Leaves out points of curves where the difference cannot be seen.

Douglas and Peucker (1973): the point farthest from the chord of a stretch is kept, and both halves are treated alike,
until no point is farther away than a tolerance.
"""

import numpy as np

__all__ = ["kept"]


def kept(x: np.ndarray, y: np.ndarray, tolerance: float) -> np.ndarray:
    """Indices of the points to keep, ascending; the straight lines between them pass all others within `tolerance`.

    Args:
        x: (T,), ascending.
        y: (T,), in the units in which `tolerance` is meant; entries that are not finite are left out.
        tolerance: vertical distance.
    """
    known = np.flatnonzero(np.isfinite(y))
    if known.size < 3:
        return known
    x, y = x[known], y[known]
    keep = np.zeros(known.size, bool)
    keep[[0, -1]] = True
    stretches = [(0, known.size - 1)]
    while stretches:
        first, last = stretches.pop()
        if last - first < 2:
            continue
        inside = slice(first + 1, last)
        slope = (y[last] - y[first]) / (x[last] - x[first])
        away = np.abs(y[first] + slope * (x[inside] - x[first]) - y[inside])
        farthest = int(np.argmax(away))
        if away[farthest] > tolerance:
            middle = first + 1 + farthest
            keep[middle] = True
            stretches += [(first, middle), (middle, last)]
    return known[keep]
