"""Which limits are one, and how far they lie above the lowest; on arrays of the host."""

import numpy as np
from jaxtyping import Float

__all__ = ["above_lowest", "grouped_by_filter"]

_SAME_FILTER = 1e-6
"""Relative distance of two end-to-end filters up to which they are one."""
_SAME_RISK = 1e-9
"""Relative difference of two risks up to which they are one."""
_OF_THE_START = 1e-12
"""The same in units of the risk at the start: what is left of it near interpolation is rounding."""


def above_lowest(risk: Float[np.ndarray, " S"], start: Float[np.ndarray, " F"]) -> Float[np.ndarray, " S"]:
    """Risk of every limit less the lowest one, 0 up to rounding; NaN where there is no limit.

    Args:
        risk: of limits of one risk function, NaN where there is none.
        start: risks at the start of flows, of which the median counts.
    """
    if not np.isfinite(risk).any():
        return np.full(risk.shape, np.nan)
    lowest = float(np.nanmin(risk))
    rounding = _SAME_RISK * abs(lowest) + _OF_THE_START * abs(float(np.nanmedian(start)))
    return np.where(risk - lowest <= rounding, 0 * risk, risk - lowest)


def grouped_by_filter(filters: Float[np.ndarray, "S taps"]) -> list[np.ndarray]:
    """Rows of equal end-to-end filters: one array of row numbers per filter, in the order of their first rows.

    Entries that are NaN in all rows, with which shorter filters are filled up, do not count.
    """
    rows, left = np.nan_to_num(filters), np.arange(len(filters))
    groups = []
    while left.size:
        v = rows[left[0]]
        same = np.linalg.norm(rows[left] - v, axis=1) <= _SAME_FILTER * np.linalg.norm(v)
        groups.append(left[same])
        left = left[~same]
    return groups
