"""The training problems that every part measures, and their initial filters.

SMALL and ILL have 9 parameters and a 7-tap end-to-end filter, MEDIUM has 20 and 25: targets are those of a planted
filter with 10% noise, initial filters are N(0, 1/4).
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lcnn_flow as lf

__all__ = ["GRADIENT_NORM", "PROBLEMS", "describe", "flows", "matrix", "named", "problem", "starts"]

GRADIENT_NORM = 1e-8
"""A flow has arrived when |grad L| is at most this, in units of risk/filter: for ours and for every peer."""

_SMALL: dict[str, Any] = {"kernel_sizes": (3, 3, 3), "strides": 1, "length": 16, "samples": 64}
PROBLEMS: dict[str, dict[str, Any]] = {
    "SMALL": _SMALL,
    "ILL": _SMALL | {"rho": 0.99},
    "MEDIUM": {"kernel_sizes": (5, 5, 5, 5), "strides": (1, 2, 1, 1), "length": 65, "samples": 256},
}


def problem(
    kernel_sizes: tuple[Any, ...],
    strides: Any = 1,
    length: int = 16,
    samples: int = 64,
    rho: float = 0.0,
    loss: Any = None,
) -> lf.EmpiricalRisk:
    """A planted filter (entries of standard deviation 0.6) seen through white or AR(1) inputs, with 10% noise."""
    arch = lf.Architecture(length, kernel_sizes, strides)
    inputs = lf.data.Autoregressive(rho) if rho else lf.data.White()

    @jax.jit
    def build(key: Any) -> lf.EmpiricalRisk:
        data = lf.data.synthesize(key, arch, samples, inputs, lf.data.Planted(0.6), noise=0.1)
        return lf.EmpiricalRisk(arch, lf.losses.Square() if loss is None else loss, data)

    return build(jax.random.key(0))


@cache
def named(name: str) -> lf.EmpiricalRisk:
    """One of `PROBLEMS`, with the square loss."""
    return problem(**PROBLEMS[name])


def starts(arch: lf.Architecture, seeds: int) -> tuple[Any, ...]:
    """Initial filters (seeds, k_l) a layer; the first of many seeds are those of few."""
    vectors = np.random.default_rng(1).normal(scale=0.5, size=(seeds, arch.num_parameters))
    sizes = [shape[0] for shape in arch.layer_shapes]
    return tuple(jnp.asarray(w) for w in np.split(vectors, np.cumsum(sizes)[:-1], axis=1))


def matrix(params: tuple[Any, ...]) -> np.ndarray:
    """Filters with a leading axis of seeds as (seeds, parameters)."""
    return np.concatenate([np.asarray(w).reshape(len(w), -1) for w in params], axis=1)


def flows(risk: lf.EmpiricalRisk, params: tuple[Any, ...], **options: Any) -> lf.Flow:
    """The ensemble as everything here runs it: default options, stopped at `GRADIENT_NORM`."""
    return lf.gradient_flow_ensemble(risk, params, gradient_atol=GRADIENT_NORM, gradient_rtol=0.0, **options)


def describe(name: str) -> str:
    """A problem in words."""
    spec = PROBLEMS[name]
    inputs = f"AR(1) inputs, rho = {spec['rho']}" if "rho" in spec else "white inputs"
    sizes = ", ".join(map(str, spec["kernel_sizes"]))
    return f"kernel sizes ({sizes}), strides {spec['strides']}, {spec['samples']} {inputs} of length {spec['length']}"
