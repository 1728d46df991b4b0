"""Starting points: shapes, norms, balance, orthogonality, distribution."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lcnn_flow import initializers
from lcnn_flow.errors import ArchitectureError
from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.dense import Dense

PLAIN = Architecture(16, (3, 5, 2))
IMAGE = Architecture((8, 8), ((3, 2), 3))
CHANNELS = Architecture(12, (3, 2, 3), channels=(2, 9, 3, 1))
ARCHITECTURES = [PLAIN, IMAGE, CHANNELS]
FACTORIES = {
    "gaussian": initializers.gaussian(0.7),
    "balanced": initializers.balanced(0.7),
    "orthogonal": initializers.orthogonal(1.3),
}
KEY = jax.random.key(7)


def norms(params):
    return np.array([np.linalg.norm(np.ravel(w)) for w in params])


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=["1-D", "2-D", "channels"])
@pytest.mark.parametrize("name", FACTORIES)
def test_filters_have_the_shapes_of_the_layers_and_the_default_dtype(name, arch):
    params = jax.eval_shape(lambda key: FACTORIES[name](key, arch), KEY)
    arch.check_params(params)
    assert all(w.dtype == jnp.result_type(float) for w in params)


@pytest.mark.parametrize(("name", "arch"), list(zip(FACTORIES, ARCHITECTURES, strict=True)), ids=FACTORIES)
def test_filters_are_a_pure_function_of_the_key_under_jit_and_vmap(name, arch):
    keys = jax.random.split(KEY, 2)
    batch = jax.jit(jax.vmap(lambda key: FACTORIES[name](key, arch)))(keys)
    for w, again, rows in zip(FACTORIES[name](keys[1], arch), FACTORIES[name](keys[1], arch), batch, strict=True):
        np.testing.assert_array_equal(w, again)
        np.testing.assert_allclose(rows[1], w, rtol=1e-12, atol=1e-14)
        assert np.all(rows[0] != rows[1])


@pytest.mark.parametrize("raw", [False, True], ids=["typed keys", "raw keys"])
@pytest.mark.parametrize("network", [PLAIN, Dense((3, 4, 2), bias=True)], ids=["convolution", "dense with biases"])
@pytest.mark.parametrize("name", ["gaussian", "scaled", "constant"])
def test_a_batch_of_keys_gives_each_key_the_parameters_it_gives_alone(name, network, raw):
    gaussian = initializers.gaussian(0.7)
    initialize = {
        "gaussian": gaussian,
        "scaled": initializers.scaled([0.5] * network.depth),
        "constant": initializers.constant(gaussian(KEY, network)),
    }[name]
    keys = jax.random.split(jax.random.PRNGKey(3) if raw else KEY, 3)
    batch = initialize(keys, network)
    for row, key in enumerate(keys):
        alone = initialize(key, network)
        chex.assert_trees_all_close(jax.tree.map(lambda w, row=row: w[row], batch), alone, rtol=1e-13, atol=1e-15)


def test_gaussian_entries_have_the_given_standard_deviation_and_no_correlation():
    keys = jax.random.split(KEY, 4000)
    batch = jax.vmap(lambda key: initializers.gaussian(0.3)(key, PLAIN))(keys)
    samples = np.concatenate(batch, axis=1)
    # 4000 samples: the sample covariance of N(0, 0.09) deviates by about 0.09 * sqrt(2/4000) = 0.002
    np.testing.assert_allclose(np.cov(samples.T), 0.09 * np.eye(10), atol=0.012)
    np.testing.assert_allclose(samples.mean(axis=0), 0, atol=0.02)


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=["1-D", "2-D", "channels"])
def test_balanced_layers_have_one_common_norm_and_the_expected_sum_of_squares(arch):
    squares = norms(initializers.balanced(0.4)(KEY, arch)) ** 2
    np.testing.assert_allclose(np.diff(squares), 0, atol=1e-14)
    np.testing.assert_allclose(squares.sum(), 0.16 * arch.num_parameters, rtol=1e-13)


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=["1-D", "2-D", "channels"])
def test_imbalanced_norms_are_geometric_from_first_to_last_around_those_of_balanced(arch):
    found = norms(initializers.imbalanced(0.4, 9.0)(KEY, arch))
    np.testing.assert_allclose(found / found[0], 9.0 ** -np.linspace(0, 1, arch.depth), rtol=1e-13)
    balanced = initializers.balanced(0.4)(KEY, arch)
    np.testing.assert_allclose(np.prod(found), np.prod(norms(balanced)), rtol=1e-13)
    same = initializers.imbalanced(0.4, 1.0)(KEY, arch)
    assert all(np.array_equal(a, b) for a, b in zip(same, balanced, strict=True))


def test_imbalanced_refuses_a_ratio_that_is_none():
    for ratio in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ArchitectureError, match="imbalanced: ratio"):
            initializers.imbalanced(0.4, ratio)


def test_balanced_with_channels_makes_the_traces_of_the_conserved_matrices_vanish_only():
    first, second, _ = map(np.asarray, initializers.balanced()(KEY, CHANNELS))
    matrix = np.einsum("abt,act->bc", second, second) - np.einsum("abt,cbt->ac", first, first)
    assert abs(np.trace(matrix)) < 1e-13
    assert np.linalg.norm(matrix) > 0.1


def test_orthogonal_single_channel_filters_have_norm_gain():
    np.testing.assert_allclose(norms(initializers.orthogonal(2.5)(KEY, PLAIN)), 2.5, rtol=1e-14)
    np.testing.assert_allclose(norms(initializers.orthogonal()(KEY, IMAGE)), 1.0, rtol=1e-14)


def test_orthogonal_with_channels_has_orthonormal_rows_or_columns():
    for w in initializers.orthogonal(1.5)(KEY, CHANNELS):
        matrix = np.asarray(w).reshape(w.shape[0], -1)
        gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
        np.testing.assert_allclose(gram, 2.25 * np.eye(len(gram)), atol=1e-13)


def test_orthogonal_directions_are_unbiased():
    arch, keys = Architecture(2, (2,), channels=(1, 2)), jax.random.split(KEY, 2000)
    (w,) = jax.vmap(lambda key: initializers.orthogonal()(key, arch))(keys)
    np.testing.assert_allclose(np.mean(w, axis=0), 0, atol=0.07)  # standard error of the mean: 0.016


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=["1-D", "2-D", "channels"])
def test_scaled_gives_every_layer_its_norm_and_keeps_directions(arch):
    wanted = np.array([0.1, 2.0, 3.0])[: arch.depth]
    base = initializers.gaussian(1.0)
    params = initializers.scaled(wanted, base)(KEY, arch)
    np.testing.assert_allclose(norms(params), wanted, rtol=1e-13)
    for w, direction in zip(params, base(KEY, arch), strict=True):
        cosine = np.vdot(w, direction) / np.linalg.norm(w) / np.linalg.norm(direction)
        np.testing.assert_allclose(cosine, 1, rtol=1e-13)


def test_scaled_leaves_zero_filters_zero_and_resolves_tiny_ones():
    zeros = initializers.constant([jnp.zeros(k) for k in (3, 5, 2)])
    for w in initializers.scaled((1, 2, 3), zeros)(KEY, PLAIN):
        np.testing.assert_array_equal(w, 0)
    tiny = initializers.scaled((1, 2, 3), initializers.gaussian(1e-200))(KEY, PLAIN)
    np.testing.assert_allclose(norms(tiny), [1, 2, 3], rtol=1e-13)
    assert all(np.all(w == 0) for w in initializers.scaled((0.0, 0.0, 0.0))(KEY, PLAIN))


def test_numbers_may_be_traced():
    def total(std):
        params = initializers.gaussian(std)(KEY, PLAIN) + initializers.balanced(std)(KEY, PLAIN)
        params += initializers.orthogonal(std)(KEY, PLAIN)
        params += initializers.scaled([std, 2 * std, std])(KEY, PLAIN)
        return sum(jnp.sum(w) for w in params)

    # every entry is proportional to std
    np.testing.assert_allclose(jax.jit(jax.grad(total))(0.3), total(1.0), rtol=1e-12)
    np.testing.assert_allclose(jax.vmap(total)(jnp.array([1.0, 2.0])), total(1.0) * np.array([1.0, 2.0]), rtol=1e-12)


def test_constant_returns_its_filters_for_every_key():
    filters = (np.array([1, 2, 3]), np.arange(5.0), [0.5, 1.5])
    for key in (KEY, None):
        for w, given in zip(initializers.constant(filters)(key, PLAIN), filters, strict=True):
            np.testing.assert_array_equal(w, given)
            assert w.dtype == jnp.result_type(float)


def test_misuse_names_the_factory_and_the_remedy():
    with pytest.raises(ArchitectureError, match=r"norms has shape \(2,\) for 3 layers: write one norm per layer"):
        initializers.scaled((1.0, 2.0))(KEY, PLAIN)
    with pytest.raises(ArchitectureError, match="norms"):
        initializers.scaled(())(KEY, PLAIN)
    with pytest.raises(ArchitectureError, match="at least 0"):
        initializers.scaled((1.0, -2.0, 1.0))
    for factory in (initializers.gaussian, initializers.balanced, initializers.orthogonal):
        for bad in (-1.0, float("nan"), float("inf")):
            with pytest.raises(ArchitectureError, match="at least 0"):
                factory(bad)
    with pytest.raises(ArchitectureError, match="shapes"):
        initializers.constant([jnp.ones(3)])(KEY, PLAIN)
    with pytest.raises(ArchitectureError, match=r"params\[1\] is not finite"):
        initializers.constant([jnp.ones(3), jnp.array([1.0, jnp.nan])])
