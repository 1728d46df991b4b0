"""Conserved quantities and symmetry directions: identities that hold for every risk."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import random_params, random_problem

import lcnn_flow as lf
from lcnn_flow.network.parameters import ravel, unravel
from lcnn_flow.symmetry.invariants import symmetry_basis, symmetry_directions, symmetry_of

ARCHITECTURES = {
    "1-D": lf.Architecture(10, (3, 2, 3)),
    "strided": lf.Architecture(16, (3, 2, 4), (1, 3, 1)),
    "2-D": lf.Architecture((8, 6), ((3, 2), 2), ((1, 1), (2, 1))),
    "channels": lf.Architecture(9, (3, 2, 2), channels=(2, 3, 2, 1)),
    "2-D channels": lf.Architecture((5, 6), (2, (3, 2)), channels=(1, 2, 2)),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_conserved_quantities_are_orthogonal_to_every_gradient(name):
    arch = ARCHITECTURES[name]
    risk = random_problem(arch, lf.losses.PseudoHuber(0.8), weighted=True)
    vector = ravel(random_params(5, arch))

    @jax.jit
    def evaluate(risk, x):
        slopes = jax.jacfwd(lambda z: symmetry_of(arch).conserved(z))(x)
        return slopes, slopes @ risk.gradient(x), risk.layer_scales(x).max()

    slopes, change, scale = evaluate(risk, vector)
    assert np.abs(change).max() <= 1e-13 * scale * np.linalg.norm(vector)
    assert np.abs(slopes).max() > 0.1


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_end_to_end_filter_is_constant_along_the_symmetry_directions(name):
    arch = ARCHITECTURES[name]
    vector = ravel(random_params(6, arch))
    jacobian = jax.jit(jax.jacfwd(lambda x: lf.end_to_end_filter(arch, unravel(arch, x)).ravel()))(vector)
    directions = symmetry_directions(arch, vector)
    assert np.abs(jacobian @ directions).max() < 1e-13
    assert directions.shape[1] == (arch.depth - 1 if arch.channels is None else sum(c**2 for c in arch.channels[1:-1]))


@pytest.mark.parametrize("name", ["1-D", "channels"])
def test_symmetry_basis_is_orthonormal_and_spans_the_directions(name):
    arch = ARCHITECTURES[name]
    vector = ravel(random_params(6, arch))
    sizes = jnp.linspace(0.5, 2.0, vector.size)
    basis, counts = symmetry_basis(symmetry_of(arch), vector, sizes)
    chosen = np.asarray(basis)[:, np.asarray(counts) > 0]
    np.testing.assert_allclose(chosen.T @ chosen, np.eye(chosen.shape[1]), atol=1e-14)
    directions = np.asarray(symmetry_directions(arch, vector) / sizes[:, None])
    np.testing.assert_allclose(chosen @ (chosen.T @ directions), directions, atol=1e-12)


@settings(deadline=None, max_examples=20, derandomize=True)
@given(st.lists(st.floats(-3, 3), min_size=7, max_size=7))
def test_balancedness_is_half_the_difference_of_squared_norms(numbers):
    arch = lf.Architecture(8, (3, 2, 2))
    w = [np.array(numbers[:3]), np.array(numbers[3:5]), np.array(numbers[5:])]
    squares = [np.sum(x**2) for x in w]
    expected = [(squares[0] - squares[1]) / 2, (squares[1] - squares[2]) / 2]
    np.testing.assert_allclose(lf.theory.balancedness(arch, tuple(map(jnp.asarray, w))), expected, atol=1e-12)


def test_one_channel_between_layers_gives_minus_twice_the_balancedness():
    arch, single = lf.Architecture(8, (3, 2), channels=(1, 1, 1)), lf.Architecture(8, (3, 2))
    params = random_params(0, arch)
    (matrix,) = lf.theory.balancedness(arch, params)
    h = lf.theory.balancedness(single, tuple(w[0, 0] for w in params))
    np.testing.assert_allclose(matrix, -2 * h[None], rtol=1e-13)


def test_channel_matrices_are_sums_over_taps():
    arch = ARCHITECTURES["2-D channels"]
    below, above = (np.asarray(w) for w in random_params(3, arch))
    expected = np.einsum("oiab,ojab->ij", above, above) - np.einsum("iaxy,jaxy->ij", below, below)
    (matrix,) = lf.theory.balancedness(arch, random_params(3, arch))
    np.testing.assert_allclose(matrix, expected, rtol=1e-13)


@pytest.mark.optimised
def test_filters_that_enter_alike_and_start_equal_are_kept_equal_bit_for_bit():
    arch = lf.Architecture(12, (3, 3, 2, 3))
    w = jnp.array([0.3, -0.7, 0.2])
    vector = ravel((w, -w, jnp.array([1.0, 2.0]), w))
    equal = symmetry_of(arch).equal(vector)
    np.testing.assert_array_equal(equal, [[1, -1, 0, 1], [-1, 1, 0, -1], [0, 0, 1, 0], [1, -1, 0, 1]])
    kept = unravel(arch, symmetry_of(arch).keep(vector + 1e-15 * jnp.arange(11.0), equal))
    np.testing.assert_array_equal(kept[0], kept[3])
    np.testing.assert_array_equal(kept[0], -kept[1])
    np.testing.assert_allclose(kept[0], w, atol=1e-13)


@pytest.mark.optimised
def test_keeping_equal_changes_no_bit_of_other_filters():
    arch = lf.Architecture(12, (3, 3, 2, 3))
    vector = ravel(random_params(0, arch))
    np.testing.assert_array_equal(symmetry_of(arch).keep(vector, symmetry_of(arch).equal(vector)), vector)


def test_layers_with_different_spacing_are_not_exchangeable():
    arch = lf.Architecture(10, (2, 2), (2, 1))
    w = jnp.array([0.3, -0.7])
    np.testing.assert_array_equal(symmetry_of(arch).equal(ravel((w, w))), np.eye(2))
