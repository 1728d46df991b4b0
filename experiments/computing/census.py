"""All critical points of a cell by `lcnn_flow.census`, the points at which its flows end, and its Morse graph.

Cells of a sweep with equal data share a census. A census takes hundredths of a second for the smallest networks;
tracking the paths of several cells together was measured to be no faster.
"""

import functools
import hashlib
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

import lcnn_flow as lf
from experiments.computing.solved_cell import SolvedCell
from experiments.results.variables import CENSUSES

__all__ = ["census_of", "ends_of_flows", "morse_ends", "points_of_cell"]

_CODES = {word: code for code, word in CENSUSES.items()}
_KNOWN = 64
"""Number of censuses that are kept in memory."""


@dataclass(frozen=True)
class _Problem:
    """A risk with a hash of its network and data, by which it is compared."""

    numbers: str
    risk: Any = field(compare=False)


def census_of(risk: lf.EmpiricalRisk) -> lf.Census | None:
    """The census of a cell; None if its data have none: P does not have full rank, or P^T y = 0."""
    digest = hashlib.sha256(repr(risk.network).encode())
    for leaf in jax.tree.leaves(risk):
        array = np.asarray(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return _census(_Problem(digest.hexdigest(), risk))


@functools.lru_cache(maxsize=_KNOWN)
def _census(problem: _Problem) -> lf.Census | None:
    try:
        return lf.census(problem.risk)
    except lf.RiskError:  # only the data can be the reason: shapes and loss were checked before the run
        return None


def points_of_cell(risk: lf.EmpiricalRisk) -> dict[str, np.ndarray]:
    """The stored part of the census of a cell, which `meanings.CENSUS` describes."""
    census = census_of(risk)
    if census is None:
        count = float(lf.critical_count(risk.arch).number)
        return {"census_status": np.asarray(_CODES["refused"], np.int32), "census_expected_count": np.asarray(count)}
    spurious = census.spurious_minima
    numbers = {
        "census_expected_count": census.expected_count,
        "census_found": census.complex_found,
        "census_index_sum": census.index_sum,
        "census_expected_index_sum": census.expected_index_sum,
        "census_minima": len(census.minima),
        "census_spurious_minima": None if spurious is None else len(spurious),
        "census_risk_at_zero": census.risk_at_zero,
    }
    stored = {name: np.asarray(np.nan if x is None else float(x)) for name, x in numbers.items()}
    taps = risk.arch.end_to_end_filter_shape
    points = {
        "point_risk": [orbit.risk for orbit in census.orbits],
        "point_index": [orbit.hessian_index if orbit.hessian_index >= 0 else np.nan for orbit in census.orbits],
        "point_is_lowest": [float(number in census.lowest) for number in range(len(census.orbits))],
        "point_jacobian_rank": [orbit.jacobian_rank for orbit in census.orbits],
    }
    stored |= {name: np.asarray(values, float) for name, values in points.items()}
    filters = [np.ravel(orbit.end_to_end_filter) for orbit in census.orbits]
    stored["point_filter"] = np.reshape(np.asarray(filters, float), (len(filters), int(np.prod(taps))))
    return {"census_status": np.asarray(_CODES[census.status], np.int32)} | stored


def ends_of_flows(risk: lf.EmpiricalRisk, flow: Any) -> dict[str, np.ndarray]:
    """For every flow, the number of the critical point of the census at which it ends; NaN if it ends at none."""
    census = census_of(risk)
    ended = np.isin(np.asarray(flow.verdict), (lf.Verdict.CONVERGED, lf.Verdict.AT_SADDLE))
    labels = np.full(len(ended), np.nan)
    if census is not None and ended.any():
        found = census.labels([np.asarray(w)[ended] for w in flow.limit])
        labels[ended] = np.where(found < 0, np.nan, found)
    return {"census_point": labels}


def morse_ends(cell: SolvedCell) -> dict[str, np.ndarray]:
    """Where the two flows down from every saddle of index 1 end, on the leaf of balancedness 0; NaN elsewhere."""
    census = census_of(cell.risk)
    if census is None or not census.orbits:
        return {}
    ends = np.full((len(census.orbits), 2), np.nan)
    for edge in lf.morse_graph(cell.risk, census).edges:
        ends[edge.saddle] = [np.nan if end is None else end for end in edge.ends]
    return {"point_flows_to": ends}
