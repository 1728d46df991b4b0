"""Verdicts: every one of them on a problem whose end is known, and unchanged by units."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import as_params, filter_problem, random_params, random_problem

import lcnn_flow as lf
from lcnn_flow.network.parameters import ravel

START = (jnp.array([1.3, 0.7]), jnp.array([0.7, 1.2]))
VALLEY = (jnp.array([1.0, 0.5]), jnp.array([1.0, 0.5]))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_filters_that_grow_like_a_power_of_time_are_diverged_with_their_exponent(scale):
    risk = filter_problem((2, 2), (1, 1, 0), strides=(2, 1), rows=(1, 2, 3), scale=scale)
    flow = lf.gradient_flow(risk, VALLEY)
    assert flow.verdict == lf.Verdict.DIVERGED
    np.testing.assert_allclose(flow.growth_rate, 1 / 6, rtol=0.01)
    assert np.all(np.isnan(ravel(flow.limit)))


@pytest.mark.slow
def test_growth_that_is_still_settling_is_followed_until_its_exponent_stands():
    # tap 0 unseen and noisy targets: along the valley the first taps grow like t^(1/4)
    arch = lf.Architecture(6, (2, 2), (2, 1))
    unseen, target = lf.data.MissingPatches((0,)), lf.data.Filter(jnp.array([1.0, 1.0, 1.0, 0.0]))
    data = lf.data.synthesize(jax.random.key(1), arch, samples=16, inputs=unseen, targets=target, noise=0.1)
    key = jax.random.fold_in(jax.random.key(0), 2)
    flow = lf.gradient_flow(lf.EmpiricalRisk(arch, lf.losses.Square(), data), lf.initializers.gaussian(0.7)(key, arch))
    assert flow.verdict == lf.Verdict.DIVERGED
    np.testing.assert_allclose(flow.growth_rate, 1 / 4, rtol=0.02)


@pytest.mark.parametrize("polish", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_target_on_the_boundary_of_the_attainable_filters_is_degenerate(polish):
    risk = filter_problem((2, 2), (1, 2, 1))  # the double root: Hessian singular
    flow = lf.gradient_flow(risk, START, polish=polish)
    assert flow.verdict == lf.Verdict.DEGENERATE
    assert flow.gradient_norm <= 1e-3 * flow.gradient_tolerance
    assert np.all(np.isfinite(ravel(flow.limit)))
    assert not flow.sound


@pytest.mark.parametrize("data", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("between", [1e-3, 1.0, 1e3])
def test_units_of_data_and_rescaling_between_layers_change_no_verdict(data, between):
    risk = filter_problem((2, 2), (1, 3, 1), scale=data)
    flow = lf.gradient_flow(risk, (START[0] * between, START[1] / between))
    assert flow.verdict == lf.Verdict.CONVERGED
    assert bool(flow.sound)
    np.testing.assert_allclose(lf.end_to_end_filter(risk.arch, flow.limit), [1, 3, 1], rtol=1e-11)


@pytest.mark.parametrize(
    "loss",
    [lf.losses.Square(), pytest.param(lf.losses.PseudoHuber(1.0), marks=pytest.mark.slow)],
    ids=lambda loss: loss.name,
)
def test_one_sample_converges_to_a_limit_that_is_not_isolated(loss):
    arch = lf.Architecture(3, (2, 2))
    data = lf.Dataset(np.array([[0.4, -1.1, 0.7]]), np.ones((1, 1)))
    risk = lf.EmpiricalRisk(arch, loss, data)
    flow = lf.gradient_flow(risk, START)
    assert flow.verdict == lf.Verdict.CONVERGED
    assert not flow.limit_is_isolated
    assert flow.nullity == 2  # 4 parameters, less one symmetry, less the one equation
    assert risk(flow.limit) < 1e-25


def test_residuals_that_vanish_without_curvature_make_a_degenerate_limit():
    # one equation for three taps, fitted exactly by l_4: rho'' = 0 there, so neither a minimum nor a saddle is seen
    data = lf.Dataset(np.array([[0.4, -1.1, 0.7]]), np.ones((1, 1)))
    risk = lf.EmpiricalRisk(lf.Architecture(3, (2, 2)), lf.losses.Lp(4.0), data)
    flow = lf.gradient_flow(risk, as_params([[1.3, 0.7], [0.7, 1.2]]))
    assert flow.verdict == lf.Verdict.DEGENERATE
    assert not flow.limit_is_isolated


def test_a_manifold_of_minimisers_is_not_taken_for_an_isolated_limit():
    inputs = np.array([[0.1, -0.1, 0.6, 0.1, -0.5], [0.4, 1.3, 0.9, -0.7, -1.3], [-0.6, 0, -2.3, -0.2, -1.2]])
    data = lf.Dataset(inputs, np.array([[-0.7], [-0.5], [-0.3]]))  # three equations, four dimensions across symmetries
    risk = lf.EmpiricalRisk(lf.Architecture(5, (3, 2), (2, 1)), lf.losses.PseudoHuber(1.0), data)
    flow = lf.gradient_flow(risk, as_params([[0.3, 0.8, -0.1], [1.1, -0.5]]))
    assert flow.verdict == lf.Verdict.CONVERGED
    assert (flow.nullity, bool(flow.limit_is_isolated)) == (1, False)
    assert lf.certify(risk, flow.limit).status == "degenerate"


def test_channels_converge_along_their_gauge_group():
    arch = lf.Architecture(3, (2, 2), channels=(1, 2, 1))
    risk = random_problem(arch, lf.losses.Square(), samples=20)
    flow = lf.gradient_flow(risk, random_params(1, arch, std=0.5))
    assert flow.verdict == lf.Verdict.CONVERGED
    assert not flow.limit_is_isolated
    assert np.linalg.norm(risk.gradient(ravel(flow.limit))) < 1e-13
    best = np.linalg.solve(risk.filter_risk.gram, risk.filter_risk.moment[0])
    np.testing.assert_allclose(lf.end_to_end_filter(arch, flow.limit)[0, 0], best, rtol=1e-9)


def test_a_start_at_the_saddle_stays_there_and_is_not_called_converged():
    flow = lf.gradient_flow(filter_problem((2, 2), (1, 3, 1)), (jnp.zeros(2), jnp.zeros(2)))
    assert flow.verdict == lf.Verdict.AT_SADDLE
    assert flow.steps == 0
    assert flow.hessian_index == 2


def test_a_small_gradient_near_a_saddle_is_left_behind():
    case = filter_problem((2, 2), (1, 3, 1))
    flow = lf.gradient_flow(case, (1e-4 * START[0], 1e-4 * START[1]), gradient_atol=1e-3)
    assert flow.verdict == lf.Verdict.CONVERGED
    assert case(flow.limit) < 1e-25


def limited(start=START, max_time=1e9, norm_bound=1e9):
    """A flow of at most 5 steps a round, and with limits of time and norm: one program for all tests of limits."""
    risk = filter_problem((2, 2), (1, 3, 1))
    return lf.gradient_flow(risk, start, max_time=max_time, max_steps=5, norm_bound=norm_bound)


def test_limits_of_time_and_steps_are_named():
    assert limited(max_time=0.05).verdict == lf.Verdict.TIME_LIMIT
    flow = limited()
    assert flow.verdict == lf.Verdict.STEP_LIMIT
    assert np.all(np.isnan(ravel(flow.limit)))
    assert np.all(np.isfinite(ravel(flow.final)))


def test_norm_bound_and_missing_numbers_are_named():
    assert limited(norm_bound=2.1).verdict == lf.Verdict.DIVERGED
    broken = lf.gradient_flow(filter_problem((2, 2), (1, 3, 1)), (jnp.array([jnp.nan, 1.0]), START[1]))
    assert broken.verdict == lf.Verdict.NOT_FINITE


def recorded(stop: float, rtol: float) -> lf.Flow:
    """A flow of at most 40 steps a round that is seen at 30 times: one program for both tests."""
    times = lf.log_times(1e-3, stop, 30)
    return lf.gradient_flow(filter_problem((2, 2), (1, 3, 1)), START, times=times, max_steps=40, rtol=rtol)


def test_an_unfinished_trajectory_is_nan_only_after_valid_until():
    flow = recorded(10, 1e-10)
    assert flow.verdict == lf.Verdict.STEP_LIMIT
    path = flow.trajectory
    reached = path.time <= float(path.valid_until)
    assert 0 < reached.sum() < 30
    for values in jax.tree.leaves(path._replace(valid_until=None, time=None)):
        finite = np.isfinite(np.asarray(values).reshape(30, -1)).all(axis=1)
        np.testing.assert_array_equal(finite, reached)


def test_integration_reaches_the_last_time_even_when_the_gradient_is_small():
    flow = recorded(1e5, 1e-2)
    assert float(flow.time) >= 1e5
    assert np.all(np.isfinite(flow.trajectory.risk))


def test_float32_flows_converge_at_their_own_tolerances():
    double = filter_problem((2, 2), (1, 3, 1)).data
    data = lf.Dataset(double.inputs.astype(jnp.float32), double.targets.astype(jnp.float32))
    risk = lf.EmpiricalRisk(lf.Architecture(3, (2, 2)), lf.losses.Square(), data)
    flow = lf.gradient_flow(risk, tuple(w.astype(jnp.float32) for w in START))
    assert flow.verdict == lf.Verdict.CONVERGED
    assert all(w.dtype == jnp.float32 for w in flow.limit)
    np.testing.assert_allclose(lf.end_to_end_filter(risk.arch, flow.limit), [1, 3, 1], rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rtol": 1e-18}, "rtol = 1e-18: write a number at least"),
        ({"rtol": float("nan")}, "rtol = nan"),
        ({"gradient_rtol": 1e-15}, "cannot be resolved in float64"),
        ({"max_steps": 0}, "max_steps = 0"),
        ({"max_time": -1.0}, "max_time = -1.0"),
        ({"times": [1.0, 0.5]}, "strictly increasing"),
        ({"times": [[1.0]]}, "vector of increasing times"),
        ({"times": [1.0, 10.0], "max_time": 5.0}, "raise max_time"),
        ({"unsound_derivative": "none"}, "'nan' or 'zero'"),
    ],
)
def test_options_that_make_no_sense_are_refused_with_the_fix(options, message):
    with pytest.raises(lf.FlowError, match=message):
        lf.gradient_flow(filter_problem((2, 2), (1, 3, 1)), START, **options)


def test_parameters_of_another_shape_are_refused():
    with pytest.raises(lf.ArchitectureError, match="this architecture needs"):
        lf.gradient_flow(filter_problem((2, 2), (1, 3, 1)), (jnp.ones(3), jnp.ones(2)))
    with pytest.raises(lf.FlowError, match="floating-point"):
        lf.gradient_flow(filter_problem((2, 2), (1, 3, 1)), (jnp.ones(2, int), jnp.ones(2, int)))


@pytest.mark.slow
def test_explicit_solvers_stop_at_a_loose_gradient_tolerance():
    flow = lf.gradient_flow(
        filter_problem((2, 2), (1, 3, 1)), START, solver=diffrax.Tsit5(), rtol=1e-6, gradient_rtol=1e-5
    )
    assert flow.verdict == lf.Verdict.CONVERGED


def test_summary_counts_and_explains():
    risk = filter_problem((2, 2), (1, 3, 1))
    flows = [lf.gradient_flow(risk, tuple(size * w for w in START)) for size in (1, 0)]
    text = repr(lf.summary(jax.tree.map(lambda *x: jnp.stack(x), *flows)))
    assert "2 flows" in text
    assert "1  CONVERGED" in text
    assert "1  AT_SADDLE" in text
    assert "negative curvature" in text


def test_verdict_codes_are_frozen():
    assert {v.name: int(v) for v in lf.Verdict} == {
        "CONVERGED": 0,
        "AT_SADDLE": 1,
        "DEGENERATE": 2,
        "DIVERGED": 3,
        "TIME_LIMIT": 4,
        "STEP_LIMIT": 5,
        "NOT_FINITE": 6,
        "UNDECIDED": 7,
    }
