"""Coordinates of results: seeds, the values of every axis, and times, known before anything is computed.

The coordinate "time" of descents counts steps, because the sum of the learning rates may differ between cells.
"""

import numpy as np
import xarray as xr

import lcnn_flow as lf
from experiments.schema import Configuration
from experiments.schema.dynamics import Descent
from experiments.sweeps.axes import Axis
from experiments.sweeps.sweep import Sweep

__all__ = ["coordinates", "step_grid", "time_grid"]


def coordinates(sweep: Sweep) -> dict[str, xr.Variable]:
    """Coordinates by name. Keys that vary together share one dimension, which has the name of the first of them."""
    configuration = sweep.configuration
    found = {"seed": xr.Variable(["seed"], np.arange(configuration.seeds))}
    for axis in sweep.axes:
        for key in axis.keys:
            found[key.name] = xr.Variable([axis.name], _values(key), {"path": key.path, "long_name": key.name})
    if configuration.descent is not None:
        attributes = {"long_name": "step", "units": "steps of the optimiser"}
        found["time"] = xr.Variable(["time"], step_grid(configuration.descent), attributes)
    elif configuration.flow.times is not None:
        attributes = {"long_name": "time", "units": "flow time (learning rate x steps)"}
        found["time"] = xr.Variable(["time"], time_grid(configuration), attributes)
    return found


def _values(key: Axis) -> np.ndarray:
    """The labels of a key as an array of one type: numbers, truth values, or else strings."""
    if key.numeric:
        return np.array(key.labels, float)
    if all(isinstance(label, bool) for label in key.labels):
        return np.array(key.labels, object)
    return np.array([str(label) for label in key.labels], object)


def step_grid(descent: Descent) -> np.ndarray:
    """Recorded steps of a descent."""
    return np.linspace(0, descent.steps, descent.records)


def time_grid(configuration: Configuration) -> np.ndarray:
    """Times of the trajectory: 0, then geometric."""
    times = configuration.flow.times
    assert times is not None
    return np.concatenate([[0.0], np.asarray(lf.log_times(times.start, times.stop, times.count))])
