"""Results as one xarray Dataset: dimensions named by the axes, then seed, then time, layer or tap.

What is stored of a cell is a flat dictionary of numpy arrays (`flow_arrays`). Cells with fewer layers or taps are
filled up with NaN; a flow that was not computed has verdict -1.
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
from experiments.results.manifest import is_manifest
from experiments.results.meanings import CELL, FLOW, LIMIT, TRAJECTORY, TUNING
from experiments.results.variables import NOT_COMPUTED, codes, describe
from experiments.sweeps.coordinates import coordinates
from experiments.sweeps.sweep import Sweep

__all__ = [
    "FORMAT",
    "computed_cells",
    "describe_problem",
    "end_to_end_filters",
    "flow_arrays",
    "missing_parts",
    "named_cells",
    "not_computed",
    "per_seed",
    "shape_in_cell",
    "skeleton",
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


def skeleton(sweep: Sweep, shapes: Mapping[str, tuple[int, ...]], attributes: Mapping[str, str]) -> xr.Dataset:
    """All variables of a run, nowhere computed, without taking memory.

    Args:
        sweep: what was run.
        shapes: of every variable in one cell, all its seeds together.
        attributes: besides those that follow from the configuration.
    """
    configuration = sweep.configuration
    axes = [axis.name for axis in sweep.axes]
    variables = {}
    for name, shape in shapes.items():
        dims, words = describe(name)
        variables[name] = xr.Variable([*axes, *dims], np.broadcast_to(not_computed(name), sweep.shape + shape), words)
    title = configuration.experiment.title or configuration.experiment.module
    words = {
        "format": FORMAT,
        "module": configuration.experiment.module,
        "title": title,
        "question": configuration.experiment.question or "",
        "axes": json.dumps(axes),
        "configuration": sweep.toml(),
    }
    return xr.Dataset(variables, coordinates(sweep), words | dict(attributes))


def not_computed(name: str) -> np.generic:
    """What a variable holds where nothing was computed, in the type in which it is stored."""
    return np.int32(NOT_COMPUTED) if codes(name) is not None else np.float64(np.nan)


def shape_in_cell(name: str, array: np.ndarray, seeds: int) -> tuple[int, ...]:
    """Shape of a variable in one cell, from its array for some of the `seeds`."""
    return (seeds, *array.shape[1:]) if per_seed(name) else array.shape


def per_seed(name: str) -> bool:
    """Whether a variable has the dimension seed; if so it is the first after the axes."""
    return describe(name)[0][:1] == ("seed",)


def missing_parts(dataset: xr.Dataset) -> list[str]:
    """Attributes, coordinates and variables that results must have, and these lack or hold in a foreign form."""
    readers = {"module": str, "title": str, "question": str, "axes": json.loads, "manifest": json.loads}
    forms = {"axes": list, "manifest": dict}
    wrong = []
    for name, read in {**readers, "configuration": tomllib.loads}.items():
        try:
            value = read(dataset.attrs[name]) if isinstance(dataset.attrs[name], str) else None
        except (KeyError, ValueError, RecursionError):
            value = None
        if not isinstance(value, forms.get(name, str | dict)) or (name == "manifest" and not is_manifest(value)):
            wrong.append(name)
    if "axes" not in wrong:
        wrong += [str(axis) for axis in sweep_axes(dataset) if axis not in dataset.coords]
    needed = {"verdict", "kind", "certificate", "seed", "final_filter", "limit_filter", *FLOW, *LIMIT, *CELL}
    needed -= {"true_filter", "norm_bound", "lojasiewicz_exponent", "lojasiewicz_residual"}
    needed -= {name for name in CELL if name.startswith("shown_")}
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


def computed_cells(dataset: xr.Dataset) -> Iterator[tuple[str, tuple[int, ...], xr.Dataset]]:
    """Name, index and results of every cell in which a flow was computed, in the order of `named_cells`."""
    for name, index in named_cells(dataset):
        cell = dataset.isel(index)
        if bool((cell["verdict"] != NOT_COMPUTED).any()):
            yield name, tuple(index.values()), cell
