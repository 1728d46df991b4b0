"""Curvature at all critical points of the reference problems, and Newton's method on the leaf."""

import jax.numpy as jnp
import numpy as np
import pytest
from problems import as_params, filter_problem, truth, truth_problem

import lcnn_flow as lf
from lcnn_flow.limits.curvature import curvature
from lcnn_flow.limits.growth import growth_rate
from lcnn_flow.limits.newton import polish
from lcnn_flow.limits.polyak_lojasiewicz import local_pl
from lcnn_flow.network.parameters import ravel

CASES = [case for case in truth("critical_points") if case["critical_points"]]


def test_newton_on_the_leaf_returns_to_a_critical_point_with_the_given_balance():
    case = next(case for case in CASES if case["name"] == "k22_s1_gen_d1")
    risk = truth_problem(case["name"])
    for point in case["critical_points"]:
        w = as_params(point["filters"])
        exact = ravel((1.7 * w[0], w[1] / 1.7))
        start = exact + 1e-4 * jnp.array([1.0, -0.3, 0.2, 0.7])
        result = polish(risk, start, risk.symmetry.leaf_levels(exact))
        assert bool(result.converged)
        assert bool(result.nonsingular)
        np.testing.assert_allclose(result.vector, exact, rtol=0, atol=1e-13)


def test_newton_does_not_converge_at_a_degenerate_point():
    risk = filter_problem((2, 2), (1, 2, 1))
    near = jnp.array([1.0, 1.01, 1.0, 0.99])
    assert not polish(risk, near, risk.symmetry.leaf_levels(near)).converged


def test_local_pl_test_needs_every_seen_direction_to_move():
    seen = filter_problem((2, 2), (1, 1), rows=(0, 2))
    generic = jnp.array([1.0, 2.6, 1.0, 0.4])
    assert local_pl(seen, generic)[0]  # two rows seen, J of rank 3
    whole = filter_problem((2, 2), (1, 2, 1))
    double_root = jnp.array([1.0, 1.0, 1.0, 1.0])  # J of rank 2, three rows seen
    assert not local_pl(whole, double_root)[0]
    assert local_pl(whole, generic)[0]


def test_local_pl_test_is_not_fooled_by_residuals_without_curvature():
    # l_4, one layer: the first weight meets a residual of exactly 0, where rho'' = 0 and convergence is algebraic
    inputs, targets = np.array([[1.0, 0], [0, 1], [0, 1]]), np.array([[0.5], [-1], [1]])
    risk = lf.EmpiricalRisk(lf.Architecture(2, (2,)), lf.losses.Lp(4.0), lf.Dataset(inputs, targets))
    assert not local_pl(risk, jnp.array([0.5, 0.0]))[0]
    seen = lf.EmpiricalRisk(lf.Architecture(2, (2,)), lf.losses.Lp(4.0), lf.Dataset(inputs[1:], targets[1:]))
    assert local_pl(seen, jnp.array([0.5, 0.0]))[0]


def test_a_filter_that_vanishes_to_rounding_at_the_minimum_is_zero_in_the_limit():
    # every input has both labels, so that v = 0 is the minimum; w_2 keeps its place on {w_1 = 0}
    blur = 1e-22  # of the gradient, whose terms cancel: too much for the directions in which w_2 moves v
    inputs = np.random.default_rng(0).normal(size=(4, 4))
    data = lf.Dataset(np.concatenate([inputs, inputs]), np.repeat([1.0, -1.0], 4)[:, None] * np.ones((8, 2)))
    risk = lf.EmpiricalRisk(lf.Architecture(4, (2, 2)), lf.losses.Logistic(), data)
    passes, limit = local_pl(risk, jnp.array([1e-11, -3e-12, 2e-6, -1.4e-5]), blur=blur)
    assert passes
    np.testing.assert_array_equal(limit, [0, 0, 2e-6, -1.4e-5])


def test_growth_rate_of_a_power_law_is_its_exponent():
    direction = np.array([0.6, 0.8])
    t, power = 7.0, 0.3
    w, velocity = direction * t**power, power * direction * t ** (power - 1)
    np.testing.assert_allclose(growth_rate(jnp.asarray(w), jnp.asarray(-velocity), jnp.asarray(t)), power, rtol=1e-14)


@pytest.mark.parametrize("between", [1e-6, 1.0, 1e6])
def test_index_does_not_depend_on_how_norms_are_shared_between_layers(between):
    case = next(case for case in CASES if case["name"] == "k22_s1_gen_d1")
    risk = truth_problem(case["name"])
    for point in case["critical_points"]:
        w = as_params(point["filters"])
        bend = curvature(risk, ravel((w[0] * between, w[1] / between)))
        assert bend.index == point["hessian_index"]
        assert bend.nullity == 0


def test_public_names_are_the_documented_ones():
    documented = (
        "Architecture ArchitectureError Dataset EmpiricalRisk LcnnFlowError Verdict apply data end_to_end_filter "
        "gradient_flow gradient_flow_ensemble initializers log_times losses solvers summary theory"
    )
    assert set(documented.split()) <= set(lf.__all__)
    assert all(hasattr(lf, name) for name in lf.__all__)
