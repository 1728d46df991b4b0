"""The network against numpy and scipy correlations, and the identities of its end-to-end filter."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from lcnn_flow.errors import ArchitectureError
from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.filters import end_to_end_filter
from lcnn_flow.network.forward import apply, patches
from lcnn_flow.network.parameters import ravel, unravel

quick = settings(max_examples=10, deadline=None, derandomize=True)


@st.composite
def problems(draw, max_dimension=2, single_channel=False):
    """An architecture with filters and two inputs."""
    dimension = draw(st.integers(1, max_dimension))
    depth = draw(st.integers(1, 3))
    size = st.lists(st.integers(1, 3), min_size=dimension, max_size=dimension).map(tuple)
    kernels = draw(st.lists(size, min_size=depth, max_size=depth))
    strides = draw(st.lists(size, min_size=depth, max_size=depth))
    shape = draw(size)
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        shape = tuple((d - 1) * s + k for d, s, k in zip(shape, stride, kernel, strict=True))
    channels = None
    if not single_channel and draw(st.booleans()):
        channels = draw(st.lists(st.integers(1, 3), min_size=depth + 1, max_size=depth + 1))
    arch = Architecture(shape, kernels, strides, channels)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    params = tuple(rng.standard_normal(s) for s in arch.layer_shapes)
    return arch, params, rng.standard_normal((2, *arch.sample_shape))


def correlate(x, w, stride):
    """(c_in, *d) with (c_out, c_in, *k): valid cross-correlation, then every stride-th entry."""
    outputs = []
    for row in w:
        full = sum(signal.correlate(a, b, mode="valid", method="direct") for a, b in zip(x, row, strict=True))
        outputs.append(full[tuple(slice(None, None, s) for s in stride)])
    return np.stack(outputs)


def reference(arch, params, x):
    """Layer by layer with scipy; for all inputs of a batch."""
    results = []
    for sample in x:
        y = sample if arch.channels is not None else sample[None]
        for w, stride in zip(params, arch.strides, strict=True):
            y = correlate(y, w if arch.channels is not None else w[None, None], stride)
        results.append(y if arch.channels is not None else y[0])
    return np.stack(results)


def to_jax(params):
    return tuple(map(jnp.asarray, params))


@quick
@given(problems())
def test_apply_agrees_with_scipy_layer_by_layer(problem):
    arch, params, x = problem
    np.testing.assert_allclose(apply(arch, to_jax(params), x), reference(arch, params, x), rtol=1e-11, atol=1e-11)


@quick
@given(problems())
def test_composition_equals_one_strided_convolution_with_the_end_to_end_filter(problem):
    arch, params, x = problem
    v = np.asarray(end_to_end_filter(arch, to_jax(params)))
    assert v.shape == arch.end_to_end_filter_shape
    once = np.stack(
        [
            correlate(
                row if arch.channels is not None else row[None],
                v if arch.channels is not None else v[None, None],
                arch.end_to_end_stride,
            )
            for row in x
        ]
    )
    np.testing.assert_allclose(once.reshape(2, *arch.output_shape), reference(arch, params, x), rtol=1e-10, atol=1e-10)


@quick
@given(problems())
def test_patches_times_the_end_to_end_filter_are_the_outputs(problem):
    arch, params, x = problem
    p = np.asarray(patches(arch, jnp.asarray(x)))
    assert p.shape[:2] == (2, np.prod(arch.spatial_shapes[-1]))
    v = np.asarray(end_to_end_filter(arch, to_jax(params)))
    v = v.reshape(1 if arch.channels is None else arch.channels[-1], -1)
    outputs = np.moveaxis(p @ v.T, -1, 1).reshape(2, *arch.output_shape)
    np.testing.assert_allclose(outputs, reference(arch, params, x), rtol=1e-10, atol=1e-10)


@quick
@given(problems(max_dimension=1, single_channel=True), st.complex_numbers(max_magnitude=1.2))
def test_end_to_end_polynomial_is_the_product_of_layer_polynomials_at_powers(problem, z):
    # v(z) = prod_l w_l(z^{S_l}), with w(z) = sum_j w[j] z^j
    arch, params, _ = problem
    v = np.asarray(end_to_end_filter(arch, to_jax(params)))
    product = 1.0
    for w, (spacing,) in zip(params, arch.cumulative_strides, strict=True):
        product = product * np.polynomial.polynomial.polyval(z**spacing, w)
    np.testing.assert_allclose(np.polynomial.polynomial.polyval(z, v), product, rtol=1e-9, atol=1e-9)


@quick
@given(problems(), st.integers(0, 2), st.floats(-3, 3), st.floats(-3, 3))
def test_end_to_end_filter_is_linear_in_every_layer(problem, layer, a, b):
    arch, params, _ = problem
    layer %= arch.depth
    other = np.cos(np.arange(params[layer].size)).reshape(params[layer].shape)

    def v(w):
        return np.asarray(end_to_end_filter(arch, to_jax((*params[:layer], w, *params[layer + 1 :]))))

    np.testing.assert_allclose(
        v(a * params[layer] + b * other), a * v(params[layer]) + b * v(other), rtol=1e-10, atol=1e-10
    )


def test_worked_example_by_hand():
    # (1 + 2z)(3 + z^2): the second layer's taps are 2 apart behind a first stride of 2
    arch = Architecture(6, (2, 2), (2, 1))
    params = (jnp.array([1.0, 2.0]), jnp.array([3.0, 1.0]))
    np.testing.assert_array_equal(end_to_end_filter(arch, params), [3, 6, 1, 2])
    np.testing.assert_array_equal(apply(arch, params, jnp.arange(6.0)), [14, 38])


def test_leading_axes_are_kept_whatever_their_number():
    arch = Architecture((4, 4), (2,), channels=(1, 2))
    params = (jnp.ones((2, 1, 2, 2)),)
    x = np.random.default_rng(0).standard_normal((3, 5, 1, 4, 4))
    y = apply(arch, params, x)
    assert y.shape == (3, 5, 2, 3, 3)
    np.testing.assert_allclose(y[1, 2], apply(arch, params, x[1, 2]), rtol=1e-13, atol=1e-13)
    assert apply(arch, params, x[:0]).shape == (0, 5, 2, 3, 3)


def test_float32_parameters_and_inputs_stay_float32():
    arch = Architecture(6, (2, 2))
    params = (jnp.ones(2, jnp.float32), jnp.ones(2, jnp.float32))
    assert end_to_end_filter(arch, params).dtype == jnp.float32
    assert apply(arch, params, jnp.ones(6, jnp.float32)).dtype == jnp.float32


def test_derivative_of_the_end_to_end_filter_under_jit_vmap_and_grad():
    # 1-D, stride 1: dv_i/dw_1[j] = w_2[i - j], dv_i/dw_2[j] = w_1[i - j]
    arch = Architecture(5, (2, 2))

    @jax.jit
    @chex.assert_max_traces(n=1)
    def jacobians(params):
        return jax.vmap(jax.jacrev(lambda w: end_to_end_filter(arch, w)))(params)

    rng = np.random.default_rng(1)
    for _ in range(2):
        first, second = rng.standard_normal((2, 4, 2))
        by_first, by_second = jacobians((jnp.asarray(first), jnp.asarray(second)))
        for i in range(4):
            for w, jacobian in ((second[i], by_first[i]), (first[i], by_second[i])):
                np.testing.assert_array_equal(jacobian, [[w[0], 0], [w[1], w[0]], [0, w[1]]])
    gradient = jax.grad(lambda w: jnp.sum(end_to_end_filter(arch, w) ** 2) / 2)(
        (jnp.array([1.0, 2.0]), jnp.array([3.0, 1.0]))
    )
    # v = (3, 7, 2)
    np.testing.assert_array_equal(gradient[0], [3 * 3 + 7 * 1, 7 * 3 + 2 * 1])
    np.testing.assert_array_equal(gradient[1], [3 * 1 + 7 * 2, 7 * 1 + 2 * 2])


def test_equal_architectures_share_one_trace_of_apply():
    @jax.jit
    @chex.assert_max_traces(n=1)
    def run(arch, params, x):
        return apply(arch, params, x)

    for scale in (1.0, 2.0):
        y = run(Architecture(4, (2, 2)), (scale * jnp.ones(2), jnp.ones(2)), jnp.arange(4.0))
        np.testing.assert_allclose(y, scale * np.array([4, 8]))


def test_ravel_and_unravel_are_inverse_and_keep_the_order_of_layers():
    arch = Architecture(8, (3, 2), channels=(1, 2, 1))
    vector = jnp.arange(float(arch.num_parameters))
    params = unravel(arch, vector)
    arch.check_params(params)
    np.testing.assert_array_equal(params[1], np.arange(6.0, 10).reshape(1, 2, 2))
    np.testing.assert_array_equal(ravel(params), vector)


def test_inputs_and_params_that_do_not_fit_are_refused():
    arch = Architecture(6, (2, 2))
    params = (jnp.ones(2), jnp.ones(2))
    for x in (jnp.ones(5), jnp.ones((6, 2)), jnp.ones(())):
        with pytest.raises(ArchitectureError, match=r"this architecture needs \(\.\.\., "):
            apply(arch, params, x)
    with pytest.raises(ArchitectureError, match="params"):
        apply(arch, params[:1], jnp.ones(6))
    with pytest.raises(ArchitectureError, match="params"):
        end_to_end_filter(arch, list(params))  # pyright: ignore[reportArgumentType]
