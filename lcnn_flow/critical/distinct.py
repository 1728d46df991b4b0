"""Which limits are equal, and how far their risks are above the lowest; on numpy arrays."""

import numpy as np
from jaxtyping import Float

__all__ = ["above_lowest", "grouped_by_filter"]

_SAME_FILTER = 1e-6
"""Largest relative distance of two end-to-end filters that count as equal."""
_SAME_RISK = 1e-9
"""Largest relative difference of two risks that count as equal."""
_OF_THE_START = 1e-12
"""The same relative to the risk at the start: near interpolation smaller differences are rounding errors."""


def above_lowest(risk: Float[np.ndarray, " S"], start: Float[np.ndarray, " F"]) -> Float[np.ndarray, " S"]:
    """Risk of every limit minus the lowest one; 0 up to rounding; NaN if there is no limit.

    Args:
        risk: risks of limits of one risk function, NaN if there is no limit.
        start: risks at the start of flows, of which the median is used.
    """
    if not np.isfinite(risk).any():
        return np.full(risk.shape, np.nan)
    lowest = float(np.nanmin(risk))
    rounding = _SAME_RISK * abs(lowest) + _OF_THE_START * abs(float(np.nanmedian(start)))
    return np.where(risk - lowest <= rounding, 0 * risk, risk - lowest)


def grouped_by_filter(filters: Float[np.ndarray, "S taps"]) -> list[np.ndarray]:
    """Groups of rows with equal end-to-end filters: one array of row numbers per filter, in the order of their first
    rows.

    Entries that are NaN in all rows, which pad shorter filters, are ignored.
    """
    rows, left = np.nan_to_num(filters), np.arange(len(filters))
    groups = []
    while left.size:
        v = rows[left[0]]
        same = np.linalg.norm(rows[left] - v, axis=1) <= _SAME_FILTER * np.linalg.norm(v)
        groups.append(left[same])
        left = left[~same]
    return groups
