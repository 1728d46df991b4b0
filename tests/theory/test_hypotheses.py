"""Data conditions of the theory against closed forms: rank-one filters, discriminants, and the ladder itself."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import random_data, random_problem

import lcnn_flow as lf
from lcnn_flow.theory import hypotheses
from lcnn_flow.theory.attainable import attainable_minimum
from lcnn_flow.theory.exclusion import excluded_angle

SQUARE = lf.losses.Square()
PAIR = lf.Architecture(3, (2, 2))  # attainable: v_1^2 >= 4 v_0 v_2
STRIDED = lf.Architecture(4, (2, 2), (2, 1))  # attainable: (v_0, v_1; v_2, v_3) of rank at most one
IMAGE = lf.Architecture((2, 2), ((1, 2), (2, 1)))  # the same, in two dimensions


def complement(*vectors) -> np.ndarray:
    """Orthonormal rows whose kernel is spanned by `vectors`."""
    return np.linalg.svd(np.array(vectors, float))[2][len(vectors) :]


def problem(arch: lf.Architecture, rows, loss=SQUARE) -> lf.EmpiricalRisk:
    """The risk whose patch matrix has the given rows (one window a sample), with targets one."""
    rows = np.asarray(rows)
    data = lf.Dataset(rows.reshape(-1, *arch.sample_shape), np.ones((len(rows), *arch.output_shape)))
    return lf.EmpiricalRisk(arch, loss, data)


@pytest.mark.parametrize(
    ("arch", "kernel", "smallest"),
    [
        (PAIR, (1, 0, 1), 0.5**0.5),  # max of (v.u)^2 over unit v with v_1^2 >= 4 v_0 v_2 is 1/2, at (1, 0, 0)
        (PAIR, (0, 1, 0), 0.0),
        (PAIR, (1, 2, 1), 0.0),  # on the discriminant: ker P touches the attainable filters, it does not cross them
        (STRIDED, (1, 0, 0, 1), 0.5**0.5),
        (STRIDED, (3, 0, 0, 4), 0.6),  # max of v.u over unit v of rank one is the larger singular value of u
        (STRIDED, (1, 0, 0, 0), 0.0),
        (IMAGE, (3, 0, 0, 4), 0.6),
        (IMAGE, (1, 2, 2, 4), 0.0),
    ],
)
def test_smallest_attainable_value_agrees_with_closed_forms(arch, kernel, smallest):
    result = hypotheses(problem(arch, complement(kernel)))
    assert not result.full_rank_patches
    assert result.injective_on_attainable == (smallest > 0)
    np.testing.assert_allclose(result.attainable_smallest, smallest, rtol=1e-9, atol=1e-7)


def images(*filters) -> np.ndarray:
    """The full convolution of 2-D filters, by multiplying polynomials with x -> z, y -> z^32."""
    flat = [np.zeros(32 * len(f)) for f in filters]
    for one, f in zip(flat, filters, strict=True):
        one.reshape(-1, 32)[:, : f.shape[1]] = f
    v = flat[0]
    for one in flat[1:]:
        v = np.convolve(v, one)
    height, width = (1 + sum(f.shape[axis] - 1 for f in filters) for axis in (0, 1))
    return np.pad(v, (0, 32))[: 32 * height].reshape(height, 32)[:, :width]


def spread(w, strides) -> np.ndarray:
    """Taps of w with stride - 1 zeros between them along every axis."""
    v = np.zeros([(k - 1) * s + 1 for k, s in zip(w.shape, strides, strict=True)])
    v[tuple(slice(None, None, s) for s in strides)] = w
    return v


def attainable(arch: lf.Architecture, rng) -> np.ndarray:
    """A random attainable filter of norm 1, by numpy's convolution."""
    filters = [
        spread(rng.normal(size=shape), strides)
        for shape, strides in zip(arch.layer_shapes, arch.cumulative_strides, strict=True)
    ]
    v = images(*filters).ravel() if arch.dimension == 2 else functools.reduce(np.convolve, filters)
    return v / np.linalg.norm(v)


def planted(arch: lf.Architecture, rng, dimension: int, scale: float) -> lf.EmpiricalRisk:
    """Rows from 1 down to `scale` that an attainable filter is orthogonal to, with a kernel of the given dimension."""
    v = attainable(arch, rng)
    rows = rng.normal(size=(len(v) - dimension, len(v))) * np.geomspace(1, scale, len(v) - dimension)[:, None]
    return problem(arch, rows - np.outer(rows @ v, v))


@pytest.mark.slow
def test_a_filter_in_the_kernel_is_found_though_rows_are_badly_scaled():
    for seed in range(24):
        result = hypotheses(planted(lf.Architecture(9, (5, 5)), np.random.default_rng(seed), 1, 1e-3))
        assert result.injective_on_attainable is False
        assert result.holds is False
        assert result.attainable_at_least == 0


@pytest.mark.parametrize("dimension", [1, pytest.param(2, marks=pytest.mark.slow), 3])
@pytest.mark.parametrize(
    "arch",
    [
        lf.Architecture(7, (3, 3, 3)),
        lf.Architecture(6, (2, 2, 2, 2, 2)),
        lf.Architecture(7, (5, 3)),
        lf.Architecture(9, (5, 3), (2, 1)),
        lf.Architecture(8, (2, 2, 2), (2, 2, 1)),
        lf.Architecture(10, (2, 2, 2, 2), (2, 1, 2, 1)),
        lf.Architecture((3, 3), (2, 2)),
        lf.Architecture((5, 4), ((3, 2), (2, 3)), ((2, 1), (1, 1))),
        lf.Architecture((4, 4), (2, 2, 2)),
    ],
    ids=lambda arch: f"{arch.kernel_sizes}/{arch.strides}".replace(",)", ")"),
)
def test_filters_in_kernels_of_several_dimensions_are_found_in_every_kind_of_network(arch, dimension):
    for seed, scale in enumerate((1.0, 1e-4, 1e-8)):
        result = hypotheses(planted(arch, np.random.default_rng(seed), dimension, scale))
        assert result.injective_on_attainable is False


@pytest.mark.slow
@settings(deadline=None, max_examples=12)
@given(st.integers(0, 10**6), st.sampled_from([(2, 2), (2, 2, 2), (4, 2), (2, 2, 2, 2), (4, 3, 2), (2,) * 5, (5, 3)]))
def test_one_polynomial_at_stride_one_is_attainable_where_it_has_as_many_real_roots_as_even_layers(seed, sizes):
    size = sum(sizes) - len(sizes) + 1
    kernel = np.random.default_rng(seed).normal(size=size)
    roots = np.roots(kernel)
    if np.min(abs(roots.imag) + (roots.imag == 0)) < 1e-3:
        return  # near a double root
    enough = np.sum(roots.imag == 0) >= sum(k % 2 == 0 for k in sizes)
    result = hypotheses(problem(lf.Architecture(size, sizes), complement(kernel)))
    assert result.injective_on_attainable is not bool(enough)
    assert result.injective_on_attainable is not None


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from([STRIDED, IMAGE]))
def test_a_pencil_of_matrices_meets_rank_one_where_its_determinant_is_indefinite(seed, arch):
    a, b = np.random.default_rng(seed).normal(size=(2, 2, 2))
    # det(x a + y b) = det(a) x^2 + 2 m x y + det(b) y^2
    mixed = (np.linalg.det(a + b) - np.linalg.det(a - b)) / 4
    discriminant = mixed**2 - np.linalg.det(a) * np.linalg.det(b)
    result = hypotheses(problem(arch, complement(a.ravel(), b.ravel())))
    if discriminant > 0:
        assert result.injective_on_attainable is False
    elif discriminant < -0.1:
        assert result.injective_on_attainable is True


@pytest.mark.slow
def test_what_is_proved_lies_below_the_distances_of_matrices_from_rank_one():
    rng = np.random.default_rng(5)
    for _ in range(8):
        matrix = rng.normal(size=(2, 2))
        matrix /= np.linalg.norm(matrix)
        second = np.linalg.svd(matrix, compute_uv=False)[1]  # = min |P v|/|v|, the sine of an angle
        for arch in (STRIDED, IMAGE):
            result = hypotheses(problem(arch, complement(matrix.ravel())))
            assert second / 10 < result.attainable_at_least <= second * (1 + 1e-9)
            np.testing.assert_allclose(result.attainable_smallest, second, rtol=1e-9)


@pytest.mark.parametrize("dimension", [1, 2])
def test_proved_bounds_lie_below_the_values_of_attainable_filters_near_the_kernel(dimension):
    rng = np.random.default_rng(dimension)
    archs = [lf.Architecture(5, (2,) * 4), lf.Architecture(7, (3, 3), (2, 1)), lf.Architecture((3, 3), (2, 2))]
    proved = 0
    for arch in 5 * archs:
        kernel = np.linalg.qr(rng.normal(size=(int(np.prod(arch.input_shape)), dimension)))[0]
        bound = excluded_angle(arch, kernel, needed=1e-6)
        rows = complement(*kernel.T)
        assert bound <= attainable_minimum(arch, rows)
        proved += bound > 0
    assert proved >= 5


@pytest.mark.parametrize("gap", [1e-13, 1e-14, 1e-15, 0.0])
def test_a_kernel_within_rounding_of_an_attainable_filter_is_never_said_to_miss_them(gap):
    result = hypotheses(problem(PAIR, complement((1, 2 - gap, 1))))
    assert not result.injective_on_attainable
    assert result.attainable_at_least == 0


def test_a_kernel_at_more_than_rounding_from_the_attainable_filters_is_proved_to_miss_them():
    for gap in (1e-3, 1e-6, 1e-9):
        result = hypotheses(problem(PAIR, complement((1, 2 - gap, 1))))
        assert result.injective_on_attainable is True
        assert 0 < result.attainable_at_least <= result.attainable_smallest < gap


def test_badly_scaled_rows_that_miss_the_attainable_filters_are_not_said_to_meet_them():
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rows = np.geomspace(1, 1e-6, 3)[:, None] * (turn @ complement((3, 0, 0, 4)))
    assert hypotheses(problem(STRIDED, rows)).injective_on_attainable is True


def test_the_example_whose_filters_diverge_violates_the_weakest_condition():
    arch = lf.Architecture(4, (2, 2), (2, 1))
    data = lf.Dataset(np.eye(4)[1:], np.array([[1.0], [1.0], [0.0]]))
    result = hypotheses(lf.EmpiricalRisk(arch, SQUARE, data))
    assert (result.full_rank_inputs, result.full_rank_patches, result.injective_on_attainable) == (False,) * 3
    assert result.holds is False
    assert result.attainable_smallest <= 1e-12


def test_every_condition_of_the_ladder_can_hold_without_the_one_above():
    rng = np.random.default_rng(0)
    arch = lf.Architecture(8, (2, 2))

    def ladder(inputs):
        data = lf.Dataset(inputs, np.zeros((len(inputs), *arch.output_shape)))
        result = hypotheses(lf.EmpiricalRisk(arch, SQUARE, data))
        return result.full_rank_inputs, result.full_rank_patches, result.injective_on_attainable

    assert ladder(rng.normal(size=(9, 8))) == (True, True, True)
    assert ladder(rng.normal(size=(7, 8))) == (False, True, True)
    wave = np.cos(np.pi / 2 * np.arange(8))  # its windows span the complement of (1, 0, 1)
    assert ladder(wave[None]) == (False, False, True)
    assert ladder(np.ones((1, 8))) == (False, False, False)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([2, 6]), st.sampled_from([PAIR, STRIDED]))
def test_conditions_imply_each_other_and_the_minimum_is_below_every_attainable_filter(seed, rows, arch):
    rng = np.random.default_rng(seed)
    patches = rng.normal(size=(rows, int(np.prod(arch.input_shape))))
    result = hypotheses(problem(arch, patches))
    assert result.full_rank_inputs <= result.full_rank_patches
    assert result.injective_on_attainable or not result.full_rank_patches
    assert result.patches_smallest <= result.attainable_smallest <= result.patches_largest
    assert result.attainable_at_least <= result.attainable_smallest
    for _ in range(20):
        filters = tuple(rng.normal(size=shape) for shape in arch.layer_shapes)
        v = np.ravel(lf.end_to_end_filter(arch, filters))
        assert result.attainable_smallest <= np.linalg.norm(patches @ v) / np.linalg.norm(v) * (1 + 1e-12)


def test_minimum_over_two_angles_agrees_with_a_grid():
    rows = np.random.default_rng(3).normal(size=(2, 3))
    a, b = np.meshgrid(*2 * [np.linspace(0, np.pi, 2001)])
    v = np.stack([np.cos(a) * np.cos(b), np.sin(a + b), np.sin(a) * np.sin(b)])  # the full convolution
    grid = np.min(np.linalg.norm(np.tensordot(rows, v, 1), axis=0) / np.linalg.norm(v, axis=0))
    np.testing.assert_allclose(attainable_minimum(PAIR, rows), grid, atol=3e-3)
    assert attainable_minimum(PAIR, rows) <= grid


@pytest.mark.parametrize("arch", [lf.Architecture(6, (2, 5)), lf.Architecture(4, (4,))])
def test_architectures_that_fill_all_filters_attain_the_smallest_singular_value(arch):
    result = hypotheses(random_problem(arch, SQUARE))
    np.testing.assert_allclose(result.attainable_smallest, result.patches_smallest, rtol=1e-10)


def test_samples_of_weight_zero_do_not_count():
    arch = lf.Architecture(5, (2, 2))
    data = random_data(arch, samples=5)
    weights = np.array([1.0, 0.0, 2.0, 0.0, 0.5])
    weighted = hypotheses(lf.EmpiricalRisk(arch, SQUARE, data.replace(weights=weights)))
    kept = lf.Dataset(data.inputs[weights > 0], data.targets[weights > 0])
    assert weighted == hypotheses(lf.EmpiricalRisk(arch, SQUARE, kept))
    assert weighted.full_rank_inputs is False
    assert hypotheses(lf.EmpiricalRisk(arch, SQUARE, data)).full_rank_inputs


def test_rank_is_read_off_in_the_precision_of_the_data():
    rows = np.random.default_rng(0).normal(size=(6, 2)) @ np.random.default_rng(1).normal(size=(2, 3))
    single = lf.Architecture(3, (3,))
    assert not hypotheses(problem(single, rows)).full_rank_patches
    assert not hypotheses(problem(single, rows.astype(np.float32))).full_rank_patches
    assert hypotheses(problem(single, rows.astype(np.float32).astype(float))).full_rank_patches


def test_zero_inputs_satisfy_nothing():
    result = hypotheses(problem(PAIR, np.zeros((4, 3))))
    assert result.attainable_smallest == 0
    assert result.injective_on_attainable is False


def test_with_channels_only_full_column_rank_decides_and_convergence_stays_open():
    arch = lf.Architecture(6, (2, 2), channels=(2, 3, 1))
    full, few = (random_problem(arch, SQUARE, samples=m) for m in (20, 1))
    result = hypotheses(full)
    assert result.full_rank_inputs  # X has c_0 d_0 = 12 rows
    assert (result.injective_on_attainable, result.holds, result.attainable_smallest) == (True, None, None)
    result = hypotheses(few)
    assert (result.full_rank_patches, result.injective_on_attainable) == (False, None)
    assert "with channels only (B) decides" in str(result)


@pytest.mark.parametrize(
    ("loss", "holds"),
    [
        (SQUARE, True),
        (lf.losses.Lp(3.0), True),
        (lf.losses.Lp(1.5), True),
        (lf.losses.PseudoHuber(), True),
        (lf.losses.GeneralizedHuber(1.0, -1.0), True),
        (lf.losses.LogCosh(), True),
        (lf.losses.Custom(jnp.square), None),
        (lf.losses.Custom(lambda r: r**2 / (1 + r**2), lf.losses.LossTheory(True, False, False)), False),
    ],
    ids=lambda x: getattr(x, "name", None),
)
def test_conclusion_needs_a_coercive_and_definable_loss(loss, holds):
    result = hypotheses(problem(PAIR, np.eye(3), loss))
    assert result.injective_on_attainable
    assert result.holds is holds
    assert result.loss == loss.theory


def test_summary_says_what_was_found_and_how():
    text = str(hypotheses(problem(STRIDED, complement((3, 0, 0, 4)), lf.losses.Lp(1.5))))
    assert "(A) inputs X X^T of full rank: no" in text
    assert "(B) patch matrix P of full column rank: no (singular values 0 to 1)" in text
    assert "(C) no attainable filter but 0 in ker P: yes" in text
    assert "smallest |P v|/|v| found 0.6; proved to be at least 0.6)" in text
    assert "Lp(p=1.5)" in text
    assert "uniqueness" in text
    assert "hold" in text.splitlines()[-1]
    assert "zero to rounding" in str(hypotheses(problem(PAIR, complement((0, 1, 0)))))
    several = np.random.default_rng(4).normal(size=(5, 17))
    undecided = str(hypotheses(problem(lf.Architecture(17, (5, 4), (4, 1)), complement(*several))))
    assert "(C) no attainable filter but 0 in ker P: not decided" in undecided
    assert "a zero was not found from 384 starts, not excluded" in undecided
    assert "not decided" in undecided.splitlines()[-1]
    custom = str(hypotheses(problem(PAIR, np.eye(3), lf.losses.Custom(jnp.square))))
    assert "Custom(fn=" in custom
    assert "not decided" in custom.splitlines()[-1]


def test_every_form_of_the_risk_gives_the_same_answer_and_a_batch_is_refused():
    arch = lf.Architecture(7, (2, 2))
    data = random_data(arch)
    forms = [hypotheses(lf.EmpiricalRisk(arch, SQUARE, data, form)) for form in ("reduced", "patches", "layers")]
    assert forms[0] == forms[1] == forms[2]
    several = jax.vmap(lambda y: lf.EmpiricalRisk(arch, SQUARE, lf.Dataset(data.inputs, y)))(np.zeros((2, 12, 5)))
    with pytest.raises(lf.RiskError, match="condition"):
        hypotheses(several)


def test_the_patches_of_a_dense_linear_network_are_its_inputs():
    inputs = np.random.default_rng(3).normal(size=(7, 4))
    risk = lf.EmpiricalRisk(lf.Dense((4, 3, 2)), lf.losses.Square(), lf.Dataset(jnp.asarray(inputs), jnp.zeros((7, 2))))
    found, values = hypotheses(risk), np.linalg.svd(inputs, compute_uv=False)
    for smallest, largest in (
        (found.inputs_smallest, found.inputs_largest),
        (found.patches_smallest, found.patches_largest),
    ):
        np.testing.assert_allclose([smallest, largest], [values[-1], values[0]], rtol=1e-12)
    assert found.full_rank_patches
