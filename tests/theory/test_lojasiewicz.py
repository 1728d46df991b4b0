"""The Lojasiewicz exponent against closed-form trajectories and exponents known from the local normal form."""

from functools import cache

import jax
import numpy as np
import pytest
from problems import as_params, filter_problem

import lcnn_flow as lf
from lcnn_flow.theory import LojasiewiczFit, lojasiewicz_exponent

TIMES = lf.log_times(1e-4, 1e6, 800)


def trajectory(time, gradient_norm) -> lf.Trajectory:
    """A trajectory that carries only what the fit reads."""
    fields = dict.fromkeys(lf.Trajectory._fields)
    return lf.Trajectory(**{**fields, "time": np.asarray(time), "gradient_norm": np.asarray(gradient_norm)})  # type: ignore


def scalar_filters_to_zero(depth: int, time, start: float = 0.8):
    """(L, |grad L|) of L = (prod w)^2/2 from w_l = start: w(t) = (start^-(2N-2) + (2N-2) t)^(-1/(2N-2))."""
    power = 2 * depth - 2
    w = (start**-power + power * time) ** (-1 / power)
    return w ** (2 * depth) / 2, np.sqrt(depth) * w ** (2 * depth - 1)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_power_law_of_depth_n_at_a_zero_target_has_exponent_2n_minus_1_over_2n(depth):
    value, slope = scalar_filters_to_zero(depth, TIMES)
    fit = lojasiewicz_exponent(trajectory(TIMES, slope))
    assert fit.verdict == "asymptotic"
    assert fit.exponent == pytest.approx((2 * depth - 1) / (2 * depth), abs=1e-4)
    np.testing.assert_allclose(fit.gap[fit.fitted], value[fit.fitted], rtol=1e-3)  # L* = 0


@pytest.mark.parametrize("times", [np.linspace(0, 12, 400), lf.log_times(1e-3, 1e5, 400)], ids=["linear", "log"])
def test_exponential_convergence_of_two_scalar_filters_has_exponent_one_half(times):
    # u = w_1 w_2, w_1 = w_2: u(t) = y/(1 + (y/u0 - 1) e^{-2qyt}), |grad L| = q |u - y| sqrt(2u)
    q, y, u0 = 1.3, 0.9, 0.04
    decay = (y / u0 - 1) * np.exp(-2 * q * y * times)
    u = y / (1 + decay)
    fit = lojasiewicz_exponent(trajectory(times, q * u * decay * np.sqrt(2 * u) + 1e-15))
    assert fit.verdict == "asymptotic"
    assert fit.exponent == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("unit", [1e-100, 1e100])
def test_exponent_does_not_depend_on_units(unit):
    slope = scalar_filters_to_zero(2, TIMES)[1]
    plain, scaled = (lojasiewicz_exponent(trajectory(t, g)) for t, g in ((TIMES, slope), (TIMES * unit, slope / unit)))
    assert scaled.exponent == pytest.approx(plain.exponent, rel=1e-9)


def test_a_passage_near_a_saddle_does_not_enter_the_fit():
    # two small gradients: 1e-3 at the saddle on the way, then exponential decay
    time = np.linspace(0, 60, 1200)
    slope = np.where(time < 20, np.exp(-0.7 * time) + 1e-3, np.exp(-0.5 * (time - 20)))
    fit = lojasiewicz_exponent(trajectory(time, slope))
    assert fit.verdict == "asymptotic"
    assert fit.exponent == pytest.approx(0.5, abs=1e-3)
    assert not np.any(fit.fitted[time < 20])


@pytest.mark.parametrize(
    ("time", "slope", "reason"),
    [
        (TIMES[:300], scalar_filters_to_zero(2, TIMES[:300])[1], "decades"),
        (TIMES[::100], scalar_filters_to_zero(2, TIMES[::100])[1], "more times"),
        (TIMES, np.where(TIMES < 1e3, scalar_filters_to_zero(2, TIMES)[1], np.nan), "did not reach"),
        (TIMES, np.zeros_like(TIMES), "zero throughout"),
        (TIMES, scalar_filters_to_zero(2, TIMES)[1] * np.exp(0.1 * np.sin(np.arange(800.0))), "residual"),
        (TIMES, 1.1 + np.sin(np.arange(800.0)), "more times"),
    ],
    ids=["cut short", "few points", "diverged", "critical", "noisy", "no decay"],
)
def test_trajectories_without_an_asymptotic_law_are_not_asymptotic(time, slope, reason):
    fit = lojasiewicz_exponent(trajectory(time, slope))
    assert fit.verdict == "not asymptotic"
    assert not fit.asymptotic
    assert reason in str(fit.explanation)


def test_batches_keep_their_axes_and_agree_with_single_trajectories():
    slopes = np.stack([[scalar_filters_to_zero(depth, TIMES)[1]] for depth in (2, 3)])
    times = np.broadcast_to(TIMES, slopes.shape)
    fit = lojasiewicz_exponent(trajectory(times, slopes))
    assert isinstance(fit, LojasiewiczFit)
    assert np.shape(fit.exponent) == np.shape(fit.verdict) == (2, 1)
    assert fit.gap.shape == fit.fitted.shape == (2, 1, 800)
    single = lojasiewicz_exponent(trajectory(TIMES, slopes[1, 0]))
    assert np.asarray(fit.exponent)[1, 0] == single.exponent
    assert np.asarray(fit.verdict)[1, 0] == single.verdict


def test_a_flow_without_times_is_refused_with_the_fix():
    with pytest.raises(lf.FlowError, match="times=log_times"):
        lojasiewicz_exponent(None)


@cache
def pair_of_filters(target: tuple) -> lf.Trajectory:
    """The flow of two filters of two taps with the square loss and P = I."""
    start = as_params([[1.3, 0.7], [0.7, 1.3]])
    flow = lf.gradient_flow(filter_problem((2, 2), target), start, times=TIMES, rtol=1e-10, max_steps=20000)
    assert flow.trajectory is not None
    return flow.trajectory


@pytest.mark.parametrize(
    ("target", "exponent"),
    [((1, 2, 1), 0.75), ((1, 3, 1), 0.5), ((1, 0, 1), 0.5)],
    ids=["double root", "attainable", "not attainable"],
)
def test_exponent_is_three_quarters_at_a_double_root_and_one_half_elsewhere(target, exponent):
    fit = lojasiewicz_exponent(pair_of_filters(target))
    assert fit.verdict == "asymptotic"
    assert fit.exponent == pytest.approx(exponent, abs=5e-3)


@pytest.mark.parametrize("target", [(1, 3, 1), (1, 0, 1)])
def test_a_computed_trajectory_cut_short_is_not_asymptotic(target):
    full = pair_of_filters(target)
    fit = lojasiewicz_exponent(trajectory(full.time[:320], full.gradient_norm[:320]))  # up to t = 1
    assert fit.verdict == "not asymptotic"


@pytest.mark.slow
def test_l4_loss_at_a_double_root_has_exponent_seven_eighths():
    square, root = filter_problem((2, 2), (1, 2, 1)), 3**0.25
    data = lf.Dataset(root * np.eye(3), root * np.array([[1.0], [2.0], [1.0]]))
    risk = lf.EmpiricalRisk(square.arch, lf.losses.Lp(4.0), data)  # sum of r^4/4, without the mean
    start = as_params([[1.3, 0.7], [0.7, 1.3]])
    flow = lf.gradient_flow(risk, start, times=lf.log_times(1e-4, 1e9, 400), rtol=1e-10, max_steps=20000)
    fit = lojasiewicz_exponent(flow.trajectory)
    assert fit.asymptotic
    assert fit.exponent == pytest.approx(0.875, abs=5e-3)


@pytest.mark.slow
def test_a_triple_root_has_exponent_three_quarters_or_is_said_to_be_slow():
    risk = filter_problem((2, 2, 2), (1, 3, 3, 1))
    start = as_params([[1.3, 0.7], [0.7, 1.3], [1.1, 0.8]])
    flow = lf.gradient_flow(risk, start, times=lf.log_times(1e-4, 1e6, 400), rtol=1e-10, max_steps=20000)
    fit = lojasiewicz_exponent(flow.trajectory)
    assert not fit.asymptotic or fit.exponent == pytest.approx(0.75, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_computed_flow_of_depth_n_to_a_zero_target_has_exponent_2n_minus_1_over_2n(depth):
    risk = filter_problem((1,) * depth, (0,))
    start = as_params([[0.8]] * depth)
    flow = lf.gradient_flow(risk, start, times=lf.log_times(1e-4, 1e6, 400), rtol=1e-10, max_steps=20000)
    fit = lojasiewicz_exponent(flow.trajectory)
    assert fit.asymptotic
    assert fit.exponent == pytest.approx((2 * depth - 1) / (2 * depth), abs=5e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "least"), [(100, 0), (400, 60)])
def test_generic_flows_are_given_one_half_or_no_exponent(count, least):
    arch = lf.Architecture(12, (3, 2))
    rng = np.random.default_rng(0)
    data = lf.Dataset(rng.normal(size=(12, 12)), rng.normal(size=(12, 9)))
    risk = lf.EmpiricalRisk(arch, lf.losses.Square(), data)
    starts = lf.initializers.gaussian(0.7)(jax.random.split(jax.random.key(0), 64), arch)
    for rtol in (1e-6, 1e-10):
        flows = lf.gradient_flow_ensemble(
            risk, starts, times=lf.log_times(1e-4, 1e6, count), rtol=rtol, max_steps=20000
        )
        fit = lojasiewicz_exponent(flows.trajectory)
        np.testing.assert_allclose(np.asarray(fit.exponent)[fit.asymptotic], 0.5, rtol=0, atol=5e-3)
    assert np.sum(fit.asymptotic) >= least
