"""Results as one xarray Dataset: dimensions named by the axes, then seed, then time, layer or tap.

The stored part of a cell is a flat dictionary of numpy arrays (`flow_arrays`). Arrays of cells with fewer layers or
taps are padded with NaN; a flow that was not computed has verdict -1.
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
from experiments.networks import layer_names, layers_of, may_conserve
from experiments.results.manifest import is_manifest
from experiments.results.meanings import CELL, FLOW, LIMIT, OF_MODULES, TRAJECTORY, TUNING
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
    "noun_of",
    "per_seed",
    "shape_in_cell",
    "skeleton",
    "sweep_axes",
]

FORMAT = "lcnn_flow results 2"


def flow_arrays(network: Any, flow: Any) -> dict[str, np.ndarray]:
    """The stored part of the flows or descents of one cell, with leading axis seed; filters are raveled.

    Networks that are not linear have no end-to-end filters, and networks without conserved quantities no drift of them.
    """
    stored = {"verdict": np.asarray(flow.verdict)}
    fields = {name: field for name, (field, _, _) in FLOW.items() if hasattr(flow, field)}
    if not may_conserve(network):
        del fields["invariant_drift"]
    stored.update({name: np.asarray(getattr(flow, field)) for name, field in fields.items()})
    for which in ("final", "limit"):
        params = getattr(flow, which)
        for name, w in zip(layer_names(network), layers_of(params), strict=True):
            stored[f"{which}_{name}"] = w.reshape(len(w), -1)
        if network.is_linear:
            stored[f"{which}_filter"] = end_to_end_filters(network, params)
    if flow.trajectory is not None:
        stored |= _trajectory_arrays(network, flow.trajectory)
    return stored


def _trajectory_arrays(network: Any, trajectory: Any) -> dict[str, np.ndarray]:
    """The stored part of trajectories, with the observables that the module records."""
    stored = {"valid_until": np.asarray(trajectory.valid_until)}
    values = {name: getattr(trajectory, name, None) for name in TRAJECTORY} | (trajectory.record or {})
    if not may_conserve(network):
        del values["balancedness"]
    for name, array in values.items():
        if array is not None:
            array = np.asarray(array)
            stored[name] = array.reshape(*array.shape[:2], -1) if TRAJECTORY[name][0] else array
    if hasattr(trajectory, "step"):  # the sum of the learning rates is the same for all seeds
        stored["learning_time"] = np.asarray(trajectory.time)[0]
    if network.bias:  # the squared norms of weights, without those of biases
        stored["squared_norms"] = stored["squared_norms"][:, :, 0::2]
    return stored


def end_to_end_filters(arch: Any, params: Any) -> np.ndarray:
    """End-to-end filters with leading axis seed; spatial axes are raveled."""
    v = _end_to_end(arch, params)
    return np.asarray(v).reshape(len(v), -1)


@functools.partial(jax.jit, static_argnames="arch")
def _end_to_end(arch: lf.Architecture, params: Any) -> jax.Array:
    return jax.vmap(lambda w: lf.end_to_end_filter(arch, w))(params)


def describe_problem(risk: lf.EmpiricalRisk) -> dict[str, np.ndarray]:
    """The hypotheses of the theory for the data of a cell, and the filter that made its targets.

    The hypotheses concern linear networks; for other networks only the number of samples and the size of the targets
    are stored.
    """
    data, stored = risk.data, {"sample_count": np.asarray(risk.data.num_samples)}
    stored["targets_size"] = np.sqrt(np.mean(np.asarray(data.targets) ** 2))
    if not risk.network.is_linear:
        return stored
    hypotheses = lf.theory.hypotheses(risk)
    words = ("full_rank_inputs", "full_rank_patches", "injective_on_attainable")
    numbers = ("inputs_smallest", "inputs_largest", "patches_smallest", "patches_largest", "attainable_smallest")
    answers = {name: getattr(hypotheses, name) for name in words + numbers}
    answers |= {"loss_convex": hypotheses.loss.convex, "hypotheses_hold": hypotheses.holds}
    stored |= {name: np.asarray(np.nan if value is None else float(value)) for name, value in answers.items()}
    if data.true_filter is not None:
        stored["true_filter"] = np.asarray(data.true_filter).reshape(-1)
    return stored


def skeleton(sweep: Sweep, shapes: Mapping[str, tuple[int, ...]], attributes: Mapping[str, str]) -> xr.Dataset:
    """The results of a run in which nothing has been computed; needs no memory for its variables.

    Args:
        sweep: what is computed.
        shapes: shape of every variable in one cell with all its seeds.
        attributes: attributes of the results that do not follow from the configuration.
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
        "variables": json.dumps(list(shapes)),
        "configuration": sweep.toml(),
    }
    return xr.Dataset(variables, coordinates(sweep), words | dict(attributes))


def not_computed(name: str) -> np.generic:
    """The value of a variable where nothing was computed, in the type in which it is stored."""
    return np.int32(NOT_COMPUTED) if codes(name) is not None else np.float64(np.nan)


def shape_in_cell(name: str, array: np.ndarray, seeds: int) -> tuple[int, ...]:
    """Shape of a variable in one cell with all its `seeds`, from its array for some of them."""
    return (seeds, *array.shape[1:]) if per_seed(name) else array.shape


def per_seed(name: str) -> bool:
    """Whether a variable has the dimension seed, which then is the first dimension after the axes."""
    return describe(name)[0][:1] == ("seed",)


def missing_parts(dataset: xr.Dataset) -> list[str]:
    """Names of attributes, coordinates and variables that results must have and that are missing or malformed."""
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
    if stored := _names_of_variables(dataset):
        return wrong + sorted(stored - set(dataset.variables))
    needed = {"verdict", "kind", "certificate", "seed", "final_filter", "limit_filter", *FLOW, *LIMIT, *CELL}
    needed -= {"true_filter", "norm_bound", "lojasiewicz_exponent", "lojasiewicz_residual"}
    needed -= {name for name in CELL if name.startswith("shown_")}
    if dataset.attrs.get("module") == "tuning":
        needed |= {name for name in TUNING if not name.startswith("tuned_")}
    if "time" in dataset.dims:
        needed |= {"time", *TRAJECTORY}
    needed -= set(OF_MODULES)
    return wrong + sorted(needed - set(dataset.variables))


def _names_of_variables(dataset: xr.Dataset) -> set[str]:
    """Names of the variables that were stored, from an attribute of the results; empty if that is missing."""
    try:
        stored = json.loads(dataset.attrs["variables"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return set()
    if not isinstance(stored, list) or not all(isinstance(name, str) for name in stored):
        return set()
    if "time" not in dataset.dims:  # a copy of the results without trajectories
        along = ("lojasiewicz_exponent", "lojasiewicz_residual")  # computed from trajectories
        stored = [name for name in stored if "time" not in describe(name)[0] and name not in along]
    times = {"time"} if "time" in dataset.dims else set()
    return {"verdict", "kind", "seed", "final_risk", "limit_risk", "sample_count", "wall_time", *times, *stored}


def sweep_axes(dataset: xr.Dataset) -> list[str]:
    """Names of the axes of the sweep."""
    return list(json.loads(dataset.attrs["axes"]))


def noun_of(dataset: xr.Dataset) -> str:
    """What was computed: "flow" or "descent"."""
    dynamics = tomllib.loads(dataset.attrs["configuration"]).get("dynamics", {})
    return "descent" if dynamics.get("kind") == "descent" else "flow"


def named_cells(dataset: xr.Dataset) -> Iterator[tuple[str, dict[str, int]]]:
    """Name and index along the axes of every cell; the last axis varies fastest."""
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
