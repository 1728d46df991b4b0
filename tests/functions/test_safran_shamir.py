"""The population risk of two-layer ReLU networks against Monte Carlo, closed forms and differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.safran_shamir import correlation, population_risk, share_of_spurious_minima

K = 3
V = jnp.eye(K)
gradient = jax.jit(jax.grad(population_risk))
hessian = jax.jit(jax.hessian(population_risk))


def by_arccos(W, V):
    """The same risk by the textbook formula, in numpy."""

    def f(w, v):
        sizes = np.linalg.norm(w) * np.linalg.norm(v)
        angle = np.arccos(np.clip(w @ v / sizes, -1, 1))
        return sizes * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)

    def total(A, B):
        return sum(f(a, b) for a in A for b in B)

    return total(W, W) / 2 - total(W, V) + total(V, V) / 2


def somewhere(key=0):
    return np.asarray(jax.random.normal(jax.random.key(key), (4, K)))


def test_the_risk_is_half_the_mean_squared_error_over_gaussian_inputs():
    W, x = somewhere(), np.random.default_rng(0).normal(size=(400_000, K))
    errors = (np.maximum(x @ W.T, 0).sum(axis=1) - np.maximum(x, 0).sum(axis=1)) ** 2 / 2
    sampling = np.std(errors) / np.sqrt(len(errors))
    assert abs(float(population_risk(W, V)) - np.mean(errors)) < 4 * sampling
    slopes = (np.maximum(x @ W.T, 0).sum(axis=1) - np.maximum(x, 0).sum(axis=1))[:, None, None] * (
        (x @ W.T > 0)[:, :, None] * x[:, None, :]
    )
    sampling = np.std(slopes, axis=0) / np.sqrt(len(x))
    assert np.all(np.abs(gradient(W, V) - np.mean(slopes, axis=0)) < 5 * sampling)


def test_gradient_and_hessian_are_those_that_differences_of_the_textbook_formula_show():
    W, step = somewhere(1), 1e-5
    np.testing.assert_allclose(population_risk(W, V), by_arccos(W, np.asarray(V)), rtol=1e-13)
    units = step * np.eye(W.size).reshape(-1, *W.shape)
    slopes = [(by_arccos(W + e, np.asarray(V)) - by_arccos(W - e, np.asarray(V))) / (2 * step) for e in units]
    np.testing.assert_allclose(gradient(W, V).ravel(), slopes, atol=1e-8)
    bends = np.stack([(gradient(W + e, V) - gradient(W - e, V)).ravel() / (2 * step) for e in units])
    np.testing.assert_allclose(hessian(W, V).reshape(W.size, W.size), bends, atol=1e-8)


def test_where_the_targets_have_been_learned_the_hessian_is_the_closed_form_and_continuous():
    """There it is E 1(v_i.x > 0) 1(v_j.x > 0) x x^T: I/2, and I/4 + (v_i v_j^T + v_j v_i^T)/(2 pi) for i != j."""
    expected = np.zeros((K, K, K, K))
    for i in range(K):
        for j in range(K):
            outer = np.outer(V[i], V[j])
            expected[i, :, j, :] = np.eye(K) / 2 if i == j else np.eye(K) / 4 + (outer + outer.T) / (2 * np.pi)
    np.testing.assert_allclose(gradient(V, V), 0, atol=1e-15)
    np.testing.assert_allclose(hessian(V, V), expected, atol=1e-14)
    for size in (1e-4, 1e-9, 1e-13, 1e-16):
        near = V + size * somewhere(2)[:K]
        np.testing.assert_allclose(hessian(near, V), expected, atol=10 * size + 1e-13)


@pytest.mark.parametrize("other", [[2.0, 0.0, 0.0], [-2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
def test_correlations_of_parallel_opposite_and_orthogonal_units_are_exact(other):
    expected = {2.0: 1.0, -2.0: 0.0, 0.0: 1 / (2 * np.pi)}[other[0]]
    np.testing.assert_allclose(correlation(V[0], jnp.asarray(other)), expected, atol=1e-16)


@pytest.mark.slow
def test_all_flows_of_three_units_learn_the_targets():
    found = share_of_spurious_minima(3, 16)
    assert found["verdicts"] == {"CONVERGED": 16}
    assert found["spurious"] == 0
    z = 1.959964  # the interval of Wilson for 0 of m ends at z^2/(m + z^2)
    np.testing.assert_allclose([found["low"], found["high"]], [0, z**2 / (16 + z**2)], atol=1e-6)
