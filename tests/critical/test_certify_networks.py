"""Certificates past linear networks: activations, dense layers, biases, channels, weight decay, every loss."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from flint import arb, ctx
from problems import random_data
from scipy import integrate, optimize
from textbook import polished, risk_jet

import lcnn_flow as lf
from lcnn_flow.critical.ball_network import BallNetwork
from lcnn_flow.critical.balls import above, below
from lcnn_flow.critical.plain_network import plain_network

L, A = lf.losses, lf.activations
STUDENT = lf.Dense((2, 2, 1), activation=A.tanh)
POWER = lf.Dense((2, 2, 1), activation=A.Power(3))


@functools.cache
def problem(net, loss=None, decay=None, samples=16, seed=1):
    """Outputs of a teacher of the same architecture, and noise; labels for a margin loss."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(samples, *net.sample_shape))
    teacher = tree(net, rng.normal(size=net.num_parameters))
    targets = np.asarray(lf.apply(net, teacher, inputs)) + 0.3 * rng.normal(size=(samples, *net.output_shape))
    if isinstance(loss, L.Logistic | L.Exponential):
        targets = np.where(targets > 0, 1.0, -1.0)
    data = lf.Dataset(inputs, targets, np.linspace(0.5, 1.5, samples))
    return lf.EmpiricalRisk(net, loss or L.Square(), data, weight_decay=decay)


def tree(net, vector):
    """A vector as the parameters of a network."""
    parts, first = [], 0
    for shape in net.layer_shapes:
        parts.append(jnp.asarray(vector[first : first + np.prod(shape)]).reshape(shape))
        first += int(np.prod(shape))
    return tuple(zip(parts[::2], parts[1::2], strict=True)) if net.bias else tuple(parts)


@functools.cache
def derivatives(risk):
    """Gradient and Hessian of jax at a vector, as numpy arrays."""
    program = jax.jit(lambda w: (risk.gradient(w), risk.hessian(w)))
    return lambda w: tuple(map(np.asarray, program(jnp.asarray(w))))


def after_flow(risk, start):
    """The point that the gradient flow reaches in the time 300."""

    def field(_, w):
        return -derivatives(risk)(w)[0]

    return integrate.solve_ivp(field, (0, 300), start, "LSODA", rtol=1e-4, atol=1e-6).y[:, -1]


@functools.cache
def critical_points(risk, starts=12, seed=1):
    """Distinct ends of Newton's method from random points, with their numbers of negative eigenvalues.

    From every other point the gradient flow is followed for a while before, so that there are minima.
    """
    found, rng, at = [], np.random.default_rng(seed), derivatives(risk)
    for number in range(starts):
        start = rng.normal(size=risk.network.num_parameters)
        if number % 2:
            start = after_flow(risk, start)
        w = optimize.root(lambda w: at(w)[0], start, jac=lambda w: at(w)[1], method="lm").x
        for _ in range(3):
            w = w - np.linalg.lstsq(at(w)[1], at(w)[0], rcond=None)[0]
        slope, eigenvalues = at(w)[0], np.linalg.eigvalsh(at(w)[1])
        regular = np.min(np.abs(eigenvalues)) > 1e-4
        new = all(np.linalg.norm(w - x) > 1e-3 for x, _ in found)
        if np.linalg.norm(slope) < 1e-13 and regular and new and np.max(np.abs(w)) < 10:
            found.append((w, int(np.sum(eigenvalues < 0))))
    return found


NETWORKS = [
    problem(lf.Dense((2, 2, 1), activation=A.tanh, bias=True), L.PseudoHuber(0.7)),
    problem(lf.Architecture(7, (3, 2), strides=(2, 1), channels=(1, 2, 2), activation=A.softplus), L.Cauchy(2.0)),
    problem(lf.Architecture((3, 3), (2, 2), activation=A.gelu, padding="circular"), L.Logistic()),
    problem(lf.Dense((2, 2, 2, 1), activation=A.Power(3), bias=True), L.Huber(1.0), 0.2),
    problem(lf.Dense((2, 2, 1), activation=A.leaky_relu(0.3)), L.LogCosh(1.0)),
    problem(lf.Architecture(4, (2, 2), channels=(1, 2, 1)), L.Square(), 0.1),
]


@pytest.mark.parametrize("risk", NETWORKS, ids=lambda risk: repr(risk.network))
def test_enclosures_contain_the_gradient_and_the_hessian_of_jax(risk):
    rng, exponent = np.random.default_rng(3), 1
    n = risk.network.num_parameters
    vector, unit = rng.normal(size=n), 2.0**exponent
    balls = BallNetwork(plain_network(risk), exponent)
    with ctx.workprec(128):
        exact = [arb(float(x)) for x in vector / unit]
        gradient = [float(x.mid()) for x in balls.gradient(exact).entries()]
        hessian = [[float(x.mid()) for x in row] for row in balls.hessian(exact)]
        box = [x + arb(0, 1e-4) for x in exact]
        slopes, bends = balls.gradient(box).entries(), balls.hessian(box)
    slope, bend = derivatives(risk)(vector)
    np.testing.assert_allclose(gradient, unit * slope, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(hessian, unit**2 * bend, rtol=1e-10, atol=1e-12)
    for _ in range(5):
        slope, bend = derivatives(risk)(vector + unit * 1e-4 * rng.choice([-1, 1], size=n))
        entries = zip(
            (*slopes, *np.ravel(np.array(bends, object))), (*unit * slope, *unit**2 * bend.ravel()), strict=True
        )
        for ball, value in entries:
            assert below(ball) - 1e-12 <= value <= above(ball) + 1e-12


def test_conserved_forms_are_those_of_the_symmetry():
    nets = [
        lf.Architecture((4, 4), (2, 2), channels=(2, 3, 1), activation=A.Power(2)),
        lf.Architecture(9, (3, 2, 2), strides=(2, 1, 1), activation=A.relu),
        lf.Dense((3, 2, 2, 2), activation=A.Power(1.5), bias=True),
        lf.Dense((3, 1, 2)),
    ]
    for net in nets:
        risk, vector = problem(net), np.random.default_rng(0).normal(size=net.num_parameters)
        forms = plain_network(risk).conserved
        np.testing.assert_allclose(forms @ vector**2, risk.symmetry.conserved(jnp.asarray(vector)), rtol=1e-12)
    assert plain_network(problem(STUDENT)).conserved.shape == (0, 6)
    assert plain_network(problem(POWER, decay=0.1)).conserved.shape == (0, 6)


def test_minima_and_saddles_of_a_tanh_network_are_certified_with_the_index_of_numpy():
    risk = problem(STUDENT)
    points = critical_points(risk)
    assert {index for _, index in points} >= {0, 1}
    for index in (0, 1):
        vector = next(x for x, i in points if i == index)
        found = lf.certify(risk, tree(STUDENT, vector))
        assert (found.status, found.hessian_index, found.balancedness) == ("certified", index, ())
        with mpmath.workdps(50):
            exact = polished(risk, vector)
            distance = mpmath.norm([x - mpmath.mpf(float(y)) for x, y in zip(exact, vector, strict=True)])
            assert distance <= found.existence_radius < 1e-12
        others = [np.linalg.norm(x - vector) for x, _ in points if np.linalg.norm(x - vector) > 1e-3]
        assert 1e-4 < found.uniqueness_radius < min(others)
        assert np.isnan(found.trapping_radius) == (index > 0)
        assert ("flows that come within" in str(found)) == (index == 0)
        assert "balancedness" not in str(found)


def test_a_point_off_by_a_thousandth_gets_a_radius_that_reaches_the_critical_point_or_none():
    risk, rng = problem(STUDENT), np.random.default_rng(5)
    vector = next(x for x, i in critical_points(risk) if i == 0)
    statuses = set()
    for size in (1e-3, 1e-2, 0.1):
        for _ in range(3):
            step = rng.normal(size=vector.size)
            moved = vector + size * step / np.linalg.norm(step)
            found = lf.certify(risk, tree(STUDENT, moved))
            statuses.add(found.status)
            if found.status == "certified":
                assert size - 1e-12 <= found.existence_radius <= 1.001 * size
                assert found.uniqueness_radius == 0 or found.uniqueness_radius > size
            else:
                assert found.status == "inconclusive"
    assert statuses == {"certified", "inconclusive"}


def test_gradients_in_the_trapping_ball_of_a_tanh_network_point_away_from_the_minimum():
    risk, rng = problem(STUDENT), np.random.default_rng(6)
    vector = next(x for x, i in critical_points(risk) if i == 0)
    radius = lf.certify(risk, tree(STUDENT, vector)).trapping_radius
    for share in (0.1, 0.5, 1.0):
        for _ in range(50):
            step = rng.normal(size=vector.size)
            step *= share * radius / np.linalg.norm(step)
            assert derivatives(risk)(vector + step)[0] @ step > 0


@pytest.mark.slow
def test_flows_from_the_edge_of_the_trapping_ball_of_a_tanh_network_end_at_the_minimum():
    risk, rng = problem(STUDENT), np.random.default_rng(7)
    vector = next(x for x, i in critical_points(risk) if i == 0)
    step = rng.normal(size=vector.size)
    step *= 0.999 * lf.certify(risk, tree(STUDENT, vector)).trapping_radius / np.linalg.norm(step)
    flow = lf.gradient_flow(risk, tree(STUDENT, vector + step))
    assert int(flow.verdict) == lf.Verdict.CONVERGED
    np.testing.assert_allclose(np.concatenate([np.ravel(w) for w in jax.tree.leaves(flow.limit)]), vector, atol=1e-9)


def on_leaf(risk, start):
    """A critical point that conserves what `start` has, by Newton's method in the sense of least squares; or None."""
    forms, w = plain_network(risk).conserved, start
    for _ in range(60):
        slope, bend = derivatives(risk)(w)
        right = np.concatenate([slope, forms @ (w**2 - start**2) / 2])
        step = np.linalg.lstsq(np.concatenate([bend, forms * w]), right, rcond=None)[0]
        w = w - step * min(1, 1 / np.linalg.norm(step))
        if np.linalg.norm(step) < 1e-12:
            return w
    return None


def test_a_network_with_a_homogeneous_activation_is_certified_on_its_leaf():
    risk, rng, indices = problem(POWER, seed=2), np.random.default_rng(2), set()
    for number in range(8):
        w = on_leaf(risk, after_flow(risk, rng.normal(size=6)) if number % 2 else rng.normal(size=6))
        if w is None or (found := lf.certify(risk, tree(POWER, w))).status != "certified":
            continue
        eigenvalues = np.linalg.eigvalsh(derivatives(risk)(w)[1])
        assert np.sum(np.abs(eigenvalues) < 1e-8) == 2  # a direction of rescaling per hidden channel
        assert found.hessian_index == np.sum(eigenvalues < -1e-8)
        np.testing.assert_allclose(found.balancedness, risk.symmetry.conserved(jnp.asarray(w)), rtol=1e-12)
        if found.hessian_index in indices:
            continue
        indices.add(found.hessian_index)
        forms = 2 * plain_network(risk).conserved
        with mpmath.workdps(50):
            squares = [mpmath.mpf(float(x)) ** 2 for x in w]
            levels = [sum(float(f) * x for f, x in zip(form, squares, strict=True)) / 2 for form in forms]
            exact = polished(risk, w, forms, levels)
            distance = mpmath.norm([x - mpmath.mpf(float(y)) for x, y in zip(exact, w, strict=True)])
            assert distance <= found.existence_radius < 1e-10
    assert indices == {0, 1}
    with pytest.raises(lf.ArchitectureError, match=r"balancedness has shape \(1,\): this risk needs \(2,\)"):
        lf.certify(risk, tree(POWER, np.ones(6)), balancedness=[0.0])


def test_minima_with_weight_decay_are_isolated_balanced_and_certified():
    # all critical points are balanced: contracting grad L + lambda w = 0 with (w_1, -w_2) gives |w_1| = |w_2|
    arch = lf.Architecture(6, (2, 3))
    for loss in (L.Square(), L.Huber(0.5)):
        risk = lf.EmpiricalRisk(arch, loss, random_data(arch), weight_decay=0.05)
        minima = [(x, index) for x, index in critical_points(risk) if np.linalg.norm(x) > 1e-3]
        assert minima
        for vector, index in minima[:3]:
            found = lf.certify(risk, tree(arch, vector))
            assert (found.status, found.hessian_index, found.balancedness) == ("certified", index, ())
            assert found.uniqueness_radius > 1e-4
            assert np.linalg.norm(vector[:2]) == pytest.approx(np.linalg.norm(vector[2:]), rel=1e-9)


def test_the_origin_is_the_certified_minimum_under_strong_weight_decay():
    arch = lf.Architecture(6, (2, 2), channels=(1, 2, 1))
    risk = lf.EmpiricalRisk(arch, L.Square(), random_data(arch), weight_decay=10.0)
    found = lf.certify(risk, tree(arch, np.zeros(8)))
    assert (found.status, found.hessian_index) == ("certified", 0)
    assert found.trapping_radius > 0.1


def linear_minimum(loss, decay=0.0):
    """A minimum of the risk of two filters of two taps, by scipy, with its Hessian by finite differences of slopes."""
    rng = np.random.default_rng(4)
    windows = rng.normal(size=(12, 3))
    targets = windows @ np.convolve([1, 0.5], [0.7, -1]) + 0.4 * rng.standard_t(2, size=12)
    if isinstance(loss, L.Logistic | L.Exponential):
        targets = np.where(targets > 0.8 * rng.normal(size=12), 1.0, -1.0)
        targets[:3] *= -1  # not separable
    risk = lf.EmpiricalRisk(lf.Architecture(3, (2, 2)), loss, lf.Dataset(windows, targets[:, None]))

    def slope(w):
        a, b = w[:2], w[2:]
        outputs = windows @ np.convolve(a, b)
        signs = targets if isinstance(loss, L.Logistic | L.Exponential) else np.ones(12)
        arguments = targets * outputs if isinstance(loss, L.Logistic | L.Exponential) else outputs - targets
        pulled = windows.T @ (signs * np.asarray(loss.derivative(jnp.asarray(arguments)))) / 12
        return np.concatenate([np.correlate(pulled, b, "valid"), np.correlate(pulled, a, "valid")])

    w = integrate.solve_ivp(lambda _, w: -slope(w), (0, 100), [1.0, 0.4, 0.8, -0.9], "LSODA").y[:, -1]
    w = optimize.root(slope, w, method="lm", options={"xtol": 1e-14, "ftol": 1e-14}).x
    bend = np.array([(slope(w + 1e-6 * e) - slope(w - 1e-6 * e)) / 2e-6 for e in np.eye(4)])
    return risk, w, np.linalg.norm(slope(w)), np.linalg.eigvalsh((bend + bend.T) / 2)


@pytest.mark.parametrize(
    "loss",
    [
        L.Huber(0.5),
        L.Cauchy(0.5),
        L.Welsch(2.0),
        L.GemanMcClure(2.0),
        L.SmoothQuantile(0.3, 0.2),
        L.Logistic(),
        L.Exponential(),
    ],
    ids=str,
)
def test_limits_under_every_loss_are_certified_minima_of_linear_networks(loss):
    risk, w, size, eigenvalues = linear_minimum(loss)
    assert size < 1e-10
    found = lf.certify(risk, tree(risk.network, w))
    assert (found.status, found.hessian_index) == ("certified", 0)
    assert np.sum(eigenvalues > 1e-6) == 3  # all but the direction of rescaling
    assert found.existence_radius < 1e-8
    assert found.trapping_radius > 1e-3


def test_what_cannot_be_certified_says_why():
    wide = lf.Dense((4, 4, 1), activation=A.tanh, bias=True)
    cases = [
        (problem(wide), np.ones(25), "inconclusive", "25 parameters, and at most 20"),
        (problem(lf.Dense((2, 1), A.Custom(jnp.sin), bias=True)), np.ones(3), "inconclusive", "activation 'Custom'"),
        (problem(lf.Dense((2, 1, 1), A.relu)), np.zeros(3), "degenerate", "symmetry directions are dependent"),
        (problem(lf.Dense((2, 1, 1), A.relu)), np.array([0.0, 0.0, 1.0]), "inconclusive", "kink of the activation"),
        (problem(STUDENT), np.zeros(6), "degenerate", "singular"),
        (problem(STUDENT), np.full(6, np.nan), "inconclusive", "not finite"),
        (problem(STUDENT), np.arange(6.0), "inconclusive", "no critical point near"),
    ]
    for risk, vector, status, words in cases:
        found = lf.certify(risk, tree(risk.network, vector))
        assert (found.status, words in found.reason) == (status, True), found
        assert np.isnan(found.existence_radius)
    with pytest.raises(lf.RiskError, match="custom"):
        lf.certify(problem(STUDENT, L.Custom(jnp.square)), tree(STUDENT, np.ones(6)))
    with pytest.raises(lf.RiskError, match="minibatch"):
        lf.certify(problem(STUDENT).minibatch(jnp.arange(4)), tree(STUDENT, np.ones(6)))


def test_huber_is_certified_with_a_residual_at_its_kink():
    # L = (rho(ab - 3) + rho(ab))/2: for delta = 1.5 at ab = 1.5 both residuals are at the kink, where rho'' is 0 or 1
    risk = lf.EmpiricalRisk(
        lf.Architecture(1, (1, 1)), L.Huber(1.5), lf.Dataset(np.ones((2, 1)), np.array([[3.0], [0.0]]))
    )
    found = lf.certify(risk, (np.array([1.5]), np.array([1.0])))
    assert found.status == "inconclusive"  # of the slopes on both sides none is excluded, 0 + 0 among them
    # residuals a - y at a = 1: 1, 0, -1.5, with slopes 1, 0, -1 for delta = 1
    rows = lf.Dataset(np.ones((3, 1)), np.array([[0.0], [1.0], [2.5]]))
    risk = lf.EmpiricalRisk(lf.Architecture(1, (1,)), L.Huber(1.0), rows)
    found = lf.certify(risk, (np.array([1.0]),))
    assert (found.status, found.hessian_index) == ("certified", 0)
    assert found.existence_radius < 1e-15


def test_the_jets_of_the_reference_agree_with_jax():
    for risk in NETWORKS[2:4]:
        vector = np.random.default_rng(8).normal(size=risk.network.num_parameters)
        with mpmath.workdps(30):
            jet = risk_jet(risk, list(map(mpmath.mpf, vector)))
        slope, bend = derivatives(risk)(vector)
        np.testing.assert_allclose(np.array(jet.gradient, float), slope, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(np.array(jet.hessian, float), bend, rtol=1e-9, atol=1e-11)
