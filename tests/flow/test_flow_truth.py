"""Flows against references: 50-digit Taylor integration, closed forms, and an independent integrator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import as_params, filter_problem, truth, truth_problem
from scipy.integrate import solve_ivp

import lcnn_flow as lf
from lcnn_flow.network.parameters import ravel

FLOWS = {flow["name"]: flow for flow in truth("flows")}
WITHOUT_TIMES = [pytest.param(name, marks=pytest.mark.slow if name.startswith("F8") else ()) for name in FLOWS]
AT_TIMES = [pytest.param(name, marks=pytest.mark.slow if name.startswith(("F6", "F8")) else ()) for name in FLOWS]
"""F6 and F8 need programs of their own, and unbalanced starts are those of tests/dynamics too."""


@pytest.mark.parametrize("name", AT_TIMES)
def test_filters_at_their_times_agree_to_1e_minus_7_and_limits_to_1e_minus_11(name):
    case = FLOWS[name]
    risk, start = truth_problem(case["case"]), as_params(case["initial_filters"])
    flow = lf.gradient_flow(risk, start, times=case["times"], rtol=1e-10)
    for layer, filters in enumerate(flow.trajectory.params):
        expected = [at_time[layer] for at_time in case["filters"]]
        np.testing.assert_allclose(filters, expected, rtol=0, atol=1e-7)
    for limit, expected in zip(flow.limit, case["limit_filters"], strict=True):
        np.testing.assert_allclose(limit, expected, rtol=0, atol=1e-11)
    np.testing.assert_allclose(risk(flow.limit), case["limit_risk"], rtol=1e-13)


@pytest.mark.parametrize("name", WITHOUT_TIMES)
def test_without_times_the_limit_and_its_kind_are_the_same(name):
    case = FLOWS[name]
    flow = lf.gradient_flow(truth_problem(case["case"]), as_params(case["initial_filters"]))
    wanted = lf.Verdict.AT_SADDLE if case["limit_kind"] == "saddle" else lf.Verdict.CONVERGED
    assert flow.verdict == wanted
    assert flow.hessian_index == case["limit_index"]
    assert bool(flow.sound) == (wanted == lf.Verdict.CONVERGED)
    for limit, expected in zip(flow.limit, case["limit_filters"], strict=True):
        np.testing.assert_allclose(limit, expected, rtol=0, atol=1e-11)


def test_default_tolerance_with_times_gives_the_filters_to_1e_minus_4():
    case = FLOWS["F2_spurious_22s1"]
    flow = lf.gradient_flow(truth_problem(case["case"]), as_params(case["initial_filters"]), times=case["times"])
    for layer, filters in enumerate(flow.trajectory.params):
        np.testing.assert_allclose(filters, [at_time[layer] for at_time in case["filters"]], rtol=0, atol=1e-4)


def one_weight_a_layer(depth: int, target: float, weight: float) -> lf.EmpiricalRisk:
    """L = weight (u - target)^2 / 2, u the product of the layers' single weights."""
    root = np.sqrt(weight)
    data = lf.Dataset(np.full((1, 1), root), np.full((1, 1), root * target))
    return lf.EmpiricalRisk(lf.Architecture(1, (1,) * depth), lf.losses.Square(), data)


@pytest.mark.parametrize(("q", "y", "u0"), [(1.3, 0.9, 0.04), (0.7, -1.1, -0.3)])
def test_balanced_two_layer_weights_follow_the_logistic_curve(q, y, u0):
    a = np.sqrt(abs(u0))
    times = np.array([0.5, 1.0, 3.0])
    start = as_params([[a], [np.copysign(a, u0)]])
    flow = lf.gradient_flow(one_weight_a_layer(2, y, q), start, times=times, rtol=1e-12)
    exact = y / (1 + (y / u0 - 1) * np.exp(-2 * q * abs(y) * times))
    np.testing.assert_allclose(flow.trajectory.end_to_end_filter[:, 0], exact, rtol=0, atol=1e-9)
    if q == 1.3:
        np.testing.assert_allclose(flow.trajectory.end_to_end_filter[-1, 0], 0.8830305822, atol=1e-9)


def test_balanced_weights_of_the_wrong_sign_flow_to_the_saddle_at_zero():
    start, times = as_params([[0.5], [-0.5]]), [1.0, 10.0, 100.0]  # as many as above: the same program
    flow = lf.gradient_flow(one_weight_a_layer(2, 0.9, 1.3), start, times=times, rtol=1e-12)
    assert flow.verdict == lf.Verdict.AT_SADDLE
    assert flow.hessian_index == 1
    np.testing.assert_allclose(ravel(flow.limit), 0, atol=1e-10)


@pytest.mark.parametrize(
    ("depth", "risk"), [(2, 1.248049e-7), (3, 1.974615e-6), pytest.param(4, 4.582125e-6, marks=pytest.mark.slow)]
)
def test_zero_targets_give_the_power_law_and_a_degenerate_limit(depth, risk):
    start = as_params([[0.8]] * depth)
    flow = lf.gradient_flow(one_weight_a_layer(depth, 0.0, 1.0), start, times=[10.0, 100.0, 1000.0], rtol=1e-12)
    power = 2 * depth - 2
    exact = (0.8**-power + power * np.array([10.0, 100.0, 1000.0])) ** (-1 / power)
    np.testing.assert_allclose(flow.trajectory.params[0][:, 0], exact, rtol=0, atol=1e-9)
    np.testing.assert_allclose(flow.trajectory.risk[2], risk, rtol=1e-6)
    assert flow.verdict == lf.Verdict.DEGENERATE
    np.testing.assert_allclose(flow.growth_rate, -1 / power, rtol=1e-3)


def test_unbalanced_and_deep_products_obey_their_scalar_equations():
    times = np.array([0.3, 1.0, 2.5])
    q, y = 0.8, 1.2
    unbalanced = as_params([[1.1], [0.2]])
    c = 1.1**2 - 0.2**2
    deep = as_params([[0.7]] * 3)
    cases = [
        (unbalanced, 2, lambda t, u: -q * (u - y) * np.sqrt(c**2 + 4 * u**2)),
        (deep, 3, lambda t, u: -3 * q * np.abs(u) ** (4 / 3) * (u - y)),
    ]
    for start, depth, field in cases:
        u0 = float(np.prod([w[0] for w in start]))
        exact = solve_ivp(field, (0, 2.5), [u0], method="DOP853", t_eval=times, rtol=1e-13, atol=1e-14).y[0]
        flow = lf.gradient_flow(one_weight_a_layer(depth, y, q), start, times=times, rtol=1e-12)
        np.testing.assert_allclose(flow.trajectory.end_to_end_filter[:, 0], exact, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param(lf.losses.PseudoHuber(0.5), marks=pytest.mark.slow),
        lf.losses.Lp(1.5),
        pytest.param(lf.losses.GeneralizedHuber(2.0, 0.5), marks=pytest.mark.slow),
    ],
    ids=lambda x: x.name,
)
def test_other_losses_agree_with_an_independent_integrator(loss):
    arch = lf.Architecture(6, (3, 2), (1, 1))
    data = lf.data.synthesize(jax.random.key(4), arch, samples=9, noise=0.4)
    start = lf.initializers.gaussian(0.6)(jax.random.key(5), arch)
    x, y = np.asarray(data.inputs), np.asarray(data.targets)
    windows = np.lib.stride_tricks.sliding_window_view(x, 4, axis=1).reshape(-1, 4)

    def slope(r):
        if loss.name == "pseudo_huber":
            return r / np.sqrt(1 + (r / 0.5) ** 2)
        if loss.name == "lp":
            return np.sign(r) * np.abs(r) ** 0.5
        return 2 * np.sinh(2 * r) / (2 * np.cosh(2 * r) + 0.5)

    def field(t, w):
        v = np.convolve(w[:3], w[3:])
        g = windows.T @ slope(windows @ v - y.ravel()) / 9
        return -np.concatenate([np.correlate(g, w[3:], "valid"), np.correlate(g, w[:3], "valid")])

    times = np.array([0.1, 1.0, 10.0])
    start_vector = np.asarray(ravel(start))
    exact = solve_ivp(field, (0, 10), start_vector, method="Radau", t_eval=times, rtol=1e-11, atol=1e-12).y.T
    flow = lf.gradient_flow(lf.EmpiricalRisk(arch, loss, data), start, times=times, rtol=1e-9)
    vectors = np.concatenate(flow.trajectory.params, axis=1)
    np.testing.assert_allclose(vectors, exact, rtol=0, atol=1e-7)


def test_energy_identity_conservation_and_monotone_risk_hold_along_the_flow():
    arch = lf.Architecture(12, (3, 2, 3), (1, 2, 1))
    data = lf.data.synthesize(jax.random.key(0), arch, samples=20, noise=0.2)
    risk = lf.EmpiricalRisk(arch, lf.losses.Square(), data)
    start = lf.initializers.gaussian(0.8)(jax.random.key(1), arch)
    times = lf.log_times(1e-3, 1e3, 60)
    path = lf.gradient_flow(risk, start, times=times, rtol=1e-9).trajectory
    np.testing.assert_allclose(path.energy_defect, 0, rtol=0, atol=1e-8 * float(risk(start)))
    h = lf.theory.balancedness(arch, start)
    np.testing.assert_allclose(path.balancedness, np.broadcast_to(h, (60, 2)), rtol=0, atol=1e-8)
    assert np.all(np.diff(path.risk) <= 1e-14 * float(risk(start)))
    assert np.all(np.diff(path.path_length) >= -1e-9)
    distance = np.linalg.norm(np.concatenate([a[-1] - b for a, b in zip(path.params, start, strict=True)]))
    assert distance <= path.path_length[-1]
    squares = np.stack([np.sum(np.asarray(w) ** 2, axis=1) for w in path.params], axis=1)
    np.testing.assert_allclose(path.squared_norms, squares, rtol=1e-14)


@pytest.mark.slow
def test_any_diffrax_solver_reaches_the_same_limit():
    import diffrax

    case = FLOWS["F2_spurious_22s1"]
    risk, start = truth_problem(case["case"]), as_params(case["initial_filters"])
    flow = lf.gradient_flow(risk, start, solver=diffrax.Kvaerno5(), rtol=1e-6)
    assert flow.verdict == lf.Verdict.CONVERGED
    for limit, expected in zip(flow.limit, case["limit_filters"], strict=True):
        np.testing.assert_allclose(limit, expected, rtol=0, atol=1e-11)


@pytest.mark.slow
def test_conservation_holds_far_along_a_slow_valley():
    risk = filter_problem((2, 2), (1, 1, 0), strides=(2, 1), rows=(1, 2, 3))
    start = (jnp.array([1.0, 0.5]), jnp.array([1.0, 0.5]))
    path = lf.gradient_flow(risk, start, times=[1e3, 1e6], rtol=1e-8, max_time=1.1e6).trajectory
    np.testing.assert_allclose(path.balancedness[:, 0], 0, atol=1e-10)
    assert abs(float(path.risk[1]) * 2 * (6e6) ** (2 / 3) - 1) < 1e-3
