"""Energy and path length along flows: identities, a second integrator, and starts that are far from balanced."""

import diffrax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import filter_problem
from scipy.integrate import solve_ivp

import lcnn_flow as lf
from lcnn_flow.dynamics.recording import follow_passage, no_passage
from lcnn_flow.ensemble.lane_step import speed_weights
from lcnn_flow.numerics.quadrature import NODES, WEIGHTS, partial_weights
from lcnn_flow.solvers import Rodas4, Rodas5P

RISK = filter_problem((2, 2), (1, 3, 1))
UNBALANCED = (1.0, 3.0, 10.0, 50.0)
TIMES = np.concatenate([[0.0], lf.log_times(1e-6, 1e3, 90)])


def starts(factors=UNBALANCED):
    return jnp.array([[1.3 * s, 0.7 * s] for s in factors]), jnp.array([[0.7 / s, 1.3 / s] for s in factors])


def reference_path_length(start: np.ndarray, stop: float) -> np.ndarray:
    """Path length at `stop` of the flow of |pi(w) - (1, 3, 1)|^2 / 2, by LSODA with |grad L| as a state."""

    def field(t, y):
        r = np.convolve(y[:2], y[2:4]) - [1, 3, 1]
        g = np.concatenate([np.correlate(r, y[2:4], "valid"), np.correlate(r, y[:2], "valid")])
        return np.append(-g, np.linalg.norm(g))

    return solve_ivp(field, (0, stop), np.append(start, 0.0), method="LSODA", rtol=1e-10, atol=1e-12).y[4, -1]


@pytest.fixture(scope="module")
def with_times():
    return lf.gradient_flow_ensemble(RISK, starts(), times=TIMES)


def test_energy_is_the_risk_that_was_lost_however_unbalanced_the_start(with_times):
    for seed, w in enumerate(zip(*starts(), strict=True)):
        np.testing.assert_allclose(with_times.energy[seed], RISK(w) - with_times.risk[seed], rtol=1e-12)
        lost = RISK(w) - with_times.trajectory.risk[seed]
        np.testing.assert_allclose(with_times.trajectory.energy[seed], lost, rtol=0, atol=1e-14)


def test_with_times_the_integral_of_the_squared_gradient_is_the_energy_to_1e_minus_3(with_times):
    assert np.all(np.abs(with_times.energy_defect) <= 1e-3 * with_times.energy)
    assert np.all(np.abs(with_times.trajectory.energy_defect) <= 1e-3 * with_times.energy[:, None])


def test_the_energy_defect_falls_with_the_tolerance_of_the_integration():
    loose, tight = (lf.gradient_flow_ensemble(RISK, starts(), rtol=rtol) for rtol in (1e-3, 1e-6))
    assert np.all(np.abs(loose.energy_defect) > 30 * np.abs(tight.energy_defect))
    assert np.all(np.abs(loose.energy_defect) > 1e-4 * loose.energy)


def test_with_times_path_lengths_are_those_of_another_integrator_to_1e_minus_3(with_times):
    for seed, w in enumerate(zip(*starts(), strict=True)):
        for k in (41, 66, 90):
            expected = reference_path_length(np.concatenate(w), TIMES[k])
            np.testing.assert_allclose(with_times.trajectory.path_length[seed, k], expected, rtol=1e-3)


def test_lanes_and_lockstep_report_the_same_lengths_to_the_tolerance(with_times):
    lanes = lf.gradient_flow_ensemble(RISK, starts())
    np.testing.assert_allclose(lanes.path_length, with_times.path_length, rtol=2e-3)
    assert np.all(np.abs(lanes.energy_defect) <= 1e-2 * lanes.energy)


@pytest.mark.slow
def test_foreign_solvers_are_recorded_too(with_times):
    one = tuple(w[1] for w in starts())
    flow = lf.gradient_flow(RISK, one, times=TIMES, solver=diffrax.Kvaerno5())
    np.testing.assert_allclose(flow.path_length, with_times.path_length[1], rtol=1e-3)
    assert abs(flow.energy_defect) <= 1e-3 * flow.energy
    for ours, theirs in zip(with_times.trajectory.params, flow.trajectory.params, strict=True):
        np.testing.assert_allclose(theirs, ours[1], atol=1e-4)


def test_a_saved_time_of_zero_is_the_start(with_times):
    path = with_times.trajectory
    np.testing.assert_array_equal(path.params[0][:, 0], starts()[0])
    for nothing in (path.path_length, path.energy, path.energy_defect):
        np.testing.assert_array_equal(nothing[:, 0], 0)


def test_gauss_nodes_integrate_polynomials_of_degree_seven_and_parts_of_them():
    assert np.sum(WEIGHTS) == pytest.approx(1)
    assert np.sum(WEIGHTS * NODES**7) == pytest.approx(1 / 8)
    theta = jnp.array([0.0, 0.3, 1.0])
    np.testing.assert_allclose(partial_weights(theta) @ jnp.asarray(NODES**3), theta**4 / 4, atol=1e-15)


@pytest.mark.parametrize("method", [Rodas4, Rodas5P])
def test_speeds_from_the_stages_are_derivatives_of_the_dense_output(method):
    tableau = method.tableau
    stages = np.random.default_rng(0).normal(size=len(tableau.b))
    dense = tuple(jnp.asarray(row @ stages) for row in tableau.dense)
    y1 = jnp.asarray(0.5 + tableau.b @ stages)
    curve = method.interpolation_cls(t0=jnp.array(0.0), t1=jnp.array(1.0), y0=jnp.array(0.5), y1=y1, d=dense)
    expected = [curve.derivative(jnp.asarray(theta)) for theta in NODES]
    np.testing.assert_allclose(speed_weights(tableau) @ stages, expected, rtol=1e-12)


def test_a_passage_is_a_gradient_that_falls_far_and_rises_again():
    def rebound(norms):
        passage = no_passage(jnp.zeros(()))
        for norm in norms:
            passage = follow_passage(passage, jnp.asarray(norm))
        return float(passage.rebound)

    assert rebound([1.0, 0.1, 1e-3, 1e-8]) <= 1  # to a limit
    assert rebound([1e-3, 0.1, 1.0, 0.5]) <= 1  # away from a saddle where it started
    assert rebound([1.0, 1e-3, 0.5, 1e-9]) == pytest.approx(500)  # past a saddle
