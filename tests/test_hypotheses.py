"""Data conditions of the theory against closed forms: rank-one filters, discriminants, and the ladder itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import random_data, random_problem

import lcnn_flow as lf
from lcnn_flow.theory import hypotheses
from lcnn_flow.theory._attainable import attainable_minimum

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
    assert result.full_rank_inputs <= result.full_rank_patches <= result.injective_on_attainable
    assert result.patches_smallest <= result.attainable_smallest <= result.patches_largest
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
    text = str(hypotheses(problem(PAIR, complement((1, 0, 1)), lf.losses.Lp(1.5))))
    assert "(A) inputs X X^T of full rank: no" in text
    assert "(B) patch matrix P of full column rank: no (singular values 0 to 1)" in text
    assert "(C) no attainable filter but 0 in ker P: yes" in text
    assert "0.707" in text
    assert "none was found in the kernel from 64 random starts" in text
    assert "Lp(p=1.5)" in text
    assert "uniqueness" in text
    assert "hold" in text.splitlines()[-1]
    assert "zero to rounding" in str(hypotheses(problem(PAIR, complement((0, 1, 0)))))
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
