"""Coordinates of results: seeds, the values of every axis, and times, known before anything is computed.

Of descents "time" counts steps: learning rates may be an axis, so that no sum of them is the same in all cells.
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
    """Coordinates by name. Keys that vary together share one dimension, which is called after the first of them."""
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
    """Labels of one kind, so that they can be stored: numbers, truth values, or else words."""
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
