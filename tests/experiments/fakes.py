"""Configurations and made-up results of the right shape, for tests of what is done with them."""

import json
from pathlib import Path

import numpy as np
import zarr

from experiments.faults import ConfigurationError
from experiments.planning.loading import load
from experiments.results.layout import not_computed, per_seed, skeleton

CONFIGURATION = """
seeds = 12
[experiment]
module = "identification"
title = "Made up"
[network]
input_shape = 12
kernel_sizes = [3, 3, 3]
[data]
kind = "synthetic"
samples = 8
inputs = { kind = "white" }
targets = { kind = "planted", std = 0.6 }
outliers = { fraction = 0.1, scale = 3.0 }
[initializer]
kind = "gaussian"
std = 0.5
[flow]
times = { start = 1e-3, stop = 1e4, count = 60 }
[sweep]
loss = [{ kind = "square" }, { kind = "lp", p = 4 }, { kind = "pseudo_huber", delta = 0.1 }]
"""


def toml_of_module(
    module: str,
    seeds: int,
    network: str = "{ input_shape = 5, kernel_sizes = [2, 2] }",
    samples: int = 8,
    inputs: str = '{ kind = "white" }',
    targets: str = '{ kind = "planted" }',
    loss: str = '{ kind = "square" }',
    initializer: str = '{ kind = "gaussian", std = 0.5 }',
    more: str = "",
) -> str:
    """A configuration with synthetic data for tests of one module; `more` are further sections."""
    return f"""
seeds = {seeds}
network = {network}
loss = {loss}
initializer = {initializer}
[experiment]
module = "{module}"
[data]
kind = "synthetic"
samples = {samples}
inputs = {inputs}
targets = {targets}
{more}
"""


TIMES = np.concatenate([[0.0], np.geomspace(1e-3, 1e4, 60)])

MANIFEST = {
    "versions": {"jax": "0"},
    "device": {"kind": "cpu", "platform": "cpu", "host": "test"},
    "precision": {"x64": True},
    "compile_groups": [[0], [1], [2]],
    "wall_time_s": 1.0,
    "started": "2026-01-01T00:00:00",
    "command": "python -m experiments run made_up.toml",
    "configuration_sha256": "0" * 64,
    "git": None,
}


def sweep_of(folder: Path, text: str = CONFIGURATION):
    """The checked sweep of a configuration given as text."""
    file = folder / "made_up.toml"
    file.write_text(text)
    return load(file)


def faults(folder: Path, text: str = CONFIGURATION, overrides=(), axes=()):
    """Faults of a configuration given as text, by path; empty for a good one."""
    file = folder / "some.toml"
    file.write_text(text)
    try:
        load(file, overrides, axes)
    except ConfigurationError as error:
        return {fault.path: fault.message for fault in error.faults}
    return {}


def cell_arrays(times: np.ndarray, seeds: int = 12, layers: int = 3, taps: int = 7, rate: float = 0.5, seed: int = 0):
    """Flows of one cell that do all the theory says: exponential decay, at slightly different rates."""
    rng = np.random.default_rng(seed)
    rates = rate * rng.uniform(0.5, 2, (seeds, 1))
    decay = np.exp(-rates * times)
    risk = 0.1 + 0.9 * decay
    gradient = decay * np.sqrt(rates * 0.9)
    length = (1 - np.exp(-rates * times)) * 2
    truth = np.hanning(taps + 2)[1:-1]
    limit = truth + 0.05 * (seed + 1) * rng.normal(size=(seeds, taps))
    norms = 1 + 0.2 * rng.uniform(size=(seeds, layers))
    squared = np.broadcast_to(norms[:, None, :], (seeds, times.size, layers)) * (1 - 0.3 * decay[..., None])
    balance = np.full((seeds, times.size, layers - 1), 0.05)
    stored = {
        "verdict": np.zeros(seeds, np.int32),
        "reason": np.zeros(seeds, np.int32),
        "final_risk": risk[:, -1],
        "final_gradient_norm": np.full(seeds, 1e-9),
        "gradient_tolerance": np.full(seeds, 1e-8),
        "final_time": np.full(seeds, times[-1]),
        "steps": rng.integers(100, 200, seeds),
        "final_path_length": np.full(seeds, 2.0),
        "final_energy": risk[:, 0] - risk[:, -1],
        "final_energy_defect": np.full(seeds, 1e-9),
        "invariant_drift": np.full(seeds, 1e-8),
        "polish_distance": np.full(seeds, 1e-9),
        "hessian_index": np.zeros(seeds),
        "nullity": np.zeros(seeds),
        "smallest_curvature": np.full(seeds, 0.3),
        "growth_rate": np.zeros(seeds),
        "limit_is_isolated": np.ones(seeds, bool),
        "sound": np.ones(seeds, bool),
        "final_filter": limit,
        "limit_filter": limit,
        "kind": np.zeros(seeds, np.int32),
        "limit_risk": risk[:, -1],
        "relative_gradient": np.full(seeds, 1e-16),
        "hessian_eigenvalues": np.tile(np.linspace(0.3, 5, 3 * layers - layers + 1), (seeds, 1)),
        "jacobian_rank": np.full(seeds, taps),
        "common_root_gap": np.full(seeds, 0.3),
        "optimality_gap": np.where(np.arange(seeds) % 3 == 0, 0.2, 0.0),
        "orbit": np.where(np.arange(seeds) % 3 == 0, 1.0, 0.0),
        "certificate": np.where(np.arange(seeds) < 4, 0, -1).astype(np.int32),
        "certified_index": np.where(np.arange(seeds) < 4, 0, np.nan),
        "existence_radius": np.where(np.arange(seeds) < 4, 1e-15, np.nan),
        "uniqueness_radius": np.where(np.arange(seeds) < 4, 1e-3, np.nan),
        "trapping_radius": np.where(np.arange(seeds) < 4, 1e-3, np.nan),
        "lojasiewicz_exponent": np.full(seeds, 0.5),
        "lojasiewicz_residual": np.full(seeds, 1e-3),
        "norm_bound": 2 * norms,
        "valid_until": np.full(seeds, times[-1]),
        "risk": risk,
        "gradient_norm": gradient,
        "path_length": length,
        "energy": risk[:, :1] - risk,
        "energy_defect": np.full((seeds, times.size), 1e-9),
        "squared_norms": squared,
        "balancedness": balance,
        "end_to_end_filter": limit[:, None, :] * (1 - decay[..., None]),
        "true_filter": truth,
        "sample_count": np.asarray(8),
        "inputs_smallest": np.asarray(0.2),
        "inputs_largest": np.asarray(1.0),
        "patches_smallest": np.asarray(0.4),
        "patches_largest": np.asarray(1.0),
        "attainable_smallest": np.asarray(0.5),
        **dict.fromkeys(("full_rank_inputs", "full_rank_patches", "injective_on_attainable"), np.asarray(1.0)),
        **dict.fromkeys(("loss_convex", "hypotheses_hold"), np.asarray(1.0)),
        "wall_time": np.asarray(1.5),
    }
    for layer in range(1, layers + 1):
        stored[f"final_w{layer}"] = stored[f"limit_w{layer}"] = rng.normal(size=(seeds, 3))
    return stored


def results(folder: Path, text: str = CONFIGURATION, **changes):
    """A Dataset of made-up cells; `changes` are functions of an array that replace it in every cell."""
    sweep = sweep_of(folder, text)
    cells = {}
    for cell in sweep.cells:
        stored = cell_arrays(TIMES, seeds=sweep.configuration.seeds, seed=cell.number)
        for name, change in changes.items():
            stored[name] = change(stored[name].copy())
        cells[cell.number] = stored
    return assemble(sweep, cells, MANIFEST)


def assemble(sweep, cells, manifest):
    """The Dataset of a run with these cells, by their numbers."""
    shapes = {}
    for stored in cells.values():
        for name, array in stored.items():
            known = shapes.setdefault(name, array.shape)
            shapes[name] = tuple(map(max, known, array.shape))
    dataset = skeleton(sweep, shapes, {"manifest": json.dumps(manifest)})
    values = {name: np.array(dataset[name].values) for name in shapes}
    for cell in sweep.cells:
        for name, array in cells.get(cell.number, {}).items():
            values[name][(*cell.index, *map(slice, array.shape))] = array
    return dataset.assign({name: dataset[name].copy(data=array) for name, array in values.items()})


def write_results(directory: Path, dataset):
    """Stores a Dataset where `open_results` looks for it."""
    fill = {name: {"fill_value": not_computed(name)} for name in dataset.data_vars}
    with zarr.config.set({"array.write_empty_chunks": True}):
        dataset.to_zarr(directory / "results.zarr", mode="w", consolidated=False, encoding=fill)


def batch_arrays(sweep, batch):
    """What a batch stores of the made-up cells."""
    stored = {"wall_time": np.asarray(0.1)}
    for number in batch.cells:
        arrays = cell_arrays(TIMES, seeds=sweep.configuration.seeds, seed=number)
        del arrays["wall_time"]  # of a cell, it follows from those of its batches
        for name, array in arrays.items():
            if per_seed(name):
                stored[f"{number}/{name}"] = array[batch.start : batch.stop]
            elif batch.start == 0:
                stored[f"{number}/{name}"] = array
    return stored
