"""Networks past the linear convolution of the theory: activations, dense layers, biases, periodic signals."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lcnn_flow as lf
from lcnn_flow.network.forward import forward

KEY = jax.random.key(3)
A = lf.activations
HOMOGENEOUS = {
    "relu": A.relu,
    "leaky_relu": A.leaky_relu(0.3),
    "power_3/2": A.Power(1.5),
    "power_2": A.Power(2),
    "power_3": A.Power(3),
}
FAST_AND_SLOW = [pytest.param(name, marks=pytest.mark.slow if name == "power_3" else ()) for name in HOMOGENEOUS]


def networks(activation):
    return (
        lf.Architecture(8, (3, 2), channels=(1, 3, 2), activation=activation),
        lf.Architecture(9, (3, 2, 2), strides=(2, 1, 1), activation=activation),
        lf.Architecture((4, 4), (2, 2), channels=(2, 2, 1), activation=activation, padding="circular"),
        lf.Dense((3, 4, 2, 2), activation=activation, bias=True),
    )


def risk_of(net, loss=None, samples=20, **options):
    rng = np.random.default_rng(4)
    data = lf.Dataset(rng.normal(size=(samples, *net.sample_shape)), rng.normal(size=(samples, *net.output_shape)))
    return lf.EmpiricalRisk(net, loss or lf.losses.PseudoHuber(0.7), data, **options)


def point_of(net, seed=1, std=0.7):
    rng = np.random.default_rng(seed)
    like = jax.eval_shape(lambda key: lf.initializers.gaussian(std)(key, net), KEY)
    return jax.tree.map(lambda w: jnp.asarray(std * rng.normal(size=w.shape) / np.sqrt(w.size)), like)


def raveled(params):
    return jnp.concatenate([jnp.ravel(w) for w in jax.tree.leaves(params)])


def periodic(signal, kernel, stride):
    """One channel, by the definition."""
    d, k = len(signal), len(kernel)
    return np.array([sum(kernel[j] * signal[(i * stride + j) % d] for j in range(k)) for i in range(d // stride)])


def test_a_periodic_convolution_is_the_sum_over_a_period():
    net = lf.Architecture(6, (4, 2), strides=(2, 3), padding="circular", activation=A.tanh)
    rng = np.random.default_rng(0)
    x, (w, u) = rng.normal(size=6), (rng.normal(size=4), rng.normal(size=2))
    expected = periodic(np.tanh(periodic(x, w, 2)), u, 3)
    np.testing.assert_allclose(lf.apply(net, (w, u), x), expected, rtol=1e-13)
    linear = lf.Architecture(6, (4, 2), strides=(2, 3), padding="circular")
    v = lf.end_to_end_filter(linear, (jnp.asarray(w), jnp.asarray(u)))
    windows = lf.patches(linear, jnp.asarray(x)[None])
    np.testing.assert_allclose((windows @ v).ravel(), periodic(periodic(x, w, 2), u, 3), rtol=1e-12)


@pytest.mark.parametrize("net", networks(A.tanh), ids=["channels", "strides", "periodic", "dense"])
def test_products_of_matrices_give_what_convolutions_give(net):
    params = point_of(net)
    x = jax.random.normal(KEY, (5, *net.sample_shape))
    np.testing.assert_allclose(
        forward(net, jax.tree.leaves(params), x)[0], lf.apply(net, params, x), rtol=1e-12, atol=1e-13
    )


def test_a_dense_network_is_the_product_of_its_matrices_and_activations():
    net = lf.Dense((3, 4, 2), activation=A.softplus, bias=True)
    (w, b), (u, c) = point_of(net)
    x = np.random.default_rng(1).normal(size=(7, 3))
    expected = np.log1p(np.exp(x @ np.asarray(w).T + np.asarray(b))) @ np.asarray(u).T + np.asarray(c)
    np.testing.assert_allclose(lf.apply(net, ((w, b), (u, c)), x), expected, rtol=1e-13)


def test_a_linear_dense_risk_is_that_of_the_convolution_with_its_widths_as_channels():
    net = lf.Dense((3, 2, 2))
    risk, params = risk_of(net), point_of(net)
    x, y = np.asarray(risk.data.inputs), np.asarray(risk.data.targets)
    residuals = x @ (np.asarray(params[1]) @ np.asarray(params[0])).T - y
    expected = np.sum(0.49 * (np.sqrt(1 + (residuals / 0.7) ** 2) - 1)) / len(x)
    np.testing.assert_allclose(risk(params), expected, rtol=1e-12)
    np.testing.assert_allclose(lf.end_to_end_filter(net, params), params[1] @ params[0], rtol=1e-13)
    slopes = raveled(jax.grad(lambda p: risk_of(net, form="layers")(p))(params))
    np.testing.assert_allclose(risk.gradient(raveled(params)), slopes, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", FAST_AND_SLOW)
def test_homogeneous_activations_conserve_one_quantity_per_hidden_channel(name):
    """<grad c, grad L> = 0, and a step of descent changes c by exactly eta^2 c(gradient)."""
    eta = 0.05

    @jax.jit
    def measured(risk, params):
        w = raveled(params)
        slope, symmetry = risk.gradient(w), risk.symmetry
        conserved = symmetry.conserved(w), symmetry.conserved(w - eta * slope), symmetry.conserved(slope)
        return slope, symmetry.directions(w), conserved, lf.theory.balancedness(risk.network, params)

    for net in networks(HOMOGENEOUS[name]):
        slope, columns, (before, after, of_slope), balancedness = measured(risk_of(net), point_of(net))
        assert columns.shape[1] > 0
        sizes = jnp.linalg.norm(columns, axis=0) * jnp.linalg.norm(slope)
        np.testing.assert_allclose(columns.T @ slope / sizes, 0, atol=1e-14)
        np.testing.assert_allclose(after - before, eta**2 * of_slope, atol=1e-13)
        np.testing.assert_allclose(balancedness, before, rtol=1e-14)


@pytest.mark.parametrize("activation", [A.tanh, A.softplus, A.gelu])
def test_other_activations_do_not_conserve_it(activation):
    net = networks(activation)[3]
    risk, params = risk_of(net), point_of(net)
    slope = jax.grad(risk)(params)
    change = jax.jvp(lambda p: lf.theory.balancedness(net, p), (params,), (slope,))[1]
    assert risk.symmetry.conserved(raveled(params)).shape == (0,)
    assert float(jnp.max(jnp.abs(change))) > 1e-3


@pytest.mark.parametrize(
    "net",
    [pytest.param(lf.Architecture(8, (3, 2)), marks=pytest.mark.slow), lf.Dense((3, 2, 2), activation=A.tanh)],
)
def test_weight_decay_adds_half_the_square_of_the_parameters(net):
    plain, params = risk_of(net, form="layers"), point_of(net)
    risk, w = risk_of(net, weight_decay=0.2), raveled(params)
    np.testing.assert_allclose(risk(params), plain(params) + 0.1 * jnp.sum(w**2), rtol=1e-13)
    np.testing.assert_allclose(risk.gradient(w), plain.gradient(w) + 0.2 * w, rtol=1e-11)
    np.testing.assert_allclose(risk.hessian(w), plain.hessian(w) + 0.2 * jnp.eye(w.size), rtol=1e-10, atol=1e-12)
    assert float(risk.largest_norm(w)) == pytest.approx(float(jnp.sqrt(10 * risk(params))))


def test_the_distance_to_a_kink_is_that_to_the_nearest_hyperplane():
    net = lf.Dense((2, 2, 1), activation=A.relu)
    x = jnp.asarray([[1.0, 2.0], [-1.0, 0.5]])
    risk = lf.EmpiricalRisk(net, lf.losses.Square(), lf.Dataset(x, jnp.ones((2, 1))))
    params = (jnp.asarray([[0.3, 0.4], [1.0, -0.2]]), jnp.ones((1, 2)))
    expected = np.min(np.abs(x @ params[0].T) / np.linalg.norm(x, axis=1)[:, None])
    assert float(risk.distance_to_kink(raveled(params))) == pytest.approx(expected, rel=1e-13)
    smooth = lf.EmpiricalRisk(lf.Dense((2, 2, 1), activation=A.tanh), lf.losses.Square(), risk.data)
    assert float(smooth.distance_to_kink(raveled(params))) == np.inf


@pytest.mark.slow
def test_flows_of_a_tanh_network_end_in_minima_or_withhold():
    net = lf.Architecture(6, (3, 3), channels=(1, 2, 1), activation=A.tanh)
    data = lf.data.synthesize(jax.random.key(0), net, samples=24, targets=lf.data.Planted(0.6), noise=0.1)
    risk = lf.EmpiricalRisk(net, lf.losses.Square(), data)
    starts = jax.vmap(lambda k: lf.initializers.gaussian(0.5)(k, net))(jax.random.split(jax.random.key(1), 8))
    flows = lf.gradient_flow_ensemble(risk, starts)
    gradient, hessian = jax.jit(jax.grad(risk.value)), jax.jit(jax.hessian(risk.value))
    converged = flows.verdict == lf.Verdict.CONVERGED
    assert np.sum(converged) >= 4
    for i in np.flatnonzero(converged):
        w = raveled([limit[i] for limit in flows.limit])
        assert np.linalg.norm(gradient(w)) < 1e-11
        assert np.linalg.eigvalsh(hessian(w))[0] > 0


@pytest.mark.slow
def test_deep_linear_dense_flows_reach_the_least_squares_fit():
    """No hidden width is below the smaller end, so every local minimum is global (Laurent and von Brecht 2018)."""
    net = lf.Dense((3, 3, 2))
    data = lf.data.synthesize(KEY, net, samples=30, noise=0.5)
    risk = lf.EmpiricalRisk(net, lf.losses.Square(), data)
    starts = jax.vmap(lambda k: lf.initializers.gaussian(0.5)(k, net))(jax.random.split(jax.random.key(1), 16))
    flows = lf.gradient_flow_ensemble(risk, starts)
    x, y = np.asarray(data.inputs), np.asarray(data.targets)
    best = np.sum((x @ np.linalg.lstsq(x, y, rcond=None)[0] - y) ** 2) / (2 * len(x))
    assert np.all(flows.verdict == lf.Verdict.CONVERGED)
    np.testing.assert_allclose(flows.risk, best, rtol=1e-9)


def test_misuse_says_what_to_write(unchecked):
    tanh = networks(A.tanh)[0]
    data = lf.data.synthesize(KEY, tanh, samples=5)
    risk = lf.EmpiricalRisk(tanh, lf.losses.Square(), data)
    cases = [
        (lambda: lf.Dense((3, 2), activation=jax.nn.relu), r"write lf\.activations\.relu"),
        (lambda: lf.Dense((3, 2), activation="tanh"), r"write lf\.activations\.tanh"),
        (lambda: lf.Dense((3,)), "at least two numbers"),
        (lambda: lf.Architecture(6, (3, 3), padding="same"), "'valid' or 'circular'"),
        (lambda: lf.Architecture(6, (3,), strides=(4,), padding="circular"), "does not divide the period 6"),
        (lambda: A.Power(0.5), "1 <= p < 100"),
        (lambda: A.Custom(jnp.tanh, degree=1), "not homogeneous of degree 1"),
        (lambda: lf.EmpiricalRisk(tanh, lf.losses.Square(), data, form="patches"), "for linear networks"),
        (lambda: lf.EmpiricalRisk(tanh, lf.losses.Square(), data, weight_decay=-1.0), "at least 0"),
        (lambda: risk_of(lf.Architecture(8, (3, 2)), form="reduced", weight_decay=0.1), "needs the square loss"),
        (lambda: lf.theory.hypotheses(risk), "holds for linear networks"),
        (lambda: lf.end_to_end_filter(tanh, point_of(tanh)), "not linear"),
        (lambda: risk((jnp.ones(3), jnp.ones(2))), "params have shapes"),
    ]
    for call, words in cases:
        with pytest.raises(lf.LcnnFlowError, match=words):
            call()
    assert lf.certify(risk, point_of(tanh)).status == "inconclusive"
    assert repr(tanh).endswith("activation=tanh)")


def test_a_point_within_reach_of_a_kink_is_classified_as_such():
    """f = relu(w x), target 0: all w <= 0 are minima, w = 0 is the kink."""
    net = lf.Dense((1, 1, 1), activation=A.relu)
    risk = lf.EmpiricalRisk(net, lf.losses.Square(), lf.Dataset(jnp.ones((1, 1)), jnp.zeros((1, 1))))
    points = (jnp.asarray([[[0.0]], [[1e-12]], [[0.5]]]), jnp.ones((3, 1, 1)))
    assert list(lf.classify(risk, points).kind) == ["at_kink", "at_kink", "not_critical"]


def test_a_descent_that_ends_at_a_kink_claims_no_limit():
    """f = u relu(w x), target 0: u stays near 1 and w tends to 0 from above, where relu switches."""
    net = lf.Dense((1, 1, 1), activation=A.relu)
    risk = lf.EmpiricalRisk(net, lf.losses.Square(), lf.Dataset(jnp.ones((1, 1)), jnp.zeros((1, 1))))
    start = (jnp.asarray([[0.1]]), jnp.asarray([[1.0]]))
    run = lf.gradient_descent(risk, start, optax.sgd, {"learning_rate": 0.5}, steps=200)
    assert abs(float(run.final[0][0, 0])) < 1e-12
    assert lf.Verdict(int(run.verdict)) == lf.Verdict.UNDECIDED
    assert int(run.reason) == lf.verdict.Reason.NEAR_A_KINK
