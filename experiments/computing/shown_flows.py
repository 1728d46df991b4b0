"""The filters of a few flows along the way, so that a report can show the paths of their roots and angles."""

from typing import Any

import numpy as np

import lcnn_flow as lf
from experiments.computing.rough_paths import rough_paths
from experiments.computing.solved_cell import SolvedCell

__all__ = ["MOST_FLOWS", "flows_of_two_pairs", "followed_flows", "has_roots", "shown_flows"]

MOST_FLOWS = 8
"""Flows of a cell whose filters are stored along the way: those of the first seeds."""
_MOST_STEPS = 80
_MOST_PARAMETERS = 64


def has_roots(network: Any) -> bool:
    """Whether the filters are polynomials of one variable, and few enough numbers for a picture."""
    known = isinstance(network, lf.Architecture) and network.is_linear and network.channels is None
    return known and network.dimension == 1 and network.num_parameters <= _MOST_PARAMETERS


def shown_flows(cell: SolvedCell) -> dict[str, np.ndarray]:
    """Filters along the first flows or descents of a cell with trajectories.

    Returns:
        `shown_w1`, `shown_w2`, ... (flows, places, taps), at 80 places along each flow between which the directions of
        the filters turn equally; nothing without trajectories, or where filters have no roots.
    """
    trajectory = cell.flows.trajectory
    if trajectory is None or not has_roots(cell.risk.network):
        return {}
    return _stored([np.asarray(w)[:MOST_FLOWS] for w in trajectory.params])


def followed_flows(cell: SolvedCell) -> dict[str, np.ndarray]:
    """The same of a cell without trajectories, whose first flows are followed once more to the accuracy of a picture.

    Nothing where there are trajectories, so that `shown_flows` has them.
    """
    if cell.flows.trajectory is not None or not has_roots(cell.risk.network):
        return {}
    start, final = ([np.asarray(w)[:MOST_FLOWS] for w in params] for params in (cell.start, cell.flows.final))
    return _stored(rough_paths(cell.risk, start, final, np.asarray(cell.flows.time)[:MOST_FLOWS]))


def flows_of_two_pairs(cell: SolvedCell) -> dict[str, np.ndarray]:
    """`followed_flows` of two filters of two taps, whose landscape is one of two angles; nothing of other networks."""
    sizes = getattr(cell.risk.network, "kernel_sizes", ())
    return followed_flows(cell) if sizes == ((2,), (2,)) else {}


def _stored(layers: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Filters (flows, steps, taps) at few places along the way, by the names of the variables."""
    places = _evenly_turned(layers)
    kept = [np.take_along_axis(w, places[:, :, None], axis=1) for w in layers]
    return {f"shown_w{layer}": w for layer, w in enumerate(kept, start=1)}


def _evenly_turned(layers: list[np.ndarray]) -> np.ndarray:
    """Indices (flows, places) along trajectories, first and last included, between which the filters turn equally."""
    turned = np.zeros(layers[0].shape[:2])
    for w in layers:
        with np.errstate(invalid="ignore"):
            direction = w / np.linalg.norm(w, axis=2, keepdims=True)
        turned[:, 1:] += np.nan_to_num(np.linalg.norm(np.diff(direction, axis=1), axis=2))
    way = np.cumsum(turned, axis=1)
    steps = np.linspace(0, 1, _MOST_STEPS)
    found = [np.searchsorted(one, steps * one[-1]) for one in way]
    return np.stack([np.concatenate([[0], places[1:-1], [way.shape[1] - 1]]) for places in found])
