"""Robust losses against mpmath with 60 digits, and what a flow does where theory does not reach."""

import chex
import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

import lcnn_flow as lf
from lcnn_flow import losses

RESIDUALS = [0.0, *(s * 10.0**e for e in (-150, -8, -3, -1, 0, 1, 2, 8, 100) for s in (1, -1)), 0.7, -2.3]


def mp_huber(r, delta):
    return r**2 / 2 if abs(r) <= delta else delta * abs(r) - delta**2 / 2


REFERENCE = {
    "huber": mp_huber,
    "cauchy": lambda r, delta: delta**2 / 2 * mp.log(1 + (r / delta) ** 2),
    "welsch": lambda r, delta: -(delta**2) / 2 * mp.expm1(-((r / delta) ** 2)),
    "geman_mcclure": lambda r, delta: r**2 / 2 / (1 + (r / delta) ** 2),
}
CASES = [(name, delta) for name in REFERENCE for delta in (1.0, 0.3, 40.0)]


@pytest.mark.parametrize(("name", "delta"), CASES)
def test_values_and_derivatives_agree_with_sixty_digits(name, delta):
    loss = losses.ROBUST_LOSSES[name](delta)
    with mp.workdps(400):
        rho = REFERENCE[name]
        points = [mp.mpf(r) for r in RESIDUALS]
        for order, got in enumerate((loss(np.array(RESIDUALS)), loss.derivative(np.array(RESIDUALS)))):
            expected = [float(mp.diff(lambda r: rho(r, mp.mpf(delta)), r, order)) for r in points]
            np.testing.assert_allclose(got, expected, rtol=2e-14, atol=1e-300)
        smooth = [r for r in RESIDUALS if abs(r) != delta]
        expected = [float(mp.diff(lambda r: rho(r, mp.mpf(delta)), mp.mpf(r), 2)) for r in smooth]
        np.testing.assert_allclose(loss.second_derivative(np.array(smooth)), expected, rtol=1e-13, atol=1e-290)


@pytest.mark.parametrize("name", REFERENCE)
def test_autodiff_gives_the_formulas_and_the_derivative_in_delta(name):
    r, delta = jnp.asarray([-3.0, -0.4, 0.0, 0.2, 5.0]), 0.7
    loss = losses.ROBUST_LOSSES[name](delta)
    chex.assert_trees_all_close(jax.vmap(jax.grad(loss))(r), loss.derivative(r))
    chex.assert_trees_all_close(jax.vmap(jax.grad(loss.derivative))(r), loss.second_derivative(r))
    slope = jax.jvp(lambda d: losses.ROBUST_LOSSES[name](d)(r), (jnp.asarray(delta),), (jnp.asarray(1.0),))[1]
    step = 1e-6
    loss_above, loss_below = (losses.ROBUST_LOSSES[name](delta + s)(r) for s in (step, -step))
    np.testing.assert_allclose(slope, (loss_above - loss_below) / (2 * step), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", REFERENCE)
def test_the_largest_residual_inverts_the_loss(name):
    bounded = name in ("welsch", "geman_mcclure")
    loss, r = losses.ROBUST_LOSSES[name](0.7), np.array([0.0, 1e-6, 0.3, 0.69, 0.71, 2.0, *([] if bounded else [50.0])])
    np.testing.assert_allclose(loss.largest_residual(loss(r)), r, rtol=1e-11)
    assert np.isinf(loss.largest_residual(np.array([0.7**2 / 2 + 1e-9]))) == bounded


@pytest.mark.parametrize("name", REFERENCE)
def test_largest_slope_and_curvature_bound_those_up_to_a_residual(name):
    loss = losses.ROBUST_LOSSES[name](0.7)
    r = jnp.linspace(0, 9, 400)
    np.testing.assert_allclose(loss.largest_slope(r), np.maximum.accumulate(loss.derivative(r)), rtol=2e-4)
    assert np.all(loss.largest_curvature(r) >= np.abs(loss.second_derivative(r)))


def test_each_says_which_condition_of_the_theory_fails():
    arch = lf.Architecture(6, (2, 2))
    data = lf.data.synthesize(jax.random.key(0), arch, samples=10, noise=0.1)
    holds = {}
    for name, loss in losses.ROBUST_LOSSES.items():
        found = lf.theory.hypotheses(lf.EmpiricalRisk(arch, loss(), data))
        holds[name] = (found.holds, found.loss.coercive, found.loss.convex)
    expected = {"huber": (True, True, True), "cauchy": (True, True, False)}
    expected |= {"welsch": (False, False, False), "geman_mcclure": (False, False, False)}
    assert holds == expected


@pytest.mark.slow
def test_a_bounded_loss_has_a_spurious_minimum_in_a_network_of_one_layer():
    """Of targets 0, 0 and 10 flows of one number keep to the nearest: a convex loss has one minimum there."""
    arch = lf.Architecture(1, (1,))
    data = lf.Dataset(np.ones((3, 1)), np.array([[0.0], [0.0], [10.0]]))
    risk = lf.EmpiricalRisk(arch, losses.Welsch(1.0), data)
    flows = lf.gradient_flow_ensemble(risk, (np.array([[0.5], [9.7]]),))
    np.testing.assert_array_equal(flows.verdict, lf.Verdict.CONVERGED)
    np.testing.assert_allclose(np.ravel(flows.limit[0]), [0, 10], atol=1e-9)
    np.testing.assert_allclose(flows.risk, [1 / 6, 1 / 3], rtol=1e-12)
