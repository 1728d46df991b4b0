"""The empirical risk: all forms are one function, its derivatives, its accuracy, its units."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from problems import random_data, random_params, random_problem

import lcnn_flow as lf
from lcnn_flow.network.parameters import ravel, unravel

ARCHITECTURES = {
    "1-D": lf.Architecture(9, (3, 2, 3)),
    "strided": lf.Architecture(16, (3, 2, 4), (1, 3, 1)),
    "2-D": lf.Architecture((8, 6), ((3, 2), 2), ((1, 1), (2, 1))),
    "channels": lf.Architecture(9, (3, 2), channels=(2, 3, 2)),
    "2-D channels": lf.Architecture((5, 6), (2, (3, 2)), channels=(1, 2, 2)),
}
LOSSES = [
    lf.losses.Square(),
    lf.losses.Lp(4.0),
    lf.losses.Lp(1.5),
    lf.losses.PseudoHuber(0.7),
    lf.losses.GeneralizedHuber(1.3, 0.4),
    lf.losses.LogCosh(1.2),
    lf.losses.Custom(lambda r: jnp.sqrt(1 + r**2) - 1),
]


def forms(loss):
    return ["patches", "reduced"] if isinstance(loss, lf.losses.Square) else ["patches"]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_form_is_the_layerwise_risk_to_1e_minus_13(name, loss):
    arch = ARCHITECTURES[name]
    params = random_params(1, arch)
    weighted = name != "2-D"
    data = random_data(arch, weighted)

    @jax.jit
    def evaluate(params, data):
        values = [lf.EmpiricalRisk(arch, loss, data, form=form)(params) for form in ["layers", *forms(loss)]]
        prediction = jnp.abs(lf.apply(arch, params, data.inputs)) + jnp.abs(data.targets)
        return jnp.stack(values), jnp.sum(loss(prediction))

    (reference, *others), scale = evaluate(params, data)
    for other in others:
        assert abs(other - reference) <= 1e-13 * scale


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("1-D", LOSSES[0]),
        ("strided", LOSSES[3]),
        ("2-D", LOSSES[0]),
        ("channels", LOSSES[3]),
        ("2-D channels", LOSSES[0]),
        ("2-D channels", LOSSES[3]),
    ],
    ids=lambda x: x if isinstance(x, str) else type(x).__name__,
)
def test_gradient_and_hessian_are_those_of_the_layerwise_risk(name, loss):
    arch = ARCHITECTURES[name]
    data = random_data(arch, weighted=True)

    def evaluate(vector, data, form):
        risk = lf.EmpiricalRisk(arch, loss, data, form=form)
        autodiff = ravel(jax.grad(risk)(unravel(arch, vector)))
        return risk.gradient(vector), autodiff, risk.hessian(vector), risk.layer_scales(vector)

    evaluate = jax.jit(evaluate, static_argnums=2)
    vector = ravel(random_params(2, arch))
    gradient, autodiff, hessian, scale = evaluate(vector, data, "layers")
    np.testing.assert_allclose(autodiff, gradient, rtol=0, atol=1e-13 * np.max(scale))
    for form in forms(loss):
        ours = evaluate(vector, data, form)
        np.testing.assert_allclose(ours[0], gradient, rtol=0, atol=1e-13 * np.max(scale))
        np.testing.assert_allclose(ours[1], gradient, rtol=0, atol=1e-13 * np.max(scale))
        np.testing.assert_allclose(ours[2], hessian, rtol=0, atol=1e-12 * np.abs(hessian).max())


@pytest.mark.parametrize("loss", [LOSSES[0], LOSSES[3]], ids=lambda loss: type(loss).__name__)
def test_derivative_with_respect_to_data_is_that_of_the_layerwise_risk(loss):
    arch = ARCHITECTURES["strided"]
    params = random_params(3, arch)
    data = random_data(arch, weighted=True)

    def value(form):
        def of_data(inputs, targets, weights):
            return lf.EmpiricalRisk(arch, loss, lf.Dataset(inputs, targets, weights), form=form)(params)

        return jax.jit(jax.grad(of_data, argnums=(0, 1, 2)))(data.inputs, data.targets, data.weights)

    for ours, reference in zip(value("auto"), value("layers"), strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-11, atol=1e-13)


def test_data_derivative_exists_for_rank_deficient_data():
    arch = lf.Architecture(5, (2, 2))
    inputs = jnp.ones((12, 5))
    params = random_params(0, arch)

    def of_inputs(inputs, form):
        return lf.EmpiricalRisk(arch, lf.losses.Square(), lf.Dataset(inputs, jnp.ones((12, 3))), form=form)(params)

    np.testing.assert_allclose(
        jax.grad(of_inputs)(inputs, "reduced"), jax.grad(of_inputs)(inputs, "layers"), rtol=1e-11, atol=1e-13
    )


def test_reduced_form_keeps_the_risk_near_interpolation():
    arch = lf.Architecture(16, (3, 3, 3))
    params = random_params(4, arch)
    clean = lf.data.synthesize(jax.random.key(0), arch, samples=64, targets=lf.data.Cascade(params))
    noise = 1e-6 * jax.random.normal(jax.random.key(1), clean.targets.shape)
    data = lf.Dataset(clean.inputs, clean.targets + noise)
    v = np.asarray(lf.end_to_end_filter(arch, params))
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(data.inputs), 7, axis=1)
    with mpmath.workdps(40):
        residuals = (
            mpmath.fsum(mpmath.mpf(float(a)) * mpmath.mpf(float(b)) for a, b in zip(window, v, strict=True))
            - mpmath.mpf(float(y))
            for window, y in zip(windows.reshape(-1, 7), np.asarray(data.targets).ravel(), strict=True)
        )
        exact = float(mpmath.fsum(r**2 for r in residuals) / (2 * 64))
    risk = lf.EmpiricalRisk(arch, lf.losses.Square(), data, form="reduced")
    assert abs(float(risk(params)) / exact - 1) < 1e-8  # the normal equations keep two digits here


def test_layer_scales_bound_the_gradient_and_have_its_units():
    arch = ARCHITECTURES["1-D"]
    risk = random_problem(arch, lf.losses.Square())
    data = risk.data
    scaled = lf.EmpiricalRisk(arch, lf.losses.Square(), lf.Dataset(data.inputs * 1e6, data.targets * 1e6))
    scales = jax.jit(lambda risk, vector: risk.layer_scales(vector))
    for seed in range(20):
        vector = ravel(random_params(seed, arch))
        gradients = unravel(arch, risk.gradient(vector))
        bounds = np.sqrt(8) * scales(risk, vector)  # |w * u| <= sqrt(min(k_w, k_u)) |w| |u|
        assert all(np.linalg.norm(g) <= bound for g, bound in zip(gradients, bounds, strict=True))
        np.testing.assert_allclose(scales(scaled, vector), 1e12 * scales(risk, vector), rtol=1e-12)


def test_square_loss_costs_nothing_more_for_more_samples():
    arch = ARCHITECTURES["1-D"]
    small = random_problem(arch, lf.losses.Square(), samples=20)
    large = random_problem(arch, lf.losses.Square(), samples=2000)
    shapes = [[x.shape for x in jax.tree.leaves(risk.filter_risk)] for risk in (small, large)]
    assert small.form == large.form == "reduced"
    assert shapes[0] == shapes[1]


def test_risks_batch_over_loss_parameters_and_data():
    arch = ARCHITECTURES["1-D"]
    params = random_params(0, arch)
    data = random_problem(arch, lf.losses.Square()).data
    deltas = jnp.array([0.3, 1.0, 3.0])
    batch = jax.vmap(lambda delta: lf.EmpiricalRisk(arch, lf.losses.PseudoHuber(delta), data))(deltas)
    assert batch.num_conditions == 3
    single = lf.EmpiricalRisk(arch, lf.losses.PseudoHuber(1.0), data)
    assert single.num_conditions is None
    np.testing.assert_allclose(batch.condition(1)(params), single(params), rtol=1e-14)
    assert batch.condition(1).num_conditions is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": jnp.ones((4, 8))}, r"inputs have shape \(4, 8\)"),
        ({"targets": jnp.ones((4, 2))}, r"targets have shape \(4, 2\)"),
    ],
)
def test_data_that_do_not_fit_are_named(change, message):
    arch = ARCHITECTURES["1-D"]
    arrays = {"inputs": jnp.ones((4, 9)), "targets": jnp.ones((4, 4))} | change
    with pytest.raises(lf.RiskError, match=message):
        lf.EmpiricalRisk(arch, lf.losses.Square(), lf.Dataset(**arrays))


@pytest.mark.usefixtures("unchecked")
def test_forms_that_do_not_fit_are_named():
    arch = ARCHITECTURES["1-D"]
    data = random_problem(arch, lf.losses.Square()).data
    with pytest.raises(lf.RiskError, match="form='patches'"):
        lf.EmpiricalRisk(arch, lf.losses.LogCosh(), data, form="reduced")
    with pytest.raises(lf.RiskError, match="one of 'auto', 'reduced', 'patches', 'moments', 'layers'"):
        lf.EmpiricalRisk(arch, lf.losses.LogCosh(), data, form="gram")
