"""Classification of critical points against computer algebra, across units, and at the exceptional points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import as_params, filter_problem, random_params, random_problem, truth, truth_problem
from scipy.optimize import minimize

import lcnn_flow as lf
from lcnn_flow.critical.common_roots import common_root_gap
from lcnn_flow.network.parameters import ravel, unravel
from lcnn_flow.symmetry.invariants import symmetry_directions

CASES = [case for case in truth("critical_points") if case["critical_points"]]
FAST = ("k22_s1_gen_d1", "k33_s1_iso_d3", "k222_s22_gen_d1", "l4_k22_s1_d6")
"""Two and three layers, with and without strides, both losses; the others are in the slow lane."""
IN_LANES = [pytest.param(c, id=c["name"], marks=() if c["name"] in FAST else pytest.mark.slow) for c in CASES]
MOST = max(len(case["critical_points"]) for case in CASES)
KINDS = {"min": "minimum", "saddle": "strict_saddle"}


def points_of(case: dict) -> list:
    """Critical points of a case, the first one over again up to the same number for all: fewer programs."""
    points = case["critical_points"]
    return points + points[:1] * (MOST - len(points))


def stacked(points: list) -> tuple:
    """All points of a case as one batch."""
    return tuple(jnp.stack(layer) for layer in zip(*(as_params(p["filters"]) for p in points), strict=True))


@pytest.mark.parametrize("case", IN_LANES)
def test_every_critical_point_is_what_computer_algebra_says(case):
    found = lf.classify(truth_problem(case["name"]), stacked(points_of(case)))
    depth = len(case["kernel_sizes"])
    for i, point in enumerate(points_of(case)):
        assert found.kind[i] == KINDS[point["kind"]]
        assert found.hessian_index[i] == point["hessian_index"]
        assert found.nullity[i] == 0
        assert found.jacobian_rank[i] == point["jacobian_rank"]
        across = sorted(sorted(point["hessian_eigenvalues"], key=abs)[depth - 1 :])
        np.testing.assert_allclose(found.hessian_eigenvalues[i][: len(across)], across, rtol=1e-9)
        assert np.isnan(found.hessian_eigenvalues[i][len(across) :]).all()
        np.testing.assert_allclose(found.risk[i], point["risk"], rtol=1e-12)
        if "unconstrained_optimum" in case:
            gap = point["risk"] - case["unconstrained_optimum"]
            np.testing.assert_allclose(found.optimality_gap[i], gap, rtol=1e-10, atol=1e-13)
        if set(case["strides"]) == {1}:
            surjective = point["jacobian_rank"] == case["end_to_end_kernel_size"]
            assert (found.common_root_gap[i] > 1e-3) == surjective


@pytest.mark.parametrize("case", IN_LANES)
def test_points_moved_by_a_thousandth_across_the_symmetries_are_not_critical(case):
    risk, points = truth_problem(case["name"]), points_of(case)
    rng, moved = np.random.default_rng(0), []
    for point in points:
        vector = ravel(as_params(point["filters"]))
        along = np.linalg.qr(np.asarray(symmetry_directions(risk.arch, vector)))[0]
        direction = rng.normal(size=vector.size)
        direction -= along @ (along.T @ direction)
        step = 1e-3 * np.linalg.norm(vector) * direction / np.linalg.norm(direction)
        moved.append(unravel(risk.arch, vector + jnp.asarray(step)))
    found = lf.classify(risk, jax.tree.map(lambda *w: jnp.stack(w), *moved))
    assert set(found.kind) == {"not_critical"}


@pytest.mark.parametrize("data", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("between", [1e-3, 1.0, 1e3])
def test_units_of_data_and_of_one_layer_against_another_change_nothing(data, between):
    case = next(case for case in CASES if case["name"] == "k33_s1_iso_d3")
    inputs, targets = np.asarray(case["inputs"], float), np.asarray(case["targets"], float)
    arch = lf.Architecture(5, (3, 3))
    risk = lf.EmpiricalRisk(arch, lf.losses.Square(), lf.Dataset(data * inputs, data * targets))
    first, second = stacked(points_of(case))
    found = lf.classify(risk, (between * first, second / between))
    assert list(found.kind) == [KINDS[p["kind"]] for p in points_of(case)]
    assert list(found.hessian_index) == [p["hessian_index"] for p in points_of(case)]
    assert list(found.jacobian_rank) == [p["jacobian_rank"] for p in points_of(case)]
    gaps = [data**2 * (p["risk"] - case["unconstrained_optimum"]) for p in points_of(case)]
    np.testing.assert_allclose(found.optimality_gap, gaps, rtol=1e-9, atol=1e-12 * data**2)


@pytest.mark.parametrize(("factor", "units"), [(1e-6, 1e6), (1e6, 1e-6)])
def test_units_of_all_filters_change_nothing(factor, units):
    case = next(case for case in CASES if case["name"] == "k33_s1_iso_d3")
    inputs, targets = np.asarray(case["inputs"], float), np.asarray(case["targets"], float)
    risk = lf.EmpiricalRisk(lf.Architecture(5, (3, 3)), lf.losses.Square(), lf.Dataset(units**2 * inputs, targets))
    found = lf.classify(risk, tuple(factor * w for w in stacked(points_of(case))))
    assert list(found.kind) == [KINDS[p["kind"]] for p in points_of(case)]
    assert list(found.hessian_index) == [p["hessian_index"] for p in points_of(case)]


def test_the_zero_point_is_a_strict_saddle_for_two_layers_and_degenerate_for_three():
    two, three = filter_problem((2, 2), (1, 3, 1)), filter_problem((2, 2, 2), (1, 3, 3, 1))
    at_zero = lf.classify(two, as_params([[0, 0], [0, 0]]))
    assert (at_zero.kind, at_zero.hessian_index) == ("strict_saddle", 2)  # H = [[0, B], [B^T, 0]], B = -[[1,3],[3,1]]
    assert at_zero.nullity == 0
    at_zero = lf.classify(three, as_params([[0, 0], [0, 0], [0, 0]]))
    assert (at_zero.kind, at_zero.hessian_index, at_zero.nullity) == ("degenerate", 0, 6)


def test_with_one_zero_filter_of_three_the_hessian_is_what_is_left():
    # v = 0 with w_1 = 0: grad_1 = -J^T y must vanish, so y is orthogonal to all w_1 * w_2 * w_3
    risk = filter_problem((2, 2, 2), (0, 0, 0, 1))
    point = as_params([[0, 0], [1, 0], [1, 0]])  # w_2 * w_3 = (1, 0, 0): reaches entries 0 and 1 only
    found = lf.classify(risk, point)
    hessian = np.asarray(jax.hessian(lambda x: risk(unravel(risk.arch, x)))(ravel(point)))
    values = np.linalg.eigvalsh(hessian)
    assert found.kind == ("strict_saddle" if (values < -1e-10).any() else "degenerate")
    assert found.hessian_index == (values < -1e-10).sum()


def test_rank_deficient_data_give_minima_with_nullity():
    risk = filter_problem((2, 2), (1, 1), rows=(0, 2))
    found = lf.classify(risk, as_params([[1.0, 2.0], [1.0, 0.5]]))
    assert (found.kind, found.hessian_index, found.nullity) == ("minimum", 0, 1)
    assert found.optimality_gap == pytest.approx(0, abs=1e-15)


def test_a_common_root_with_zero_residual_is_degenerate():
    found = lf.classify(filter_problem((2, 2), (1, 2, 1)), as_params([[1, 1], [1, 1]]))
    assert (found.kind, found.hessian_index, found.nullity, found.jacobian_rank) == ("degenerate", 0, 1, 2)
    assert found.common_root_gap < 1e-15


@pytest.mark.parametrize(
    ("first", "second", "strides", "shared"),
    [
        ([1, 3, 2], [1, 1], (1, 1), True),  # (1 + z)(1 + 2z) and 1 + z
        ([0, 1, 5], [0, 2], (1, 1), True),  # both have the root 0
        ([1, 5, 0], [2, 0], (1, 1), True),  # both have the root infinity
        ([0, 1, 5], [2, 0], (1, 1), False),
        ([1, 3, 2], [1, -1], (2, 1), True),  # w_2(z^2) = 1 - z^2 has the root -1 of w_1
        ([1, 3, 2], [1, 1], (2, 1), False),
    ],
)
def test_common_roots_are_found_at_zero_infinity_and_across_strides(first, second, strides, shared):
    arch = (
        lf.Architecture(64, (3, 2), strides=(*strides[:1], 1))
        if strides == (1, 1)
        else lf.Architecture(7, (3, 2), (2, 1))
    )
    gap = common_root_gap(arch, ravel(as_params([first, second])))
    assert gap < 1e-15 if shared else gap > 0.05


@pytest.mark.parametrize(
    "loss",
    [
        lf.losses.Lp(4.0),
        pytest.param(lf.losses.PseudoHuber(0.3), marks=pytest.mark.slow),
        pytest.param(lf.losses.GeneralizedHuber(3.0, 1.0), marks=pytest.mark.slow),
        lf.losses.LogCosh(2.0),
    ],
    ids=lambda loss: loss.name,
)
def test_the_optimum_over_all_filters_is_that_of_a_general_minimiser(loss):
    arch = lf.Architecture(6, (2, 2))
    risk, params = random_problem(arch, loss, samples=20, weighted=True), random_params(3, arch)
    gap = lf.classify(risk, params).optimality_gap
    form = risk.filter_risk
    best = minimize(
        lambda v: float(form.value(jnp.asarray(v)[None])),
        np.zeros(3),
        jac=lambda v: np.asarray(form.gradient(jnp.asarray(v)[None]))[0],
        tol=1e-14,
    )
    np.testing.assert_allclose(gap, float(risk(params)) - best.fun, rtol=1e-9)


def test_without_convexity_no_gap_is_given():
    arch = lf.Architecture(6, (2, 2))
    risk = random_problem(arch, lf.losses.GeneralizedHuber(3.0, -1.0), samples=20, weighted=True)
    assert np.isnan(lf.classify(risk, random_params(3, arch)).optimality_gap)


def test_leading_axes_of_a_batch_are_kept_and_agree_with_single_points():
    case = next(case for case in CASES if case["name"] == "k22_s1_gen_d1")
    risk, batch = truth_problem(case["name"]), stacked(points_of(case))
    found = lf.classify(risk, tuple(w.reshape(3, 4, 2) for w in batch))
    assert found.kind.shape == found.hessian_index.shape == (3, 4)
    single = lf.classify(risk, tuple(w[3] for w in batch))
    assert single.kind == found.kind[0, 3]
    assert single.hessian_eigenvalues.shape == (3,)
    np.testing.assert_allclose(single.risk, found.risk[0, 3], rtol=1e-14)
    broken = lf.classify(risk, tuple(w.at[1].set(bad) for w, bad in zip(batch, (jnp.nan, jnp.inf), strict=True)))
    assert list(broken.kind) == [found.kind[0, 0], "not_critical", *found.kind.ravel()[2:]]
    with pytest.raises(lf.ArchitectureError, match="no point"):
        lf.classify(risk, tuple(w[:0] for w in batch))
    with pytest.raises(lf.ArchitectureError, match="needs"):
        lf.classify(risk, (batch[0], batch[1][0]))


def test_channels_have_more_symmetries_and_the_same_kinds():
    arch = lf.Architecture(6, (2, 2), channels=(1, 2, 1))
    risk = random_problem(arch, lf.losses.Square(), samples=20)
    windows = np.asarray(lf.patches(arch, risk.data.inputs)).reshape(-1, 3)
    v = np.linalg.lstsq(windows, np.asarray(risk.data.targets).ravel())[0]
    # v = (1, 0) * (v_0, v_1) + (0, 1) * (0, v_2): the least-squares filter as a sum over the two inner channels
    fits = as_params([[[[1, 0]], [[0, 1]]], [[[v[0], v[1]], [0, v[2]]]]])
    found = lf.classify(risk, fits)
    assert (found.kind, found.hessian_index) == ("minimum", 0)
    assert found.jacobian_rank == 3
    assert found.optimality_gap == pytest.approx(0, abs=1e-14)
    assert np.isnan(found.common_root_gap)


def test_orbits_gather_rescaled_points_and_tell_exchanged_filters_apart():
    case = next(case for case in CASES if case["name"] == "k22_s1_gen_d1")
    first, second = stacked(case["critical_points"])
    copies = [(a * first, second / a) for a in (1.0, -0.3, 7.0)]
    batch = tuple(jnp.concatenate([c[layer] for c in copies] + [jnp.full((1, 2), jnp.nan)]) for layer in (0, 1))
    batch = tuple(jnp.concatenate([w, w[:1]]) for w in batch)
    found = lf.critical.orbits(truth_problem(case["name"]).arch, batch)
    assert list(found.counts) == [4, 3, 3, 3]
    assert list(found.labels) == [0, 1, 2, 3] * 3 + [-1, 0]
    assert list(found.representatives) == [0, 1, 2, 3]
