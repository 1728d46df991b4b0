"""The filters of a few flows along the way, so that a report can show the paths of their roots and angles."""

from typing import Any

import numpy as np

import lcnn_flow as lf
from experiments.computing.rough_paths import rough_paths

__all__ = ["MOST_FLOWS", "has_roots", "shown_flows"]

MOST_FLOWS = 8
"""Flows of a cell whose filters are stored along the way: those of the first seeds."""
_MOST_STEPS = 80
_MOST_PARAMETERS = 64


def has_roots(network: Any) -> bool:
    """Whether the filters are polynomials of one variable, and few enough numbers for a picture."""
    known = isinstance(network, lf.Architecture) and network.is_linear and network.channels is None
    return known and network.dimension == 1 and network.num_parameters <= _MOST_PARAMETERS


def shown_flows(risk: Any, start: Any, flow: Any, wanted: bool) -> dict[str, np.ndarray]:
    """Filters of the first flows of a cell, at 80 places along each, between which the directions turn equally.

    Args:
        risk: what was minimised.
        start: initial filters, with a leading axis of seeds.
        flow: the flows or descents from there.
        wanted: whether flows without trajectories are followed once more for this.

    Returns:
        `shown_w1`, `shown_w2`, ... (flows, places, taps); nothing where there are no trajectories or filters have no
        roots.
    """
    if not has_roots(risk.network):
        return {}
    if flow.trajectory is not None:
        layers = [np.asarray(w)[:MOST_FLOWS] for w in flow.trajectory.params]
    elif wanted:
        first = [[np.asarray(w)[:MOST_FLOWS] for w in params] for params in (start, flow.final)]
        layers = rough_paths(risk, first[0], first[1], np.asarray(flow.time)[:MOST_FLOWS])
    else:
        return {}
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
