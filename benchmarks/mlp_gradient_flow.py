"""Flows of a softplus network of 33 parameters, the smaller of two settings with which MLPGradientFlow.jl was measured.

Brea, Martinelli, Simsek and Gerstner 2023 (MLPGradientFlow: going with the flow of multilayer perceptrons, and finding
minima fast and accurately, arXiv 2301.10638), as their scripts `helper.jl` and `ode.jl` set it up: 10^4 inputs from
N(0, I_2); targets of a network of 4 softplus units and biases, all of its parameters from N(0, 1); students of 8 such
units, 8 * 3 + 9 = 33 parameters, with weights from N(0, 2/(inputs + outputs)) and biases 0. A program of some minutes:

    python -m benchmarks.mlp_gradient_flow --seeds 4

Their risk is the mean square, twice the one here: the same path in half the time. Random numbers differ, so that paths,
minima and times cannot be compared run by run; kinds of ends and gradients that are reached can. They integrate for a
given time and then minimise by Newton's method or BFGS with a bound on |w|; here the flow is followed to its end.
"""

import argparse
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import lcnn_flow as lf

__all__ = ["STUDENT", "Run", "glorot", "main", "problem", "run"]

_UNITS, _TEACHER_UNITS, _INPUTS = 8, 4, 2
STUDENT = lf.Dense((_INPUTS, _UNITS, 1), activation=lf.activations.softplus, bias=True)
"""The network that is trained."""
_TEACHER = lf.Dense((_INPUTS, _TEACHER_UNITS, 1), activation=lf.activations.softplus, bias=True)


class Run(NamedTuple):
    """One flow to its end."""

    verdict: str
    seconds: float
    """Without compilation."""
    steps: int
    time: float
    risk: float
    largest_slope: float
    """Largest entry of |grad L| at the limit, or at the end of a flow without one."""
    smallest_curvature: float


def problem(key: Array, samples: int = 10_000) -> tuple[lf.EmpiricalRisk, list[Array]]:
    """The risk of a random teacher, and its parameters in the order W_1, b_1, W_2, b_2."""
    for_inputs, for_teacher = jax.random.split(key)
    inputs = jax.random.normal(for_inputs, (samples, _INPUTS))
    keys = jax.random.split(for_teacher, len(_TEACHER.layer_shapes))
    arrays = [jax.random.normal(k, shape) for k, shape in zip(keys, _TEACHER.layer_shapes, strict=True)]
    targets = lf.apply(_TEACHER, _TEACHER.assemble(arrays[::2], arrays[1::2]), inputs)
    return lf.EmpiricalRisk(STUDENT, lf.losses.Square(), lf.Dataset(inputs, targets)), arrays


def glorot(key: Array) -> tuple[tuple[Array, Array], ...]:
    """Weights from N(0, 2/(inputs + outputs)), biases 0 (Glorot and Bengio 2010)."""
    found = []
    for number, (outputs, inputs) in enumerate(STUDENT.weight_shapes):
        weights = jax.random.normal(jax.random.fold_in(key, number), (outputs, inputs))
        found.append((weights * np.sqrt(2 / (inputs + outputs)), jnp.zeros((outputs,))))
    return tuple(found)


def run(seed: int, samples: int = 10_000) -> Run:
    """The flow of one seed, with what is known of its end."""
    for_problem, for_start = jax.random.split(jax.random.key(seed))
    (risk, _), start = problem(for_problem, samples), glorot(for_start)
    begun = time.perf_counter()
    flow = jax.block_until_ready(lf.gradient_flow(risk, start))
    seconds = time.perf_counter() - begun
    verdict = lf.Verdict(int(flow.verdict))
    known = bool(jnp.isfinite(jax.tree.leaves(flow.limit)[0]).all())
    gradient = jax.grad(risk)(flow.limit if known else flow.final)
    slope = max(float(jnp.max(jnp.abs(g))) for g in jax.tree.leaves(gradient))
    curvature = float(flow.smallest_curvature)
    return Run(verdict.name, seconds, int(flow.steps), float(flow.time), float(flow.risk), slope, curvature)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a line per seed."""
    parser = argparse.ArgumentParser(description="Flows of the network of 33 parameters of arXiv 2301.10638.")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--samples", type=int, default=10_000)
    given = parser.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    lf.enable_compilation_cache()
    run(0, given.samples)  # compiles
    print(
        f"{'seed':>4s} {'verdict':>12s} {'seconds':>8s} {'steps':>6s} {'time':>8s} {'risk':>9s} {'slope':>8s} curvature"
    )
    for seed in range(given.seeds):
        r = run(seed, given.samples)
        numbers = f"{r.seconds:8.1f} {r.steps:6d} {r.time:8.1e} {r.risk:9.2e} {r.largest_slope:8.1e}"
        print(f"{seed:4d} {r.verdict:>12s} {numbers} {r.smallest_curvature:9.1e}", flush=True)


if __name__ == "__main__":
    main()
