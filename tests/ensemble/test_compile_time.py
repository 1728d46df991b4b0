"""How long the program of the lanes takes to compile, in units of a fixed program that is compiled in the same run."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import lcnn_flow as lf
from lcnn_flow import compilation_cache
from lcnn_flow.dynamics.settings import flow_settings
from lcnn_flow.ensemble.programs import LaneBlock
from tests.problems import random_problem

LONGEST = 1.3
"""Largest ratio: 0.84 to 0.85 were measured, also on a busy machine."""
REPEATS = 200
"""Length of the reference, which then takes about as long as the lanes."""


@pytest.fixture
def empty_cache(tmp_path):
    """Programs are compiled, and not read from disk."""
    folder = jax.config.jax_compilation_cache_dir
    lf.enable_compilation_cache(tmp_path)
    yield
    jax.config.update("jax_compilation_cache_dir", folder)
    compilation_cache.compilation_cache.reset_cache()


def reference(x: jax.Array) -> jax.Array:
    """A loop over kernels of several kinds."""

    def body(carry):
        count, x = carry
        for k in range(REPEATS):
            rows = jax.lax.sort(x * (k + 1.0), dimension=0)
            x = jnp.where(rows > 0, jnp.sin(rows) / (1 + jnp.square(x)), jnp.exp(-jnp.abs(x)))
            x = x - jnp.sum(x, axis=0, keepdims=True) + jnp.matmul(x.T, rows) @ x.T
        return count + 1, x

    return jax.lax.while_loop(lambda carry: carry[0] < 3, body, (0, x))[1]


def lanes(params: tuple[jax.Array, ...]) -> lf.Flow:
    risk = random_problem(lf.Architecture(4, (2, 2)), lf.losses.Square(), samples=9)
    return LaneBlock(8)(risk, (params, jnp.zeros(8, int)), flow_settings(params))


def cpu_seconds(function: Callable[..., Any], *arguments: Any) -> float:
    """From tracing to the executable, with nothing left in memory of what was traced before."""
    jax.clear_caches()
    began = time.process_time()
    jax.jit(function).lower(*arguments).compile()
    return time.process_time() - began


@pytest.mark.slow
@pytest.mark.usefixtures("empty_cache")
def test_the_program_of_the_lanes_compiles_in_about_the_time_of_the_reference():
    unit = cpu_seconds(reference, jnp.ones((8, 8)))
    assert cpu_seconds(lanes, (jnp.ones((8, 2)), jnp.ones((8, 2)))) <= LONGEST * unit
