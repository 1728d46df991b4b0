"""From a group of problems to one row per data set: its census, and where its flows end."""

from typing import Any

import numpy as np

import lcnn_flow as lf
from study.problems import STDS, Group, name_of

__all__ = ["COLUMNS", "GLOBAL", "SADDLE", "SPURIOUS", "UNDECIDED", "ends_of", "rows_of"]

GLOBAL, SPURIOUS, SADDLE, UNDECIDED = range(4)
"""Ends of a flow. UNDECIDED: no verdict of convergence, a limit outside the census, or no complete census."""
COLUMNS = ["architecture", "targets", "condition", "data_set", "real_roots", "census", "minima", "spurious_minima"] + [
    f"{what}_{std:g}" for std in STDS for what in ("spurious", "saddle", "undecided")
]


def ends_of(group: Group, censuses: Any, std: float, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Ends of all flows that start with this standard deviation.

    Args:
        group: the problems.
        censuses: of all of them.
        std: of the taps at the start.
        **options: of `lf.gradient_flow_ensemble`.

    Returns:
        (D, S) ends, and (D, S, k_v) end-to-end filters of the limits.
    """
    flows = lf.gradient_flow_ensemble(group.risks, group.starts(std), **options)
    verdicts = np.asarray(flows.verdict)
    limits = [np.asarray(w) for w in flows.limit]
    ends = np.full(verdicts.shape, UNDECIDED)
    for number, census in enumerate(censuses):
        known = np.isin(verdicts[number], (lf.Verdict.CONVERGED, lf.Verdict.AT_SADDLE))
        if census.status != "certified_complete" or not known.any():
            continue
        labels = census.labels([w[number, known] for w in limits])
        kinds = np.full(len(census.orbits) + 1, SADDLE)
        kinds[list(census.global_minima)] = GLOBAL
        kinds[list(census.spurious_minima)] = SPURIOUS
        kinds[-1] = UNDECIDED  # label -1: the limit is no orbit of the census
        ends[number, known] = kinds[labels]
    return ends, _products(limits)


def rows_of(group: Group) -> list[list]:
    """One row per data set, in the order of COLUMNS."""
    censuses = lf.census_ensemble(group.risks)
    heads = [
        [name_of(group.kernel_sizes), group.targets, group.condition, number, roots, census.status, minima, spurious]
        for number, (roots, census, minima, spurious) in enumerate(
            zip(group.real_roots, censuses, censuses.minima, censuses.spurious_minima, strict=True)
        )
    ]
    counts = []
    for std in STDS:
        ends, _ = ends_of(group, censuses, std)
        counts += [np.sum(ends == what, axis=1) for what in (SPURIOUS, SADDLE, UNDECIDED)]
    return [[*head, *map(int, numbers)] for head, numbers in zip(heads, np.stack(counts, axis=1), strict=True)]


def _products(limits: list[np.ndarray]) -> np.ndarray:
    """End-to-end filters, (D, S, k_v), of filters (D, S, k_l)."""
    product = limits[0]
    for w in limits[1:]:
        longer = np.zeros((*product.shape[:-1], product.shape[-1] + w.shape[-1] - 1))
        for tap in range(w.shape[-1]):
            longer[..., tap : tap + product.shape[-1]] += w[..., tap, None] * product
        product = longer
    return product
