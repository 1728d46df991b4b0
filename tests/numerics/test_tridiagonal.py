"""Smallest eigenvalues of many symmetric matrices side by side, against LAPACK's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lcnn_flow.numerics.tridiagonal import smallest_eigenvalue

SMALLEST = jax.jit(smallest_eigenvalue)
LANES = 8


def _symmetric(n: int, seed: int) -> np.ndarray:
    """Matrices (n, n, LANES) of many kinds: random, of low rank, diagonal, zero, all entries equal, nearly diagonal."""
    rng = np.random.default_rng(seed)
    many = rng.normal(size=(n, n, LANES))
    many = many + many.transpose(1, 0, 2)
    thin = rng.normal(size=(n, max(1, n // 2)))
    many[..., 1] = thin @ thin.T
    many[..., 2] = np.diag(rng.normal(size=n))
    many[..., 3] = 0.0
    many[..., 4] = 1.0
    many[..., 5] = np.diag(np.arange(1.0, n + 1)) + 1e-9 * many[..., 5]
    return many


@pytest.mark.parametrize("n", [1, 2, 3, 9, 17, 30])
@pytest.mark.parametrize("scale", [1.0, 1e-60, 1e60])
def test_they_are_those_of_lapack_to_rounding_of_the_entries(n, scale):
    matrices = scale * _symmetric(n, seed=n)
    spectra = np.linalg.eigvalsh(np.moveaxis(matrices, -1, 0))
    found = np.asarray(SMALLEST(jnp.asarray(matrices)))
    np.testing.assert_array_less(np.abs(found - spectra[:, 0]), 1e-14 * n * np.abs(spectra).max(axis=1) + 1e-300)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(-2.0, 2.0))
def test_a_shift_of_the_matrix_shifts_them(seed, shift):
    matrices = _symmetric(5, seed)
    shifted = matrices + shift * np.eye(5)[..., None]
    size = np.linalg.norm(matrices, axis=(0, 1)) + abs(shift)
    change = np.asarray(SMALLEST(jnp.asarray(shifted))) - np.asarray(SMALLEST(jnp.asarray(matrices)))
    np.testing.assert_array_less(np.abs(change - shift), 1e-13 * size + 1e-15)


def test_a_lane_depends_on_no_other():
    matrices = _symmetric(6, seed=3)
    alone = np.repeat(matrices[..., :1], LANES, axis=-1)
    assert SMALLEST(jnp.asarray(matrices))[0] == SMALLEST(jnp.asarray(alone))[5]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("place", [(0, 0), (2, 1), (3, 3)])
def test_an_entry_that_is_not_finite_gives_nan_in_its_lane_only(bad, place):
    matrices = _symmetric(4, seed=1)
    clean = np.asarray(SMALLEST(jnp.asarray(matrices)))
    matrices[(*place, 6)] = matrices[(*place[::-1], 6)] = bad
    found = np.asarray(SMALLEST(jnp.asarray(matrices)))
    assert np.isnan(found[6])
    np.testing.assert_array_equal(np.delete(found, 6), np.delete(clean, 6))
