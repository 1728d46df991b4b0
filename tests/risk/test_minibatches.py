"""Minibatches estimate the risk without bias: the mean over those that share out all samples is the risk itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import random_data, random_params

import lcnn_flow as lf

ARCH = lf.Architecture(7, (3, 2), channels=(2, 2, 1))
PARAMS = random_params(0, ARCH)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("form", ["patches", "layers"])
def test_the_mean_over_all_minibatches_is_the_risk_and_its_gradient(form, weighted):
    risk = lf.EmpiricalRisk(ARCH, lf.losses.PseudoHuber(0.3), random_data(ARCH, weighted), form=form)
    vector = jnp.concatenate([w.ravel() for w in PARAMS])
    order = np.random.default_rng(0).permutation(12).reshape(3, 4)

    @jax.jit
    def estimate(indices):
        few = risk.minibatch(indices)
        return few(PARAMS), few.gradient(vector)

    values, gradients = zip(*map(estimate, order), strict=True)
    assert np.std(values) > 1e-3
    np.testing.assert_allclose(np.mean(values), risk(PARAMS), rtol=1e-13)
    np.testing.assert_allclose(np.mean(gradients, axis=0), risk.gradient(vector), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("activation", [None, lf.activations.tanh])
def test_weight_decay_is_the_same_in_every_minibatch(activation):
    net = lf.Dense((4, 3, 2), activation=activation)
    risk = lf.EmpiricalRisk(net, lf.losses.Lp(4), random_data(net, weighted=True), weight_decay=0.3)
    params = random_params(1, net)
    few = [risk.minibatch(jnp.arange(12)[i::3]) for i in range(3)]
    np.testing.assert_allclose(np.mean([one(params) for one in few]), risk(params), rtol=1e-13)
    without = lf.EmpiricalRisk(net, lf.losses.Lp(4), random_data(net, weighted=True), form="layers")
    decay = 0.15 * sum(np.sum(np.asarray(w) ** 2) for w in jax.tree.leaves(params))
    np.testing.assert_allclose(few[1](params) - without.minibatch(jnp.arange(12)[1::3])(params), decay, rtol=1e-11)


def test_one_sample_is_all_its_output_rows():
    data = random_data(ARCH, weighted=True)
    weights = np.asarray(data.weights)
    by_hand = np.sum((np.asarray(lf.apply(ARCH, PARAMS, data.inputs[3])) - np.asarray(data.targets[3])) ** 2) / 2
    for form in ("patches", "layers"):
        risk = lf.EmpiricalRisk(ARCH, lf.losses.Square(), data, form=form)
        found = risk.minibatch(jnp.array([3]))(PARAMS)
        np.testing.assert_allclose(found, 12 * weights[3] / weights.sum() * by_hand, rtol=1e-12)


def test_a_minibatch_of_samples_without_weight_is_zero():
    data = random_data(ARCH).replace(weights=np.r_[np.zeros(4), np.ones(8)])
    for form in ("patches", "layers"):
        few = lf.EmpiricalRisk(ARCH, lf.losses.Square(), data, form=form).minibatch(jnp.arange(4))
        assert few(PARAMS) == 0


def test_a_function_with_declared_samples_is_taken_of_some_of_them():
    scale = jnp.array([1.0, 2.0])

    def mean_square(w, data):
        return jnp.mean((scale @ data["X"] * w - data["y"]) ** 2) + data["ridge"] * jnp.sum(w**2)

    rng = np.random.default_rng(1)
    data = {"X": rng.normal(size=(2, 6)), "y": rng.normal(size=6), "ridge": 0.1}
    w = jnp.array(0.7)
    risk = lf.Risk(mean_square, w, data, samples={"X": 1, "y": 0})
    assert risk.num_samples == 6
    few = [risk.minibatch(jnp.asarray(i)) for i in ([4, 0], [1, 2], [3, 5])]
    by_hand = np.mean((np.array([1, 2]) @ data["X"][:, [4, 0]] * 0.7 - data["y"][[4, 0]]) ** 2) + 0.049
    np.testing.assert_allclose(few[0](w), by_hand, rtol=1e-13)
    np.testing.assert_allclose(np.mean([one(w) for one in few]), risk(w), rtol=1e-13)
    np.testing.assert_allclose(np.mean([one.gradient(w[None]) for one in few]), risk.gradient(w[None])[0], rtol=1e-12)


def test_samples_and_conditions_have_axes_of_their_own():
    def mean(w, data):
        return jnp.mean(data) * w

    data = np.arange(12.0).reshape(3, 4)
    risk = lf.Risk(lambda w, d: mean(w, d["x"]), jnp.array(1.0), {"x": data}, batched={"x": 1}, samples={"x": -2})
    assert (risk.num_conditions, risk.num_samples) == (4, 3)
    one = risk.condition(2).minibatch(jnp.array([0, 2]))
    assert one(jnp.array(1.0)) == (data[0, 2] + data[2, 2]) / 2


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reduced().minibatch(jnp.arange(2)), r"form='reduced' keeps none: write .*form='patches'"),
        (lambda: patches().for_minibatches(13), "batch_size = 13: write an integer from 1 to 12"),
        (lambda: patches().for_minibatches(0.5), "batch_size = 0.5: write an integer from 1 to 12"),
        (lambda: function_of(None).for_minibatches(2), r"write lf.Risk\(function, params, data, samples="),
        (lambda: function_of({"Z": 0}), r"samples names \['Z'\]: data have \['X', 'y'\]"),
        (lambda: function_of({"X": 5}), r"samples: 'X' has no axis 5: its shape is \(4, 2\)"),
        (lambda: function_of({"X": 1, "y": 0}), r"the axes have lengths \[2, 4\]"),
        (lambda: function_of({"X": 0}, {"X": -2}), "samples and batched name the same axis 0"),
    ],
)
def test_samples_that_are_not_there_are_named_with_what_to_write(call, message):
    with pytest.raises(lf.RiskError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def reduced():
    arch = lf.Architecture(6, (2, 2))
    return lf.EmpiricalRisk(arch, lf.losses.Square(), random_data(arch), form="reduced")


def patches():
    return lf.EmpiricalRisk(ARCH, lf.losses.Square(), random_data(ARCH), form="patches")


def function_of(samples, batched=None):
    data = {"X": np.ones((4, 2)), "y": np.ones(4)}
    return lf.Risk(lambda w, d: jnp.sum(d["X"]) * w + jnp.sum(d["y"]), jnp.array(1.0), data, None, batched, samples)
