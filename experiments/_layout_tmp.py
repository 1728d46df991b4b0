"""Results as one xarray Dataset: dimensions named by the axes, then seed, then time, layer or tap.

A finished cell is a flat dictionary of numpy arrays (`flow_arrays`); `assemble` puts all cells into one
Dataset. Cells with fewer layers or taps are filled up with NaN; a cell that was not computed has verdict -1.
"""

import functools
import json
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import xarray as xr

import lcnn_flow as lf
from experiments.schema import Configuration
from experiments.sweep import Sweep
from experiments.variables import CELL, FLOW, LIMIT, NOT_COMPUTED, TRAJECTORY, TUNING, codes, describe

__all__ = [
    "FORMAT",
    "assemble",
    "describe_problem",
    "end_to_end_filters",
    "flow_arrays",
    "missing_parts",
    "named_cells",
    "sweep_axes",
]

FORMAT = "lcnn_flow results 2"


def flow_arrays(arch: lf.Architecture, flow: Any) -> dict[str, np.ndarray]:
    """What is stored of the flows of one cell: leading axis seed; spatial axes of filters are raveled."""
    stored = {"verdict": np.asarray(flow.verdict)}
    stored.update({name: np.asarray(getattr(flow, field)) for name, (field, _, _) in FLOW.items()})
    for which in ("final", "limit"):
        params = [np.asarray(w) for w in getattr(flow, which)]
        seeds = params[0].shape[0]
        for layer, w in enumerate(params, start=1):
            stored[f"{which}_w{layer}"] = w.reshape(seeds, -1)
        stored[f"{which}_filter"] = end_to_end_filters(arch, getattr(flow, which))
    trajectory = flow.trajectory
    if trajectory is not None:
        stored["valid_until"] = np.asarray(trajectory.valid_until)
        for name, (dims, _, _) in TRAJECTORY.items():
            values = np.asarray(getattr(trajectory, name))
            shape = (*values.shape[:2], -1) if dims else values.shape
            stored[name] = values.reshape(shape)
    return stored


def end_to_end_filters(arch: lf.Architecture, params: Any) -> np.ndarray:
    """End-to-end filters of all seeds, the leading axis; spatial axes are raveled."""
    v = _end_to_end(arch, params)
    return np.asarray(v).reshape(len(v), -1)


@functools.partial(jax.jit, static_argnames="arch")
def _end_to_end(arch: lf.Architecture, params: Any) -> jax.Array:
    return jax.vmap(lambda w: lf.end_to_end_filter(arch, w))(params)


def describe_problem(data: lf.Dataset, hypotheses: Any) -> dict[str, np.ndarray]:
    """What a cell's data say about the hypotheses of the theory, and the filter that made its targets."""
    words = ("full_rank_inputs", "full_rank_patches", "injective_on_attainable")
    numbers = ("inputs_smallest", "inputs_largest", "patches_smallest", "patches_largest", "attainable_smallest")
    answers = {name: getattr(hypotheses, name) for name in words + numbers}
    answers |= {"loss_convex": hypotheses.loss.convex, "hypotheses_hold": hypotheses.holds}
    stored = {name: np.asarray(np.nan if value is None else float(value)) for name, value in answers.items()}
    stored["sample_count"] = np.asarray(data.num_samples)
    if data.true_filter is not None:
        stored["true_filter"] = np.asarray(data.true_filter).reshape(-1)
    return stored


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
        dims, attributes = describe(name)
        integral = codes(name) is not None
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
    needed = {"verdict", "kind", "certificate", "seed", "final_filter", "limit_filter", *FLOW, *LIMIT, *CELL}
    needed -= {"true_filter", "norm_bound", "lojasiewicz_exponent", "lojasiewicz_residual"}
    if dataset.attrs.get("module") == "tuning":
        needed |= {name for name in TUNING if not name.startswith("tuned_")}
    if "time" in dataset.dims:
        needed |= {"time", *TRAJECTORY}
    return wrong + sorted(needed - set(dataset.variables))


def sweep_axes(dataset: xr.Dataset) -> list[str]:
    """Names of the sweep's axes of a stored Dataset."""
    return list(json.loads(dataset.attrs["axes"]))


def named_cells(dataset: xr.Dataset) -> Iterator[tuple[str, dict[str, int]]]:
    """Name of every cell and its index along each axis of the sweep, the last axis varying fastest."""
    axes = sweep_axes(dataset)
    for numbers in np.ndindex(*(dataset.sizes[axis] for axis in axes)):
        index = dict(zip(axes, numbers, strict=True))
        yield ", ".join(str(dataset[axis].values[i]) for axis, i in index.items()) or "all flows", index
