"""Flows that slide along a kink of the risk are told from those that only cross it."""

import jax.numpy as jnp
import numpy as np

import lcnn_flow as lf
from lcnn_flow.dynamics.sliding import count_switches, no_switches, slides
from lcnn_flow.limits.verdict import Reason

NET = lf.Dense((2, 1, 1), activation=lf.activations.leaky_relu(0.25))


def flow(inputs, targets, start):
    """Of f = u sigma(w . x), from (w_1, w_2, u)."""
    data = lf.Dataset(jnp.asarray(inputs, float), jnp.asarray(targets, float)[:, None])
    risk = lf.EmpiricalRisk(NET, lf.losses.Square(), data)
    return lf.gradient_flow(risk, (jnp.asarray([start[:2]]), jnp.asarray([[start[2]]])))


def test_a_flow_that_is_pushed_to_a_kink_from_both_sides_is_stopped_there():
    """With targets -1 at x = (1, 0) and (-1, 0), -dL/dw_1 is -u (1 - 1/4)/3 sign(w_1) at w_1 = 0: it stays at 0.

    On w_1 = 0 the flow is that of (u w_2 - 3)^2/6, which conserves u^2 - w_2^2.
    """
    found = flow([[1, 0], [-1, 0], [0, 1]], [-1, -1, 3], [0.3, 0.5, 1.0])
    assert (int(found.verdict), int(found.reason)) == (lf.Verdict.UNDECIDED, Reason.SLIDES_ALONG_A_KINK)
    assert int(found.steps) < 400
    assert abs(found.final[0][0, 0]) < 1e-4
    assert np.isnan(found.limit[1]).all()


def test_a_flow_that_crosses_kinks_goes_on_to_its_limit():
    """Targets 1 at x = (1, 0) and (0, 1): u w = (1, 1), and u^2 - |w|^2 = c gives u."""
    start = np.array([-0.5, 0.5, 1.0])
    found = flow([[1, 0], [1, 0], [0, 1]], [1, 1, 1], start)
    assert int(found.verdict) == lf.Verdict.CONVERGED
    c = start[2] ** 2 - start[:2] @ start[:2]
    square = (c + np.sqrt(c**2 + 8)) / 2  # u^2 - 2/u^2 = c
    np.testing.assert_allclose(found.limit[1][0, 0] ** 2, square, rtol=1e-11)
    np.testing.assert_allclose(found.limit[0][0] * found.limit[1][0, 0], [1, 1], rtol=1e-11)


def test_switches_are_counted_one_input_at_a_time():
    record = no_switches(jnp.asarray([1.0, 0.0, 0.0]))
    for k in range(1, 33):
        assert not slides(record)
        record = count_switches(record, jnp.asarray([1.0, float(k % 2), 0.0]))
    np.testing.assert_array_equal(record.changes, [0, 32, 0])
    assert slides(record)
    assert not slides(None)
