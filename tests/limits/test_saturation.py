"""Plateaus on which a neuron is saturated in floating point are no manifolds of critical points."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lcnn_flow as lf
from lcnn_flow.limits.verdict import Reason

TANH = lf.Dense((1, 1, 1), activation=lf.activations.tanh)
SAMPLES = lf.Dataset(jnp.asarray([[1.0], [2.0]]), jnp.asarray([[1.0], [0.5]]))
START = (jnp.asarray([[40.0]]), jnp.asarray([[0.5]]))
"""u tanh(w x), where tanh(40) = 1 - 4e-35: in floats u tends to 3/4 at any w; exactly, dL/dw = -3/64 / cosh(w)^2."""


def risk_of(network, data=SAMPLES):
    return lf.EmpiricalRisk(network, lf.losses.Square(), data)


def test_a_descent_that_rests_on_a_plateau_of_saturated_neurons_claims_no_limit():
    run = lf.gradient_descent(risk_of(TANH), START, optax.sgd, {"learning_rate": 0.5}, steps=200)
    np.testing.assert_allclose(run.final[1], 0.75, rtol=1e-12)
    assert float(run.gradient_norm) < 1e-14
    assert (int(run.verdict), int(run.reason)) == (lf.Verdict.UNDECIDED, Reason.SATURATED)
    assert np.isnan(run.limit[1]).all()


def test_a_point_on_a_plateau_of_saturated_neurons_is_not_classified_as_a_minimum():
    plateau, minimum = (jnp.asarray([[40.0]]), jnp.asarray([[0.75]])), (jnp.asarray([[0.0]]), jnp.asarray([[0.5]]))
    assert lf.classify(risk_of(TANH), plateau).kind == "degenerate"
    fitted = lf.Dataset(SAMPLES.inputs, jnp.zeros((2, 1)))  # u tanh(w x) = 0 along w = 0
    assert lf.classify(risk_of(TANH, fitted), minimum).kind == "minimum"


def test_points_where_the_only_sample_that_is_not_fitted_is_out_of_reach_are_no_minima():
    """u gelu(w) = 1 fits the first sample along a curve; the second has the slope of gelu(-40 w), about e^{-800}."""
    data = lf.Dataset(jnp.asarray([[1.0], [-40.0]]), jnp.ones((2, 1)))
    network = lf.Dense((1, 1, 1), activation=lf.activations.gelu)
    point = (jnp.ones((1, 1)), jnp.full((1, 1), 1 / float(lf.activations.gelu(jnp.asarray(1.0)))))
    for loss in (lf.losses.Square(), lf.losses.PseudoHuber(0.5)):
        assert lf.classify(lf.EmpiricalRisk(network, loss, data), point).kind == "degenerate"
    without = (data.replace(weights=jnp.asarray([1.0, 0.0])), lf.Dataset(data.inputs[:1], data.targets[:1]))
    for fitted in without:  # nothing else is to be fitted: the curve consists of minima
        assert lf.classify(risk_of(network, fitted), point).kind == "minimum"


def test_points_where_the_loss_of_an_outlier_is_flat_are_no_minima():
    """At a residual of 50 the slope is 50 e^{-2500/delta^2}; it pulls along the curve that fits the first sample."""
    point = (jnp.full((1, 1), 0.5), jnp.ones((1, 1)))
    data = lf.Dataset(jnp.asarray([[1.0], [2.0]]), jnp.asarray([[np.tanh(0.5)], [50.0]]))
    for delta, kind in ((1.0, "degenerate"), (100.0, "not_critical")):
        risk = lf.EmpiricalRisk(TANH, lf.losses.Welsch(delta), data)
        assert lf.classify(risk, point).kind == kind
    fitted = lf.Dataset(data.inputs[:1], data.targets[:1])
    assert lf.classify(lf.EmpiricalRisk(TANH, lf.losses.Welsch(1.0), fitted), point).kind == "minimum"


@pytest.mark.slow
def test_a_flow_that_rests_on_a_plateau_of_saturated_neurons_claims_no_limit():
    flow = lf.gradient_flow(risk_of(TANH), START)
    assert flow.verdict not in (lf.Verdict.CONVERGED, lf.Verdict.AT_SADDLE)


@pytest.mark.parametrize(
    ("activation", "inside", "outside"),
    [("tanh", 8.0, 11.0), ("softplus", -17.0, -19.0), ("softplus", 17.0, 19.0), ("gelu", 5.0, 7.0)],
)
def test_neurons_are_saturated_where_the_activation_is_constant_or_linear_to_half_the_digits(
    activation, inside, outside
):
    """sigma'' is 8 e^{-2z}, e^{-|z|} and z^2 e^{-z^2/2}/sqrt(2 pi) far out; sqrt(eps) is 1.5e-8."""
    network = lf.Dense((1, 2, 1), activation=getattr(lf.activations, activation))
    risk = risk_of(network, lf.Dataset(jnp.asarray([[1.0], [1.1]]), jnp.ones((2, 1))))
    for z, expected in ((inside, False), (outside, True)):
        assert bool(risk.is_saturated(jnp.asarray([0.1, z, 1.0, 1.0]))) is expected
    assert not risk.is_saturated(jnp.zeros(4))
    relu = risk_of(lf.Dense((1, 2, 1), activation=lf.activations.relu), risk.data)
    assert not relu.is_saturated(jnp.asarray([0.1, 1e3, 1.0, 1.0]))


def test_a_channel_is_saturated_if_it_is_at_all_of_its_positions():
    network = lf.Architecture(3, (2, 2), channels=(1, 2, 1), activation=lf.activations.tanh)
    ones = lf.Dataset(jnp.asarray([[[1.0, 1.0, 1.0]], [[1.0, 1.0, -1.0]]]), jnp.ones((2, 1, 1)))
    risk = risk_of(network, ones)
    rest = [0.1, 0.2, 1.0, 1.0, 1.0, 1.0]
    assert not risk.is_saturated(jnp.asarray([50.0, 50.0, *rest]))  # 0 at one position of the second sample
    assert risk.is_saturated(jnp.asarray([150.0, 50.0, *rest]))
