"""Training problems that several tests share: small, so that programs compile fast, and from independent sources."""

import json
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import lcnn_flow as lf
from lcnn_flow.network.parameters import Params

DATA = Path(__file__).parent / "data"


@cache
def truth(name: str) -> list:
    """Reference values of tests/data."""
    return json.loads((DATA / f"{name}.json").read_text())


def truth_problem(name: str) -> lf.EmpiricalRisk:
    """The risk of one of the reference problems."""
    case = next(case for case in truth("critical_points") if case["name"] == name)
    inputs, targets = np.array(case["inputs"]), np.array(case["targets"])
    arch = lf.Architecture(inputs.shape[1], tuple(case["kernel_sizes"]), tuple(case["strides"]))
    loss = lf.losses.Lp(4.0) if case["loss"].startswith("lp") else lf.losses.Square()
    return lf.EmpiricalRisk(arch, loss, lf.Dataset(inputs, targets))


def as_params(filters: list) -> Params:
    """Lists of numbers as filters."""
    return tuple(jnp.asarray(w, float) for w in filters)


def filter_problem(kernel_sizes: tuple, targets: tuple, strides: tuple | int = 1, rows=None, scale: float = 1.0):
    """L = |P v - y|^2 / 2, without the mean: P the identity, or those of its rows that `rows` names."""
    arch = lf.Architecture(sum(kernel_sizes) - len(kernel_sizes) + 1, kernel_sizes, strides=1)
    if strides != 1:
        k_v = lf.Architecture(64, kernel_sizes, strides, channels=None).end_to_end_kernel_size[0]
        arch = lf.Architecture(k_v, kernel_sizes, strides)
    k_v = arch.end_to_end_kernel_size[0]
    chosen = np.eye(k_v) if rows is None else np.eye(k_v)[list(rows)]
    root = scale * np.sqrt(len(chosen))
    data = lf.Dataset(root * chosen, root * np.asarray(targets, float)[:, None])
    return lf.EmpiricalRisk(arch, lf.losses.Square(), data)


def random_params(seed: int, arch: lf.Architecture, std: float = 0.7) -> Params:
    """Gaussian filters."""
    return lf.initializers.gaussian(std)(jax.random.key(seed), arch)


def random_data(arch: lf.Architecture, weighted: bool = False, samples: int = 12, seed: int = 0) -> lf.Dataset:
    """White inputs and unrelated targets, drawn by numpy; with uneven weights on demand."""
    rng = np.random.default_rng(seed)
    inputs, targets = rng.normal(size=(samples, *arch.sample_shape)), rng.normal(size=(samples, *arch.output_shape))
    return lf.Dataset(inputs, targets, np.linspace(0.2, 1.7, samples) if weighted else None)


def random_problem(arch: lf.Architecture, loss, samples: int = 12, weighted: bool = False) -> lf.EmpiricalRisk:
    """The risk of `random_data`."""
    return lf.EmpiricalRisk(arch, loss, random_data(arch, weighted, samples))
