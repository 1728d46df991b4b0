"""Units, sums and products for many flows in the last axis."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lcnn_flow.numerics.kernels import as_kernel, matrix_vector, slice_of, unrolled_sum

FLOWS = 3
pytestmark = pytest.mark.optimised


@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_products_side_by_side_are_those_of_numpy_in_one_kernel_or_in_a_loop(columns, rows, seed):
    rng = np.random.default_rng(seed)
    matrix, vector = rng.normal(size=(rows, columns, FLOWS)), rng.normal(size=(columns, FLOWS))
    expected = np.einsum("nmf,mf->nf", matrix, vector)
    ours = matrix_vector(jnp.asarray(matrix), jnp.asarray(vector))
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-13 * columns)


@pytest.mark.parametrize("count", [0, 1, 16, 17])
def test_a_total_adds_every_term_once_to_its_start(count):
    numbers, start = jnp.asarray(2.0 ** np.arange(count)), jnp.asarray(0.5)
    if count > 0:
        assert unrolled_sum(count, lambda k: slice_of(numbers, k)) == 2.0**count - 1
    assert unrolled_sum(count, lambda k: slice_of(numbers, k), start) == 2.0**count - 0.5


def test_a_unit_changes_no_value_under_any_transformation():
    def bend(x, y):
        return {"sum": jnp.sin(x) + y[0], "product": x * y[1]}

    x, y = jnp.linspace(0.1, 1.0, 5), (jnp.asarray(2.0), jnp.asarray(3.0))
    apart = as_kernel(bend)
    for transform in (
        lambda f: f,
        jax.jit,
        lambda f: jax.vmap(f, in_axes=(0, None)),
        lambda f: jax.jacrev(f, argnums=(0, 1)),
    ):
        for ours, expected in zip(
            jax.tree.leaves(transform(apart)(x, y)), jax.tree.leaves(transform(bend)(x, y)), strict=True
        ):
            np.testing.assert_array_equal(ours, expected)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="units are for CPUs")
def test_on_a_cpu_nothing_is_fused_across_the_border_of_a_unit():
    def chain(x, step):
        for _ in range(3):
            x = step(x)
        return x

    def step(x):
        return x[:1] - jnp.square(x)

    def calls(step):
        return jax.jit(lambda x: chain(x, step)).lower(jnp.ones((3, 8))).compile().as_text().count(" call(")

    assert calls(step) == 0
    assert calls(as_kernel(step)) == 3
