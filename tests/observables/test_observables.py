"""Observables along flows against closed forms: own functions, sharpness, held-out risk, kernel drift, ranks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lcnn_flow as lf

TIMES = np.array([0.0, 0.5, 2.0])
START = jnp.array([2.0, -1.0])


def valley(x):
    return 0.5 * jnp.sum(jnp.array([1.0, 3.0]) * x**2)  # the flow is exp(-t), exp(-3 t)


def first(params):
    return params[0]


def value_and_number(risk, params):
    return jnp.stack([risk(params), jnp.ones(())])


def moved(risk, params, start):
    del risk
    return params - start


@pytest.fixture(scope="module")
def flow():
    other = lf.Risk(lambda x, data: jnp.sum((x - data) ** 2), START, jnp.array([1.0, 1.0]))
    record = {
        "first": first,
        "both": value_and_number,
        "moved": moved,
        "test_risk": lf.observables.held_out_risk(other),
        "sharpness": lf.observables.sharpness,
    }
    return lf.gradient_flow(valley, START, times=TIMES, rtol=1e-10, record=record)


def test_own_functions_are_evaluated_at_the_recorded_times_by_how_many_arguments_they_take(flow):
    exact = np.asarray(START) * np.exp(-np.outer(TIMES, [1.0, 3.0]))
    found = flow.trajectory.record
    assert sorted(found) == ["both", "first", "moved", "sharpness", "test_risk"]
    np.testing.assert_allclose(found["first"], exact[:, 0], rtol=1e-8)
    np.testing.assert_allclose(found["both"], np.stack([exact**2 @ [0.5, 1.5], np.ones(3)], axis=1), rtol=1e-7)
    np.testing.assert_allclose(found["moved"], exact - np.asarray(START), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found["test_risk"], np.sum((exact - 1) ** 2, axis=1), rtol=1e-7)
    np.testing.assert_allclose(found["sharpness"], 3.0, rtol=1e-12)


def test_an_ensemble_records_the_same_for_every_seed(flow):
    record = {"sharpness": lf.observables.sharpness, "first": first}
    flows = lf.gradient_flow_ensemble(valley, jnp.stack([START, 2 * START]), times=TIMES, rtol=1e-10, record=record)
    found = flows.trajectory.record
    assert found["sharpness"].shape == (2, 3)
    np.testing.assert_allclose(found["first"], np.outer([1, 2], flow.trajectory.record["first"]), rtol=1e-8)


def samples_seen(risk, params):
    return jnp.sum(risk.data.inputs[:, 0]) + 0 * params[0][0]


@pytest.mark.slow
def test_flows_in_lanes_record_what_a_single_flow_records():
    risk = network_risk(2, (1, 1))
    record = {
        "drift": lf.observables.kernel_drift,
        "moved": lambda risk, p, start: p[0] - start[0],
        "seen": samples_seen,
    }
    starts = (jnp.array([[0.5], [1.5], [-0.4]]), jnp.array([[1.0], [0.3], [-1.0]]))
    flows = lf.gradient_flow_ensemble(risk, starts, times=TIMES, rtol=1e-9, record=record)
    one = lf.gradient_flow(risk, tuple(w[1] for w in starts), times=TIMES, rtol=1e-9, record=record)
    for name, found in one.trajectory.record.items():
        assert flows.trajectory.record[name].shape == (3, *found.shape)
        np.testing.assert_allclose(flows.trajectory.record[name][1], found, atol=1e-7)
    np.testing.assert_array_equal(flows.trajectory.record["seen"], 3.0)


def test_the_effective_rank_of_a_flat_spectrum_is_the_rank():
    # one tap: V = w I, all singular values equal; two taps (1, 1) on three inputs: sigma = sqrt(3), 1
    risk = network_risk(4, (1,))
    assert lf.observables.effective_rank(risk, (jnp.array([0.3]),)) == pytest.approx(4)
    assert lf.observables.effective_rank(risk, (jnp.array([0.0]),)) == 0
    p = np.sqrt(3) / (np.sqrt(3) + 1)
    entropy = -p * np.log(p) - (1 - p) * np.log(1 - p)
    found = lf.observables.effective_rank(network_risk(3, (2,)), (jnp.array([1.0, 1.0]),))
    assert found == pytest.approx(np.exp(entropy))


def test_the_kernel_of_two_taps_drifts_as_its_closed_form():
    # v = w_1 w_2, J = (w_2, w_1), K = w_1^2 + w_2^2
    risk = network_risk(2, (1, 1))
    found = lf.observables.kernel_drift(risk, as_filters(2.0, 1.0), as_filters(1.0, 1.0))
    assert found == pytest.approx(1.5)
    assert lf.observables.kernel_drift(risk, as_filters(2.0, 1.0), as_filters(1.0, 2.0)) == pytest.approx(0)


def test_the_largest_stable_step_is_two_over_the_largest_curvature():
    assert lf.theory.max_stable_step(valley, START) == pytest.approx(2 / 3)
    assert jax.jit(lambda x: lf.theory.max_stable_step(lambda y: -valley(y), x))(START) == np.inf


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: run(record={"a": first}), r"write times=lf.log_times\(1e-3, 1e6, 200\)"),
        (lambda: run(times=TIMES, record=first), r"record is a function: write \{'name': function\}"),
        (lambda: run(times=TIMES, record={"a": 3}), r"record\['a'\] is 3: write a function of \(risk, params\)"),
        (lambda: run(times=TIMES, record={"a": lambda x, y=1: x}), r"write lambda risk, params: ..."),
        (lambda: run(times=TIMES, record={"a": lambda *x: x}), r"write lambda risk, params: ..."),
        (lambda: lf.observables.effective_rank(lf.Risk(valley, START), START), "needs the risk of a linear network"),
        (lambda: lf.observables.kernel_drift(lf.Risk(valley, START), START, START), "of the form l o image"),
        (lambda: lf.observables.held_out_risk(valley), r"other is a function: write lf.EmpiricalRisk"),
    ],
)
def test_a_wrong_observable_is_named_with_what_to_write(call, message):
    with pytest.raises(lf.LcnnFlowError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def run(**options):
    return lf.gradient_flow(valley, START, **options)


def as_filters(*numbers):
    return tuple(jnp.array([x]) for x in numbers)


def network_risk(length, kernel_sizes):
    arch = lf.Architecture(length, kernel_sizes)
    data = lf.Dataset(np.ones((3, length)), np.ones((3, *arch.output_shape)))
    return lf.EmpiricalRisk(arch, lf.losses.PseudoHuber(1.0), data)
