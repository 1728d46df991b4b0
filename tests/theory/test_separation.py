"""Margin losses on separable data: verdicts, margins against closed forms, and limits against the margin problem."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import minimize

import lcnn_flow as lf
from lcnn_flow.limits.verdict import Reason
from lcnn_flow.theory.separation import homogeneity

PAIR = lf.Architecture(6, (2, 3))
LOGISTIC, EXPONENTIAL = lf.losses.Logistic(), lf.losses.Exponential()


def separable(network, samples, key=0):
    """Labels by a planted network of the same kind."""
    data = lf.data.synthesize(jax.random.key(key), network, samples=samples)
    return data.replace(targets=jnp.where(data.targets > 0, 1.0, -1.0))


def starts(network, count=6):
    return jax.vmap(lambda k: lf.initializers.fan_in()(k, network))(jax.random.split(jax.random.key(1), count))


def one_of(batch, number):
    return jax.tree.map(lambda w: w[number], batch)


def outcome(flow):
    return lf.Verdict(int(flow.verdict)).name, Reason(int(flow.reason)).name


def numpy_margins(data):
    """Margins of the network (2, 3) and their derivative, from windows and polynomial products alone."""
    inputs, labels = np.asarray(data.inputs), np.asarray(data.targets)
    windows = np.stack([inputs[:, i : i + 4] for i in range(3)], axis=1)
    rows = (labels[..., None] * windows).reshape(-1, 4)

    def margins(w):
        first = np.stack([np.convolve(e, w[2:]) for e in np.eye(2)], axis=1)
        second = np.stack([np.convolve(w[:2], e) for e in np.eye(3)], axis=1)
        return rows @ np.convolve(w[:2], w[2:]), rows @ np.concatenate([first, second], axis=1)

    return margins


def along_the_flow(margins, start, until):
    """The path of the flow of the exponential loss, by the clock s = -log(L/L(0)), up to s = until."""

    def field(s, w):
        z, slope = margins(w)
        share = np.exp(np.min(z) - z)
        rise = share @ slope / np.sum(share)  # of -log L
        return rise / (rise @ rise)

    return solve_ivp(field, (0, until), start, method="LSODA", rtol=1e-10, atol=1e-12).y.T


def nearest_kkt_point(margins, direction):
    """Of: minimise |w|^2/2 subject to margins of at least 1, by sequential quadratic programming from a direction."""
    found = minimize(
        lambda w: w @ w / 2,
        direction / np.sqrt(np.min(margins(direction)[0])),
        jac=lambda w: w,
        constraints={"type": "ineq", "fun": lambda w: margins(w)[0] - 1, "jac": lambda w: margins(w)[1]},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert found.success
    return found.x


@pytest.mark.slow
def test_data_that_a_convolution_separates_let_filters_diverge_or_catch_them_in_a_spurious_minimum():
    data, batch = separable(PAIR, 5), starts(PAIR)
    risk = lf.EmpiricalRisk(PAIR, LOGISTIC, data)
    apart = lf.gradient_flow(risk, one_of(batch, 3))
    assert outcome(apart) == ("DIVERGED", "SEPARATES")
    assert int(apart.steps) < 100
    assert np.all(np.isnan(apart.limit[0]))
    assert float(apart.risk) < np.log(2) / (2 * 5)
    found = lf.theory.margin(risk, apart.final)
    assert found.separated
    assert float(jnp.min(found.margins)) > 0
    caught = lf.gradient_flow(risk, one_of(batch, 0))
    assert outcome(caught) == ("CONVERGED", "NONE")
    assert not lf.theory.margin(risk, caught.limit).separated
    curvature = np.linalg.eigvalsh(risk.hessian(jnp.concatenate(caught.limit)))
    assert abs(curvature[0]) < 1e-12 < curvature[1]  # one direction of rescaling
    labels = jnp.sign(jax.random.normal(jax.random.key(9), data.targets.shape))
    mixed = lf.EmpiricalRisk(PAIR, LOGISTIC, data.replace(targets=labels))
    for number in (0, 3):
        flow = lf.gradient_flow(mixed, one_of(batch, number))
        assert outcome(flow) == ("CONVERGED", "NONE")
        np.testing.assert_allclose(mixed.gradient(jnp.concatenate(flow.limit)), 0, atol=1e-13)


def test_the_direction_of_a_late_flow_is_that_of_a_point_of_the_margin_problem():
    data = separable(PAIR, 5)
    margins = numpy_margins(data)
    risk = lf.EmpiricalRisk(PAIR, EXPONENTIAL, data)
    start = np.concatenate(one_of(starts(PAIR), 3))
    path = along_the_flow(margins, start, 150.0)
    found = jax.jit(jax.vmap(lambda w: lf.theory.margin(risk, (w[:2], w[2:]))))(path)
    late = np.flatnonzero(found.separated)
    assert 0 < late[0] < len(path) / 2
    assert np.all(np.diff(found.smoothed[late]) > 0)
    assert np.all(found.growth[late] > 0)
    assert np.all(found.smoothed <= found.normalized)
    rate = np.gradient(np.log(found.smoothed[late]), np.log(np.linalg.norm(path[late], axis=1)))
    np.testing.assert_allclose(found.growth[late][5:-5], rate[5:-5], rtol=0.1)
    assert found.alignment[-1] > 0.9999
    direction = np.concatenate([w[-1] for w in found.direction])
    best = nearest_kkt_point(margins, direction)
    np.testing.assert_allclose(direction, best / np.linalg.norm(best), atol=0.01)
    np.testing.assert_allclose(found.normalized[-1], 1 / (best @ best), rtol=0.01)
    np.testing.assert_allclose(found.margins[-1].ravel(), margins(path[-1])[0], rtol=1e-12)


def test_weights_of_samples_count_in_the_smoothed_margin_and_samples_without_weight_do_not():
    net = lf.Dense((2, 1))
    inputs, labels = np.array([[1.0, 0.0], [-3.0, 0.0], [1.0, 1.0]]), np.array([[1.0], [-1.0], [-1.0]])
    risk = lf.EmpiricalRisk(net, EXPONENTIAL, lf.Dataset(inputs, labels, weights=np.array([3.0, 1.0, 0.0])))
    found = lf.theory.margin(risk, (np.array([[2.0, 0.0]]),))
    np.testing.assert_allclose(found.margins.ravel(), [2, 6, -2])
    np.testing.assert_allclose(found.normalized, 1)
    np.testing.assert_allclose(found.smoothed, -np.log(3 * np.exp(-2) + np.exp(-6)) / 2)
    np.testing.assert_allclose(np.ravel(found.direction[0]), [1, 0])
    rise = 2 * (3 * 1 * np.exp(-2) + 3 * np.exp(-6)) / (3 * np.exp(-2) + np.exp(-6)) / (2 * float(found.smoothed)) - 1
    np.testing.assert_allclose(found.growth, rise, rtol=1e-12)


def test_networks_are_homogeneous_of_the_degree_that_scaling_shows():
    act = lf.activations
    for net in (lf.Dense((2, 2, 1), activation=act.relu), lf.Dense((2, 2, 2, 1), activation=act.Power(2.0))):
        params = one_of(starts(net, 1), 0)
        x = jnp.ones(net.sample_shape)
        degree = homogeneity(net)
        assert degree is not None
        scaled = lf.apply(net, jax.tree.map(lambda w: 1.5 * w, params), x)
        np.testing.assert_allclose(scaled, 1.5**degree * lf.apply(net, params, x), rtol=1e-12)
    assert homogeneity(lf.Dense((2, 2, 1), activation=act.tanh)) is None
    assert homogeneity(lf.Dense((2, 2, 1), bias=True)) is None


def test_what_has_no_margin_is_named():
    data = separable(PAIR, 5)
    params = one_of(starts(PAIR), 0)
    with pytest.raises(lf.RiskError, match="Logistic"):
        lf.theory.margin(lf.EmpiricalRisk(PAIR, lf.losses.Square(), data), params)
    with pytest.raises(lf.RiskError, match="weight_decay"):
        lf.theory.margin(lf.EmpiricalRisk(PAIR, LOGISTIC, data, weight_decay=0.1), params)


@pytest.mark.slow
def test_ensembles_and_recorded_flows_separate_as_single_flows_do():
    data, batch = separable(PAIR, 5), starts(PAIR)
    risk = lf.EmpiricalRisk(PAIR, LOGISTIC, data)
    flows = lf.gradient_flow_ensemble(risk, batch)
    kinds = [lf.Verdict(int(v)).name for v in flows.verdict]
    assert kinds == ["CONVERGED", "CONVERGED", "CONVERGED", "DIVERGED", "DIVERGED", "CONVERGED"]
    flow = lf.gradient_flow(risk, one_of(batch, 3), times=lf.log_times(1e-2, 1e60, 32))
    assert outcome(flow) == ("DIVERGED", "SEPARATES")
    assert flow.trajectory is not None
    found = jax.vmap(lambda w: lf.theory.margin(risk, w))(flow.trajectory.params)
    settled = np.asarray(found.smoothed)[np.asarray(found.separated)]
    assert len(settled) > 20
    assert np.all(np.diff(settled) > 0)
    best = nearest_kkt_point(numpy_margins(data), np.concatenate([w[-1] for w in found.direction]))
    np.testing.assert_allclose(found.normalized[-1], 1 / (best @ best), rtol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    "network",
    [
        lf.Dense((3, 4, 1), activation=lf.activations.tanh, bias=True),
        lf.Dense((2, 3, 1), activation=lf.activations.Power(2.0)),
        lf.Architecture(6, (2, 3), channels=(1, 2, 2)),
    ],
    ids=["tanh", "square", "two outputs"],
)
def test_other_networks_diverge_where_they_separate_and_decay_holds_them(network):
    risk = lf.EmpiricalRisk(network, LOGISTIC, separable(network, 6, key=3))
    params = one_of(starts(network), 2)
    flow = lf.gradient_flow(risk, params)
    assert outcome(flow) == ("DIVERGED", "SEPARATES")
    decayed = lf.EmpiricalRisk(network, LOGISTIC, risk.data, weight_decay=1e-3)
    assert outcome(lf.gradient_flow(decayed, params))[0] in ("CONVERGED", "DEGENERATE")


@pytest.mark.slow
def test_a_flow_that_separates_part_of_its_data_is_undecided_and_claims_no_limit():
    """The second input separates the last two samples, the first two contradict each other: log t grows for ever."""
    inputs = np.array([[1.0, 0.0], [1.2, 0.0], [0.3, 1.0], [-0.2, 2.0]])
    data = lf.Dataset(inputs, np.array([[1.0], [-1.0], [1.0], [1.0]]))
    flow = lf.gradient_flow(lf.EmpiricalRisk(lf.Dense((2, 1)), LOGISTIC, data), (np.array([[0.1, 0.1]]),))
    assert outcome(flow) == ("UNDECIDED", "GROWS_SLOWLY")
    assert np.all(np.isnan(flow.limit[0]))
