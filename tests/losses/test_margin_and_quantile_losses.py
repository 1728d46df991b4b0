"""Margin losses and the smoothed quantile loss against mpmath, and what an empirical risk makes of them."""

import chex
import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from scipy.optimize import brentq

import lcnn_flow as lf
from lcnn_flow import losses

ARGUMENTS = [0.0, *(s * 10.0**e for e in (-150, -8, -3, -1, 0, 1, 2) for s in (1, -1)), 0.7, -2.3, 36.5, 700.0]
FAR = [*ARGUMENTS, -3e4, 1e8, -1e100]


def mp_quantile(r, tau, delta):
    return (mp.sqrt(r**2 + delta**2) + (1 - 2 * tau) * r) / 2 - delta * mp.sqrt(tau * (1 - tau))


def at_least(tau, delta):
    """Where the smoothed quantile loss is least."""
    return delta * (tau - 0.5) / np.sqrt(tau * (1 - tau))


CASES = [
    (losses.Logistic(), lambda z: mp.log1p(mp.exp(-z)), [*ARGUMENTS, -3e4, -1e100]),
    (losses.Exponential(), lambda z: mp.exp(-z), ARGUMENTS),
    *((losses.SmoothQuantile(t, d), lambda r, t=t, d=d: mp_quantile(r, mp.mpf(t), mp.mpf(d)), FAR)
      for t, d in ((0.5, 1.0), (0.9, 0.3), (0.02, 40.0))),
]  # fmt: skip
NAMES = ["logistic", "exponential", "median", "quantile 0.9", "quantile 0.02"]


@pytest.mark.parametrize(("loss", "rho", "points"), CASES, ids=NAMES)
def test_values_and_derivatives_agree_with_many_digits(loss, rho, points):
    points = [*points, at_least(loss.tau, loss.delta) * (1 + 1e-3)] if hasattr(loss, "tau") else points
    for dtype, rtol in ((np.float64, 4e-14), (np.float32, 1e-5)):
        given = np.array([p for p in points if abs(p) < 80 or dtype == np.float64], dtype)
        with mp.workdps(400):
            for order, got in enumerate((loss(given), loss.derivative(given), loss.second_derivative(given))):
                assert got.dtype == dtype
                expected = [float(mp.diff(rho, mp.mpf(float(p)), order)) for p in given]
                near = 1e-3 if hasattr(loss, "tau") else 1  # there rho is conditioned like the distance to its minimum
                np.testing.assert_allclose(got, expected, rtol=rtol / near, atol=np.finfo(dtype).tiny)


@pytest.mark.parametrize("loss", [case[0] for case in CASES], ids=NAMES)
def test_autodiff_gives_the_formulas(loss):
    r = jnp.asarray([-30.0, -3.0, -0.4, 0.0, 0.2, 5.0, 40.0])
    chex.assert_trees_all_close(jax.vmap(jax.grad(loss))(r), loss.derivative(r), rtol=1e-15)
    chex.assert_trees_all_close(jax.vmap(jax.grad(loss.derivative))(r), loss.second_derivative(r), rtol=1e-15)


@pytest.mark.parametrize("name", losses.MARGIN_LOSSES)
def test_the_margin_inverts_a_margin_loss(name):
    loss, z = losses.MARGIN_LOSSES[name](), np.array([-30.0, -1.0, 0.0, 1e-3, 2.0, 36.0, 600.0])
    np.testing.assert_allclose(loss.margin(loss(z)), z, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(("tau", "delta"), [(0.5, 1.0), (0.9, 0.3), (0.02, 4.0)])
def test_the_quantile_loss_is_least_where_it_says_and_bounds_residuals(tau, delta):
    loss, least = losses.SmoothQuantile(tau, delta), at_least(tau, delta)
    np.testing.assert_allclose([loss(least), loss.derivative(least)], 0, atol=1e-15)
    r = np.linspace(-30, 30, 2001)
    bound = np.asarray(loss.largest_residual(loss(r)))
    assert np.all(bound >= np.abs(r) * (1 - 1e-12))
    far = r[np.argmax(r * np.sign(least + 1e-300))]  # on the side of the minimum the bound is reached
    np.testing.assert_allclose(loss.largest_residual(loss(far)), abs(far), rtol=1e-12)
    slopes = [np.max(np.abs(loss.derivative(np.linspace(-x, x, 999)))) for x in (0.1, 1.0, 20.0)]
    np.testing.assert_allclose(loss.largest_slope(np.array([0.1, 1.0, 20.0])), slopes, rtol=1e-12)


def test_the_number_with_the_least_smoothed_quantile_loss_is_the_quantile_of_the_targets():
    targets, loss = np.random.default_rng(0).exponential(size=999), losses.SmoothQuantile(0.9, 1e-3)
    best = brentq(lambda guess: float(jnp.mean(loss.derivative(guess - targets))), 0, 10)
    np.testing.assert_allclose(best, np.quantile(targets, 0.9), rtol=1e-2)


def labelled(arch, samples=9, key=0):
    """Random inputs and random labels."""
    inputs = jax.random.normal(jax.random.key(key), (samples, *arch.sample_shape))
    labels = jnp.sign(jax.random.normal(jax.random.key(key + 1), (samples, *arch.output_shape)))
    return lf.Dataset(inputs, labels, weights=jnp.arange(1.0, samples + 1))


@pytest.mark.parametrize(
    ("arch", "name"),
    [
        (lf.Architecture(6, (2, 3)), "logistic"),
        (lf.Dense((3, 2, 1)), "exponential"),
        (lf.Architecture(6, (2, 3), channels=(1, 2, 2)), "logistic"),
        (lf.Dense((3, 2, 2), activation=lf.activations.tanh, bias=True), "exponential"),
    ],
    ids=["single", "dense", "two outputs", "tanh"],
)
def test_an_empirical_risk_takes_the_mean_of_the_loss_of_the_margins(arch, name):
    loss, data = losses.MARGIN_LOSSES[name](), labelled(arch)
    layers = lf.initializers.fan_in()(jax.random.key(5), arch)
    share = data.weights / jnp.sum(data.weights)

    def mean(params):
        terms = jnp.exp(-data.targets * lf.apply(arch, params, data.inputs))
        terms = terms if name == "exponential" else jnp.log1p(terms)
        return jnp.sum(share * jnp.sum(terms.reshape(len(share), -1), axis=1))

    risk = lf.EmpiricalRisk(arch, loss, data)
    np.testing.assert_allclose(risk(layers), mean(layers), rtol=1e-14)
    vector = jnp.concatenate([jnp.ravel(w) for w in jax.tree.leaves(layers)])
    expected = jnp.concatenate([jnp.ravel(w) for w in jax.tree.leaves(jax.grad(mean)(layers))])
    np.testing.assert_allclose(risk.gradient(vector), expected, rtol=1e-12, atol=1e-14)
    decayed = lf.EmpiricalRisk(arch, loss, data, weight_decay=0.1)
    np.testing.assert_allclose(decayed(layers), mean(layers) + 0.05 * jnp.sum(vector**2), rtol=1e-14)


def test_targets_that_are_no_labels_and_forms_that_have_no_margins_are_named():
    arch, pair = lf.Architecture(6, (2, 3)), lf.Architecture(6, (2, 3), channels=(1, 2, 2))
    data = labelled(arch)
    wrong = data.replace(targets=data.targets.at[2, 1].set(0.0))
    with pytest.raises(lf.RiskError, match=r"targets\[2, 1\] is 0: write .*where"):
        lf.EmpiricalRisk(arch, losses.Logistic(), wrong)
    with pytest.raises(lf.RiskError, match="leave it out"):
        lf.EmpiricalRisk(pair, losses.Logistic(), labelled(pair), form="patches")
    with pytest.raises(lf.RiskError, match="several output channels"):
        lf.theory.hypotheses(lf.EmpiricalRisk(pair, losses.Logistic(), labelled(pair)))
    with pytest.raises(lf.LossError, match="below 1"):
        losses.SmoothQuantile(1.0)


def test_a_margin_loss_fails_in_coercivity_alone_and_a_quantile_loss_in_nothing():
    arch = lf.Architecture(6, (2, 3))
    assert lf.theory.hypotheses(lf.EmpiricalRisk(arch, losses.SmoothQuantile(), labelled(arch))).holds
    found = lf.theory.hypotheses(lf.EmpiricalRisk(arch, losses.Logistic(), labelled(arch)))
    assert (found.loss.analytic, found.loss.convex, found.loss.coercive) == (True, True, False)
    assert found.injective_on_attainable
    assert found.holds is False
    assert "coercive: no" in str(found)


def test_flows_of_inseparable_labels_converge_from_however_small_a_start():
    """Targets of margin losses are stored as 0, but filters that fit are of the size of 1 / inputs."""
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(30, 4)), np.sign(rng.normal(size=(30, 2)))
    risk = lf.EmpiricalRisk(lf.Architecture(4, (2, 2)), losses.Logistic(), lf.Dataset(inputs, labels))
    limits = []
    for size in (1e-2, 1e-8):
        flow = lf.gradient_flow(risk, (size * jnp.array([1.0, 0.3]), size * jnp.array([0.7, -0.2])))
        assert flow.verdict == lf.Verdict.CONVERGED
        limits.append(lf.end_to_end_filter(risk.network, flow.limit))
    np.testing.assert_allclose(limits[1], limits[0], rtol=1e-6)
