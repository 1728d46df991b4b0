"""Results as one xarray Dataset: dimensions named by the axes, then seed, then time, layer or tap.

A finished cell is a flat dictionary of numpy arrays (`flow_arrays`); `assemble` puts all cells into one
Dataset. Cells with fewer layers or taps are filled up with NaN; a cell that was not computed has verdict -1.
"""

import functools
import json
import tomllib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import xarray as xr

import lcnn_flow as lf
from experiments.schema import Configuration
from experiments.sweep import Sweep

__all__ = [
    "FORMAT",
    "NOT_COMPUTED",
    "VERDICTS",
    "assemble",
    "describe_problem",
    "flow_arrays",
    "missing_parts",
    "sweep_axes",
]

FORMAT = "lcnn_flow results 1"

NOT_COMPUTED = -1
VERDICTS = {int(verdict): verdict.name for verdict in lf.Verdict}

_SCALARS = {
    "final_risk": ("risk", "risk at the end of the flow", "risk"),
    "final_gradient_norm": ("gradient_norm", "norm of the gradient at the end of the flow", "risk / filter"),
    "gradient_tolerance": (
        "gradient_tolerance",
        "gradient norm below which a flow may converge",
        "risk / filter",
    ),
    "final_time": ("time", "time at which the flow was stopped", "flow time"),
    "steps": ("steps", "integration steps", "1"),
    "final_path_length": ("path_length", "length of the path of the filters", "filter"),
    "final_energy": ("energy", "integral of the squared gradient norm", "risk"),
    "invariant_drift": ("invariant_drift", "largest change of a conserved quantity", "1"),
    "polish_distance": ("polish_distance", "distance moved by Newton's method after the flow", "filter"),
    "hessian_index": ("hessian_index", "directions of negative curvature at the limit", "1"),
    "nullity": ("nullity", "flat directions at the limit beyond the symmetries", "1"),
    "smallest_curvature": (
        "smallest_curvature",
        "smallest curvature at the limit beyond the symmetries",
        "risk / filter^2",
    ),
    "growth_rate": ("growth_rate", "exponent of a power law of growth", "1"),
    "limit_is_isolated": ("limit_is_isolated", "whether the limit is isolated up to symmetries", "1"),
    "sound": ("sound", "whether derivatives of the limit are meaningful", "1"),
}
_TRAJECTORY = {
    "risk": ((), "risk", "risk"),
    "gradient_norm": ((), "norm of the gradient", "risk / filter"),
    "path_length": ((), "path length", "filter"),
    "energy": ((), "integral of the squared gradient norm", "risk"),
    "squared_norms": (("layer",), "squared norm of each filter", "filter^2"),
    "balancedness": (("interface",), "balancedness (|w_l|^2 - |w_l+1|^2)/2", "filter^2"),
    "end_to_end_filter": (("tap",), "end-to-end filter along the flow", "filter"),
}
_CELL = {
    "true_filter": (("tap",), "end-to-end filter that made the targets", "filter"),
    "input_singular_ratio": (
        (),
        "smallest over largest singular value of the inputs X (0: X X^T is singular)",
        "1",
    ),
    "patch_singular_ratio": ((), "smallest over largest singular value of the patch matrix P", "1"),
    "sample_count": ((), "number of samples", "1"),
    "wall_time": ((), "wall time of the cell, with compilation", "s"),
}
_TUNING = {
    "objective": (("iteration",), "mean squared relative error of the limits that have a derivative", "1"),
    "sound_flows": (("iteration",), "number of flows whose limit has a derivative", "1"),
    "tuned_delta": (("iteration",), "loss parameter delta along the tuning", "target"),
    "tuned_a": (("iteration",), "loss parameter a along the tuning", "1 / target"),
    "tuned_b": (("iteration",), "loss parameter b along the tuning", "1"),
    "weight": (("sample",), "tuned weight of each sample, with mean 1", "1"),
    "gross_error": (("sample",), "root mean square of the residuals of the true filter on each sample", "target"),
    "untuned_filter": (("seed", "tap"), "end-to-end filter of the limit before tuning", "filter"),
    "untuned_sound": (("seed",), "whether derivatives of the limit before tuning are meaningful", "1"),
    "derivative": ((), "implicit derivative of the objective along a random direction, at the start", "1"),
    "finite_difference": ((), "the same derivative by a central difference of full flows", "1"),
}


def flow_arrays(arch: lf.Architecture, flow: Any) -> dict[str, np.ndarray]:
    """What is stored of the flows of one cell: leading axis seed; spatial axes of filters are raveled."""
    stored = {"verdict": np.asarray(flow.verdict)}
    stored.update({name: np.asarray(getattr(flow, field)) for name, (field, _, _) in _SCALARS.items()})
    for which in ("final", "limit"):
        params = [np.asarray(w) for w in getattr(flow, which)]
        seeds = params[0].shape[0]
        for layer, w in enumerate(params, start=1):
            stored[f"{which}_w{layer}"] = w.reshape(seeds, -1)
        v = _end_to_end(arch, getattr(flow, which))
        stored[f"{which}_filter"] = np.asarray(v).reshape(seeds, -1)
    trajectory = flow.trajectory
    if trajectory is not None:
        stored["valid_until"] = np.asarray(trajectory.valid_until)
        for name, (dims, _, _) in _TRAJECTORY.items():
            values = np.asarray(getattr(trajectory, name))
            shape = (*values.shape[:2], -1) if dims else values.shape
            stored[name] = values.reshape(shape)
    return stored


@functools.partial(jax.jit, static_argnames="arch")
def _end_to_end(arch: lf.Architecture, params: Any) -> jax.Array:
    return jax.vmap(lambda w: lf.end_to_end_filter(arch, w))(params)


def describe_problem(arch: lf.Architecture, data: Any) -> dict[str, np.ndarray]:
    """What a cell's data say about the hypotheses of the theory, and the filter that made its targets."""
    inputs = np.asarray(data.inputs)
    patches = np.asarray(lf.patches(arch, data.inputs))
    stored = {
        "sample_count": np.asarray(inputs.shape[0]),
        "input_singular_ratio": _singular_ratio(inputs.reshape(inputs.shape[0], -1)),
        "patch_singular_ratio": _singular_ratio(patches.reshape(-1, patches.shape[-1])),
    }
    if data.true_filter is not None:
        stored["true_filter"] = np.asarray(data.true_filter).reshape(-1)
    return stored


def _singular_ratio(matrix: np.ndarray) -> np.ndarray:
    """Smallest over largest singular value as an operator on the columns: 0 with fewer rows than columns."""
    values = np.linalg.svd(matrix, compute_uv=False)
    smallest = values[-1] if matrix.shape[0] >= matrix.shape[1] else 0.0
    return np.asarray(smallest / values[0] if values[0] > 0 else 0.0)


def assemble(sweep: Sweep, cells: Mapping[int, Mapping[str, np.ndarray]], manifest: Mapping[str, Any]) -> xr.Dataset:
    """One Dataset of all finished cells (`cells` by number); configuration and manifest are attributes."""
    configuration = sweep.configuration
    axes = [axis.name for axis in sweep.axes]
    shapes: dict[str, tuple[int, ...]] = {}
    for stored in cells.values():
        for name, array in stored.items():
            known = shapes.setdefault(name, array.shape)
            shapes[name] = tuple(max(a, b) for a, b in zip(known, array.shape, strict=True))
    variables = {}
    for name, shape in shapes.items():
        dims, attributes = _describe(name)
        integral = name == "verdict"
        values = np.full(sweep.shape + shape, NOT_COMPUTED if integral else np.nan, np.int32 if integral else float)
        for cell in sweep.cells:
            if cell.number in cells and name in cells[cell.number]:
                array = cells[cell.number][name]
                values[(*cell.index, *map(slice, array.shape))] = array
        variables[name] = xr.Variable([*axes, *dims], values, attributes)
    coordinates: dict[str, Any] = {"seed": np.arange(configuration.seeds)}
    for axis in sweep.axes:
        values = np.array(axis.labels, dtype=float if axis.numeric else object)
        attributes = {"path": axis.path, "long_name": axis.name}
        coordinates[axis.name] = xr.Variable([axis.name], values, attributes)
    if configuration.flow.times is not None and cells:
        attributes = {"long_name": "time", "units": "flow time (learning rate x steps)"}
        coordinates["time"] = xr.Variable(["time"], time_grid(configuration), attributes)
    title = configuration.experiment.title or configuration.experiment.module
    attributes = {
        "format": FORMAT,
        "module": configuration.experiment.module,
        "title": title,
        "question": configuration.experiment.question or "",
        "axes": json.dumps(axes),
        "configuration": sweep.toml(),
        "manifest": json.dumps(dict(manifest)),
    }
    return xr.Dataset(variables, coordinates, attributes)


def time_grid(configuration: Configuration) -> np.ndarray:
    """Times of the trajectory: 0, then geometric."""
    times = configuration.flow.times
    assert times is not None
    return np.concatenate([[0.0], np.asarray(lf.log_times(times.start, times.stop, times.count))])


def _describe(name: str) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Dimensions after the axes, and attributes, of a stored variable."""
    if name == "verdict":
        codes = [NOT_COMPUTED, *VERDICTS]
        meanings = " ".join(["NOT_COMPUTED", *VERDICTS.values()])
        return ("seed",), {"long_name": "verdict", "flag_values": codes, "flag_meanings": meanings}
    if name in _SCALARS:
        return ("seed",), {"long_name": _SCALARS[name][1], "units": _SCALARS[name][2]}
    if name in _CELL or name in _TUNING:
        dims, long_name, units = (_CELL | _TUNING)[name]
        return dims, {"long_name": long_name, "units": units}
    if name == "valid_until":
        return ("seed",), {"long_name": "time until which the trajectory is valid", "units": "flow time"}
    if name in _TRAJECTORY:
        dims, long_name, units = _TRAJECTORY[name]
        return ("seed", "time", *dims), {"long_name": long_name, "units": units}
    which, part = name.split("_", 1)
    state = "last integrated state" if which == "final" else "limit (NaN where no limit was found)"
    if part == "filter":
        return ("seed", "tap"), {"long_name": f"end-to-end filter, {state}", "units": "filter"}
    layer = part.removeprefix("w")
    return ("seed", f"tap_{layer}"), {"long_name": f"filter of layer {layer}, {state}", "units": "filter"}


def missing_parts(dataset: xr.Dataset) -> list[str]:
    """Attributes, coordinates and variables that results must have, and these lack or hold in a foreign form."""
    readers = {"module": str, "title": str, "question": str, "axes": json.loads, "manifest": json.loads}
    forms = {"axes": list, "manifest": dict}
    wrong = []
    for name, read in {**readers, "configuration": tomllib.loads}.items():
        try:
            value = read(dataset.attrs[name]) if isinstance(dataset.attrs[name], str) else None
        except (KeyError, ValueError):
            value = None
        if not isinstance(value, forms.get(name, str | dict)):
            wrong.append(name)
    if "axes" not in wrong:
        wrong += [str(axis) for axis in sweep_axes(dataset) if axis not in dataset.coords]
    needed = {"verdict", "seed", "final_filter", "limit_filter", *_SCALARS, *_CELL} - {"true_filter"}
    if dataset.attrs.get("module") == "tuning":
        needed |= {name for name in _TUNING if not name.startswith("tuned_")}
    if "time" in dataset.dims:
        needed |= {"time", *_TRAJECTORY}
    return wrong + sorted(needed - set(dataset.variables))


def sweep_axes(dataset: xr.Dataset) -> list[str]:
    """Names of the sweep's axes of a stored Dataset."""
    return list(json.loads(dataset.attrs["axes"]))
