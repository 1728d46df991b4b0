"""Statements that look right at a small gradient and are not: each problem has a known end, or one that is bounded."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from problems import as_params, filter_problem
from reference import ReferenceRisk, reference_limit

import lcnn_flow as lf
from lcnn_flow.dynamics.settings import flow_settings
from lcnn_flow.limits.verdict import REASONS, Reason

ARCH = lf.Architecture(5, (2, 2))
START = as_params([[1.3, 0.7], [0.7, 1.3]])
WITHHELD = (lf.Verdict.DEGENERATE, lf.Verdict.TIME_LIMIT, lf.Verdict.STEP_LIMIT, lf.Verdict.UNDECIDED)


def windows(inputs: np.ndarray) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(inputs, 3, axis=1).reshape(-1, 3)


def near_constant(size: float, noise: float = 0.0, dtype=float) -> lf.EmpiricalRisk:
    """Inputs 1 + size * (something): the windows are nearly equal; targets of the filter (1, 3, 1)."""
    inputs = (1 + size * np.cos(np.arange(20.0) ** 2)).reshape(4, 5)
    targets = windows(inputs) @ [1, 3, 1] + noise * np.sin(1.7 * np.arange(12))
    data = lf.Dataset(inputs.astype(dtype), targets.reshape(4, 3).astype(dtype))
    return lf.EmpiricalRisk(ARCH, lf.losses.Square(), data)


@pytest.mark.parametrize("size", [2e-5, 5e-6, 1e-6])
def test_with_nearly_equal_windows_a_flow_converges_to_the_limit_or_is_not_said_to(size):
    flow = lf.gradient_flow(near_constant(size), START)
    assert flow.verdict in (lf.Verdict.CONVERGED, *WITHHELD)
    if flow.verdict == lf.Verdict.CONVERGED:
        np.testing.assert_allclose(lf.end_to_end_filter(ARCH, flow.limit), [1, 3, 1], atol=1e-6)
    if size == 2e-5:  # cond P = 1.6e5: what P tells, and P^T P does not
        assert flow.verdict == lf.Verdict.CONVERGED


def test_a_limit_far_along_a_valley_is_not_taken_for_where_the_flow_is():
    # least squares are at v = (313, -731, 424), and the flow has not got there at t = 2e9
    flow = lf.gradient_flow(near_constant(1e-6, noise=0.01), START)
    assert flow.verdict in WITHHELD


@pytest.mark.parametrize("size", [3e-2, 1e-2, 3e-3])
def test_in_single_precision_a_flow_converges_to_the_limit_or_is_not_said_to(size):
    flow = lf.gradient_flow(near_constant(size, dtype=np.float32), tuple(w.astype(jnp.float32) for w in START))
    assert flow.verdict in (lf.Verdict.CONVERGED, *WITHHELD)
    if flow.verdict == lf.Verdict.CONVERGED:
        np.testing.assert_allclose(lf.end_to_end_filter(ARCH, flow.limit), [1, 3, 1], atol=1e-2)


@pytest.mark.parametrize(("size", "noise"), [(2e-5, 0.0), (1e-6, 0.0), (1e-6, 0.01)])
def test_a_point_in_the_valley_is_no_minimum_and_no_saddle(size, noise):
    roots = np.roots([1.155, 2.680, 1.165])  # where the flow is at t = 19
    point = as_params([[1.155, -1.155 * roots[0]], [1.0, -roots[1]]])
    assert lf.classify(near_constant(size, noise), point).kind in ("degenerate", "not_critical")


def bounded_problem(size: float) -> tuple[lf.EmpiricalRisk, tuple]:
    """P = diag(size, 1, 1, 1): (B) holds, and the filters are bounded, by a number that grows as size falls."""
    data = lf.Dataset(np.diag([size, 1, 1, 1]), np.array([[0.0], [1], [1], [0]]))
    return lf.EmpiricalRisk(lf.Architecture(4, (2, 2), (2, 1)), lf.losses.Square(), data), as_params([[1, 0.5]] * 2)


@pytest.mark.parametrize("size", [1e-3, 1e-6, 1e-9])
def test_filters_that_theory_bounds_are_never_diverged(size):
    risk, start = bounded_problem(size)
    assert lf.theory.hypotheses(risk).holds
    assert np.all(np.isfinite(lf.theory.norm_bound(risk, start)))
    flow = lf.gradient_flow(risk, start)
    assert flow.verdict in (lf.Verdict.CONVERGED, *WITHHELD)
    if flow.verdict == lf.Verdict.CONVERGED:  # v = (a, 1, 1, b), as small as attainable filters allow
        np.testing.assert_allclose(lf.end_to_end_filter(risk.arch, flow.limit)[1:3], 1, rtol=size)


@pytest.mark.slow
def test_a_norm_bound_of_the_user_still_means_diverged():
    risk, start = bounded_problem(1e-9)
    flow = lf.gradient_flow(risk, start, norm_bound=3.0)
    assert (flow.verdict, flow.reason) == (lf.Verdict.DIVERGED, Reason.BEYOND_NORM_BOUND)


UNBALANCED = (as_params([[0.8, -0.4], [1.1, 0.9]]), as_params([[1.0, 2.0], [0.1, 0.3]]))


@pytest.mark.parametrize(
    ("loss", "engine"),
    [
        (lf.losses.Square(), "one flow"),
        pytest.param(lf.losses.Square(), "ensemble", marks=pytest.mark.slow),
        pytest.param(lf.losses.PseudoHuber(1.0), "ensemble", marks=pytest.mark.slow),
        pytest.param(lf.losses.LogCosh(1.0), "one flow", marks=pytest.mark.slow),
        pytest.param(lf.losses.PseudoHuber(1.0), "one flow", marks=pytest.mark.slow),
        pytest.param(lf.losses.LogCosh(1.0), "ensemble", marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_zero_targets_are_fitted_by_a_filter_that_vanishes_at_a_global_minimum(loss, engine):
    risk = lf.EmpiricalRisk(ARCH, loss, lf.Dataset(np.eye(4, 5), np.zeros((4, 3))))
    if engine == "ensemble":
        flows = lf.gradient_flow_ensemble(risk, tuple(map(jnp.stack, zip(*UNBALANCED, strict=True))))
        np.testing.assert_array_equal(flows.verdict, lf.Verdict.CONVERGED)
        np.testing.assert_array_equal(flows.hessian_index, 0)
        return
    for start in UNBALANCED:
        flow = lf.gradient_flow(risk, start)
        assert (flow.verdict, flow.hessian_index) == (lf.Verdict.CONVERGED, 0)
        assert not flow.limit_is_isolated  # the other filter is free
        assert min(np.linalg.norm(w) for w in flow.limit) < 1e-10
        assert lf.classify(risk, flow.limit).kind == "minimum"


def orthogonal_targets() -> lf.EmpiricalRisk:
    """P^T y = 0: the best filter is 0."""
    P = windows(np.eye(4, 5))
    y = np.random.default_rng(0).normal(size=12)
    y -= P @ np.linalg.lstsq(P, y, rcond=None)[0]
    return lf.EmpiricalRisk(ARCH, lf.losses.Square(), lf.Dataset(np.eye(4, 5), y.reshape(4, 3)))


@pytest.mark.parametrize("size", [1e-8, 1e-10])
def test_a_gradient_that_is_rounding_from_the_start_places_no_limit(size):
    # the flow scales the filters by any factor before they rest, in a time that rounding of P^T y decides
    flow = lf.gradient_flow(orthogonal_targets(), tuple(size * w for w in UNBALANCED[0]))
    assert flow.verdict in WITHHELD


@pytest.mark.parametrize("start", UNBALANCED, ids=["first", "second"])
def test_targets_orthogonal_to_the_data_are_fitted_by_the_zero_filter(start):
    flow = lf.gradient_flow(orthogonal_targets(), start)
    assert (flow.verdict, flow.reason) == (lf.Verdict.CONVERGED, Reason.NONE)
    np.testing.assert_allclose(lf.end_to_end_filter(ARCH, flow.limit), 0, atol=1e-14)
    assert flow.steps < 100


def test_zero_filters_with_a_hessian_of_nothing_but_rounding_are_no_saddle():
    data = lf.Dataset(np.ones((4, 1)) * [[1.0, 2.0, 3.0]], np.array([[0.1], [-0.1], [0.3], [-0.3]]))  # P^T y = 0
    risk = lf.EmpiricalRisk(lf.Architecture(3, (2, 2)), lf.losses.Square(), data)
    flow = lf.gradient_flow(risk, as_params([[0.0, 0.0], [0.0, 0.0]]))
    assert flow.verdict in WITHHELD
    assert flow.hessian_index <= 0


@pytest.mark.parametrize(
    ("loss", "apart"),
    [
        (lf.losses.Lp(6.0), 1e-5),
        (lf.losses.Lp(6.0), 1e-7),
        pytest.param(lf.losses.Square(), 1e-7, marks=pytest.mark.slow),
        pytest.param(lf.losses.Square(), 1e-11, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_filters_that_start_nearly_equal_leave_the_saddle_of_equal_ones(loss, apart):
    rng = np.random.default_rng(1)
    inputs, targets = rng.normal(size=(2, 3)), rng.normal(size=(2, 1))
    share = 1.5 ** (1 / getattr(loss, "p", 2.0))  # of a mean over three: so the program is one of other tests too
    data = lf.Dataset(*(share * np.vstack([rows, 0 * rows[:1]]) for rows in (inputs, targets)))
    w, z = rng.normal(size=2), rng.normal(size=2)
    flow = lf.gradient_flow(lf.EmpiricalRisk(lf.Architecture(3, (2, 2)), loss, data), as_params([w, w + apart * z]))
    assert flow.verdict != lf.Verdict.AT_SADDLE
    assert flow.verdict not in lf.verdict.WITH_LIMIT or flow.risk < 1e-12  # two equations, three taps


def test_a_plateau_of_l_6_is_no_saddle():
    data = lf.Dataset(np.eye(3), np.array([[1.0], [2.5], [1.0]]))
    flow = lf.gradient_flow(
        lf.EmpiricalRisk(lf.Architecture(3, (2, 2)), lf.losses.Lp(6.0), data), as_params([[1.7, -0.34], [440.0, -78.0]])
    )
    assert flow.verdict in WITHHELD


@pytest.mark.slow
def test_a_loss_with_a_narrow_well_is_followed_into_the_right_basin():
    rng = np.random.default_rng(2)
    inputs = 1e5 * rng.normal(size=(6, 5))
    targets = windows(inputs) @ np.convolve([1, 0.5], [-0.3, 1]) + 1e4 * rng.normal(size=18)
    risk = lf.EmpiricalRisk(ARCH, lf.losses.GeneralizedHuber(3.0, -1.9), lf.Dataset(inputs, targets.reshape(6, 3)))
    starts = rng.normal(size=(2, 4, 2))
    flows = lf.gradient_flow_ensemble(risk, tuple(jnp.asarray(starts)))
    tight = lf.gradient_flow_ensemble(risk, tuple(jnp.asarray(starts)), rtol=1e-9)
    decided = flows.verdict == lf.Verdict.CONVERGED
    assert decided.sum() >= 3
    for ours, theirs in zip(flows.limit, tight.limit, strict=True):
        np.testing.assert_allclose(ours[decided], theirs[decided], rtol=1e-9)
    # a second opinion; beyond 30/a the slope of the loss is a sign, where the textbook formulas would overflow
    other = ReferenceRisk([(1, 2), (1, 2)], [(1, 1)] * 2, inputs[:, None], targets.reshape(6, 1, 3), "square")

    def parts(r):
        x = np.clip(3 * r, -30, 30)
        return np.sinh(x), np.cosh(x), 2 * np.cosh(x) - 1.9

    other.loss = other.loss._replace(
        slope=lambda r: 2 * parts(r)[0] / parts(r)[2], bend=lambda r: 3 * (4 - 3.8 * parts(r)[1]) / parts(r)[2] ** 2
    )
    found = reference_limit(other, starts[:, 0].ravel())
    assert found.isolated
    np.testing.assert_allclose(np.concatenate([w[0] for w in flows.limit]), found.vector, rtol=1e-6)


def test_a_limit_of_unequal_layers_lies_on_the_leaf_of_its_start():
    risk = filter_problem((2, 2), (1, 3, 1))
    start = as_params([[390.0, 210.0], [0.7, 1.3]])
    flow = lf.gradient_flow(risk, start)
    assert flow.verdict == lf.Verdict.CONVERGED
    before, after = (float(lf.theory.balancedness(risk.arch, w)[0]) for w in (start, flow.limit))
    assert abs(before - after) < 1e-12 * 390**2


@pytest.mark.slow
@pytest.mark.parametrize("large", [0, 1, 2])
def test_filters_beside_a_large_one_are_on_their_leaf_to_their_own_rounding(large):
    risk = filter_problem((2, 2, 2), (1, 3.5, 2.5, 0.5))
    sizes = np.full(3, 0.05)
    sizes[large] = 100.0
    directions = np.array([[1.1, 0.6], [0.7, -0.5], [0.9, 0.8]])
    start = as_params((sizes[:, None] * directions).tolist())
    flow = lf.gradient_flow(risk, start)
    assert flow.verdict == lf.Verdict.CONVERGED
    assert flow.limit_is_isolated
    small = [layer for layer in range(3) if layer != large]
    before, after = ([float(jnp.sum(w[layer] ** 2)) for layer in small] for w in (start, flow.limit))
    change = [b - a for a, b in zip(before, after, strict=True)]
    assert abs(change[0] - change[1]) <= 1e-14 * (sum(before) + sum(after))


def test_a_step_limit_below_tolerance_is_not_said_to_be_above_it():
    flow = lf.gradient_flow(near_constant(1e-6, noise=0.01), START)
    assert flow.verdict == lf.Verdict.UNDECIDED
    assert flow.gradient_norm <= flow.gradient_tolerance
    assert (flow.hessian_index, flow.nullity) == (-1, -1)
    assert "gradient below tolerance, but max_steps" in repr(lf.summary(flow))


@pytest.mark.parametrize("size", [1e-2, 1e-3])
def test_a_flow_that_goes_on_at_a_late_time_still_takes_steps(size):
    # the layers share the root of (1 + x)^2; a step of the fast layer is less than the last digit of the time
    flow = lf.gradient_flow(
        filter_problem((2, 2), (1, 2, 1)), as_params([[size, 1.02 * size], [0.9 / size, 0.97 / size]])
    )
    assert flow.verdict == lf.Verdict.DEGENERATE
    assert flow.time > 1e10
    assert flow.steps < 500


def test_a_start_that_is_not_finite_says_so():
    flow = lf.gradient_flow(filter_problem((2, 2), (1, 3, 1)), as_params([[np.nan, 1.0], [0.7, 1.2]]))
    assert (flow.verdict, flow.reason) == (lf.Verdict.NOT_FINITE, Reason.START_NOT_FINITE)
    assert "look for NaN" in repr(lf.summary(flow))


def test_the_default_number_of_steps_follows_rtol():
    params = as_params([[1.0], [1.0]])
    found = [flow_settings(params, rtol=rtol).max_steps for rtol in (1e-3, 1e-6, 1e-10)]
    assert found == [4096, 4096, 65536]
    flow = lf.gradient_flow(filter_problem((2, 2), (1, 3, 1)), as_params([[13.0, 7.0], [0.07, 0.13]]), rtol=1e-10)
    assert flow.verdict == lf.Verdict.CONVERGED


def test_every_reason_has_words_and_a_frozen_code():
    assert set(REASONS) == set(Reason) - {Reason.NONE}
    assert [int(reason) for reason in Reason] == list(range(21))


def test_float64_data_that_become_float32_are_warned_of_once():
    script = "import numpy as np, lcnn_flow as lf; lf.Dataset(np.eye(3), np.ones((3, 1))); lf.Dataset([[1.0]], [[1.0]])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert done.stderr.count("float64 data become float32") == 1
    assert "jax_enable_x64" in done.stderr
