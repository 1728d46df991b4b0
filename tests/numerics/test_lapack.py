"""LAPACK one matrix at a time: the same numbers and derivatives as for a batch, and no call for one on CPUs."""

import os
import re
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lcnn_flow as lf
from lcnn_flow.dynamics.settings import flow_settings
from lcnn_flow.ensemble.programs import SearchBlock
from lcnn_flow.numerics.lapack import eigh, eigvalsh, singular_values, thin_svd
from lcnn_flow.solvers import inverse_positive_definite
from tests.problems import random_problem

pytestmark = pytest.mark.optimised
ROOTS = np.random.default_rng(0).normal(size=(5, 4, 4))
MATRICES = jnp.asarray(ROOTS @ ROOTS.transpose(0, 2, 1) + np.eye(4))
TURNS = MATRICES[::-1] - 2 * MATRICES  # symmetric too: the functions of symmetric matrices may read one triangle only
FUNCTIONS = {
    "eigenvalues": (eigvalsh, np.linalg.eigvalsh),
    "eigenvectors": (lambda a: _spectral_sum(*eigh(a)), lambda a: a),
    "singular values": (singular_values, lambda a: np.linalg.svd(a, compute_uv=False)),
    "factors": (lambda a: jnp.matmul(*_halves(*thin_svd(a))), lambda a: a),
    "inverse": (lambda a: inverse_positive_definite(a)[0], np.linalg.inv),
}


def _spectral_sum(eigenvalues, axes):
    return jnp.matmul(axes * eigenvalues[None, :], axes.T)


def _halves(left, strengths, right):
    return left * strengths[None, :], right


@pytest.mark.parametrize(("function", "expected"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_one_matrix_and_matrices_side_by_side_have_the_values_that_numpy_finds(function, expected):
    one_by_one = jax.jit(jax.vmap(function))(MATRICES)
    np.testing.assert_allclose(
        one_by_one, np.stack([expected(a) for a in np.asarray(MATRICES)]), rtol=1e-10, atol=1e-12
    )
    np.testing.assert_allclose(function(MATRICES[2]), one_by_one[2], rtol=1e-11, atol=1e-13)
    twice = jax.vmap(jax.vmap(function))(MATRICES[None])
    np.testing.assert_allclose(twice[0], one_by_one, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("function", [pair[0] for pair in FUNCTIONS.values()], ids=FUNCTIONS)
def test_derivatives_are_those_of_differences_in_every_order_of_the_transformations(function):
    def total(a):
        return jnp.sum(jnp.sin(function(a)))

    h = 1e-5
    ahead, behind = (jax.vmap(total)(MATRICES + k * h * TURNS) for k in (1, -1))
    expected = (ahead - behind) / (2 * h)

    def along(gradients):
        return jnp.sum(gradients * TURNS, axis=(1, 2))

    orders = {
        "vmap(grad)": along(jax.vmap(jax.grad(total))(MATRICES)),
        "grad(vmap)": along(jax.grad(lambda a: jnp.sum(jax.vmap(total)(a)))(MATRICES)),
        "vmap(jvp)": jax.vmap(lambda a, d: jax.jvp(total, (a,), (d,))[1])(MATRICES, TURNS),
        "jvp(vmap)": jax.jvp(jax.vmap(total), (MATRICES,), (TURNS,))[1],
    }
    for name, found in orders.items():
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7, err_msg=name)


ARCH = lf.Architecture(4, (2, 2))
WIDE = lf.Architecture(3, (2, 2), channels=(1, 2, 2))


def _starts(arch: lf.Architecture, count: int) -> tuple[jax.Array, ...]:
    return lf.initializers.gaussian(0.6)(jax.random.split(jax.random.key(0), count), arch)


@pytest.mark.parametrize("arch", [ARCH, pytest.param(WIDE, marks=pytest.mark.slow)], ids=["1-D", "channels"])
def test_searches_side_by_side_call_lapack_for_one_matrix_at_a_time_on_cpus(arch):
    risk, starts = random_problem(arch, lf.losses.PseudoHuber(1.0)), _starts(arch, 3)
    settings = flow_settings(starts, times=jnp.asarray([0.1, 1.0]))
    program: Any = jax.jit(lambda risk, starts: SearchBlock()(risk, (starts, None, None), settings))
    text = program.trace(risk, starts).lower(lowering_platforms=("cpu",)).as_text()
    calls = re.findall(r"custom_call @(lapack_\w+)\(.*: \(tensor<([x\d]*)xf64>", text)
    assert {name.split("_")[1] for name, _ in calls} >= {"dsyevd", "dgesdd"}
    assert {shape.count("x") for _, shape in calls} == {1}


TWO_DEVICES = """
import jax
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 2)
import diffrax, numpy as np, lcnn_flow as lf
from lcnn_flow.ensemble import many, memory
from tests.numerics.test_lapack import _starts, random_problem
memory.device_bytes = lambda device: 0  # of no concern: nothing runs in lanes
many._REPAYS_A_DEVICE = 1  # so small a problem would stay on one
arch = lf.Architecture(1, (1, 1))  # compiles fast
risk, starts, done = random_problem(arch, lf.losses.Square()), _starts(arch, 11), []
def flows(devices):
    told = lambda n, total: done.append(n)
    lockstep = diffrax.ForwardMode()
    return lf.gradient_flow_ensemble(
        risk, starts, block_size=4, times=[0.1, 1.0], adjoint=lockstep, devices=devices, progress=told
    )
both, one = flows(None), flows(jax.local_devices()[1:])
for a, b in zip(jax.tree.leaves(both), jax.tree.leaves(one), strict=True):
    np.testing.assert_array_equal(a, b)
np.testing.assert_array_equal(both.verdict, lf.Verdict.CONVERGED)
print(done)
"""


@pytest.mark.slow
def test_two_devices_share_the_blocks_of_trajectories_and_give_the_bits_of_one():
    cpu = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", TWO_DEVICES], capture_output=True, text=True, timeout=300, env=cpu)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[8, 11, 4, 8, 11]"
