"""Laws of descent: what a step does to balancedness, how near the flow it stays, where it is stable, where it ends."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import filter_problem, random_data, random_params

import lcnn_flow as lf
from lcnn_flow.limits.verdict import Reason, Verdict

ARCH = lf.Architecture(8, (3, 2, 2))
RISK = lf.EmpiricalRisk(ARCH, lf.losses.PseudoHuber(0.5), random_data(ARCH))
START = random_params(3, ARCH)
WEIGHTS = jnp.array([1.0, 10.0])
CENTRE = jnp.array([1.0, -2.0])


def valley(x):
    return 0.5 * jnp.sum(WEIGHTS * (x - CENTRE) ** 2)


def name(run):
    return Verdict(int(run.verdict)).name


def test_a_step_changes_balancedness_by_the_difference_of_the_squared_gradients():
    eta, steps = 0.1, 25
    run = lf.gradient_descent(RISK, START, optax.sgd, {"learning_rate": eta}, steps=steps, record_every=1)
    gradients = [np.asarray(g) for g in jax.vmap(jax.grad(RISK))(run.trajectory.params)]
    squares = np.stack([np.sum(g**2, axis=1) for g in gradients], axis=1)[:-1]
    expected = eta**2 / 2 * (squares[:, :-1] - squares[:, 1:])
    assert np.max(np.abs(expected)) > 1e-5
    np.testing.assert_allclose(np.diff(run.trajectory.balancedness, axis=0), expected, atol=1e-13)
    np.testing.assert_allclose(run.trajectory.time, eta * np.arange(steps + 1), rtol=1e-15)


@pytest.mark.slow
def test_weight_decay_makes_balancedness_decay_at_twice_its_rate():
    decay, times = 0.3, np.linspace(0.0, 2.0, 5)

    def decayed(params):
        return RISK(params) + decay / 2 * sum(jnp.sum(w**2) for w in params)

    flow = lf.gradient_flow(lf.Risk(decayed, START), START, times=times, rtol=1e-9)
    found = np.asarray(jax.vmap(lambda w: lf.theory.balancedness(ARCH, w))(flow.trajectory.params))
    np.testing.assert_allclose(found, np.exp(-2 * decay * times)[:, None] * found[0], rtol=1e-6)

    def chained(learning_rate, weight_decay):
        return optax.chain(optax.add_decayed_weights(weight_decay), optax.sgd(learning_rate))

    numbers = {"learning_rate": 1e-3, "weight_decay": decay}
    run = lf.gradient_descent(RISK, START, chained, numbers, steps=2000, record_every=500)
    np.testing.assert_allclose(run.trajectory.time, times, atol=1e-12)
    np.testing.assert_allclose(run.trajectory.balancedness, found, rtol=0.01, atol=2e-4)


def test_half_the_learning_rate_is_half_as_far_from_the_flow():
    furthest = []
    for eta, steps in ((2e-3, 400), (1e-3, 800)):
        run = lf.gradient_descent(RISK, START, optax.sgd, {"learning_rate": eta}, steps=steps, record_every=steps // 8)
        distance = np.asarray(run.distance_to_flow())
        assert distance.shape == (9,)
        assert distance[0] == 0
        furthest.append(distance.max())
    assert 1.9 <= furthest[0] / furthest[1] <= 2.1
    flow = lf.gradient_flow(RISK, START, times=run.trajectory.time, rtol=1e-9)
    np.testing.assert_allclose(run.distance_to_flow(flow), distance, atol=1e-8)


@pytest.mark.parametrize(
    ("optimiser", "numbers", "steps"),
    [
        (optax.sgd, {"learning_rate": 0.15}, 200),
        (optax.sgd, {"learning_rate": 0.08, "momentum": 0.6}, 200),
        (optax.adam, {"learning_rate": optax.exponential_decay(0.3, 50, 0.7)}, 1200),
        (optax.lbfgs, {}, 40),
        (optax.lbfgs(), None, 40),
    ],
)
def test_optimisers_reach_the_minimum_that_the_flow_reaches(optimiser, numbers, steps):
    risk = lf.Risk(valley, jnp.zeros(2))
    run = lf.gradient_descent(risk, jnp.zeros(2), optimiser, numbers, steps=steps, gradient_rtol=1e-7)
    assert name(run) == "CONVERGED"
    assert bool(run.limit_is_isolated)
    np.testing.assert_allclose(run.limit, CENTRE, rtol=1e-13)
    assert (int(run.hessian_index), int(run.nullity)) == (0, 0)
    np.testing.assert_allclose(run.smallest_curvature, 1.0)
    np.testing.assert_allclose(run.energy, valley(jnp.zeros(2)), rtol=1e-10)


def test_descent_is_stable_up_to_two_over_the_largest_curvature():
    largest = float(lf.theory.max_stable_step(valley, CENTRE))
    assert largest == pytest.approx(0.2)
    risk = lf.Risk(valley, jnp.zeros(2))
    below = lf.gradient_descent(risk, jnp.zeros(2), optax.sgd, {"learning_rate": 0.99 * largest}, steps=2000)
    assert name(below) == "CONVERGED"
    slightly = lf.gradient_descent(risk, jnp.zeros(2), optax.sgd, {"learning_rate": 1.01 * largest}, steps=2000)
    assert (name(slightly), Reason(int(slightly.reason))) == ("DIVERGED", Reason.BEYOND_NORM_BOUND)
    assert float(slightly.risk) > 1e12
    above = lf.gradient_descent(risk, jnp.zeros(2), optax.sgd, {"learning_rate": 1.05 * largest}, steps=2000)
    assert (name(above), Reason(int(above.reason))) == ("DIVERGED", Reason.BEYOND_NORM_BOUND)
    assert np.all(np.isnan(above.limit))
    np.testing.assert_array_equal(above.final, 0.0)  # the last record within the bound is the start
    assert int(above.steps) == 0
    assert np.isnan(above.trajectory.risk[-1])


def test_a_divergence_is_recorded_up_to_where_it_left_the_bound():
    run = lf.gradient_descent(
        lf.Risk(valley, jnp.zeros(2)), jnp.zeros(2), optax.sgd, {"learning_rate": 0.3}, steps=90, record_every=10
    )
    # the distance along the second axis doubles every step, from 2: 2^71 is beyond the bound of about 2e20, 2^61 is not
    assert name(run) == "DIVERGED"
    assert int(run.trajectory.valid_until) == int(run.steps) == 60
    valid = np.asarray(run.trajectory.step) <= int(run.steps)
    np.testing.assert_array_equal(np.isfinite(run.trajectory.risk), valid)
    np.testing.assert_allclose(run.final[1], -2 + 2.0 * 2.0 ** int(run.steps))


def test_descents_on_separable_data_diverge_and_on_contradictory_ones_converge():
    arch, start = lf.Architecture(2, (2, 1)), (jnp.array([0.2, 0.2]), jnp.array([1.5]))
    found = []
    for inputs, labels in ([[1.0, 0.0], [0.0, 1.0]], [1.0, 1.0]), ([[1.0, 0.0], [1.0, 0.0]], [1.0, -1.0]):
        data = lf.Dataset(jnp.asarray(inputs), jnp.asarray(labels)[:, None])
        risk = lf.EmpiricalRisk(arch, lf.losses.Logistic(), data)
        run = lf.gradient_descent(risk, start, optax.sgd, {"learning_rate": 0.5}, steps=300)
        found.append((name(run), Reason(int(run.reason)).name, bool(np.isfinite(run.limit[0]).all())))
    assert found == [("DIVERGED", "SEPARATES", False), ("CONVERGED", "NONE", True)]


def test_what_is_not_finite_is_no_divergence():
    run = lf.gradient_descent(
        lambda x: jnp.sum(x + jnp.sqrt(x)), jnp.ones(2), optax.sgd, {"learning_rate": 0.3}, steps=9
    )
    assert (name(run), Reason(int(run.reason))) == ("NOT_FINITE", Reason.UPDATE_NOT_FINITE)
    run = lf.gradient_descent(valley, jnp.array([1.0, jnp.nan]), optax.sgd, {"learning_rate": 0.1}, steps=9)
    assert (name(run), Reason(int(run.reason))) == ("NOT_FINITE", Reason.START_NOT_FINITE)


def test_an_end_that_passes_by_is_not_at_rest():
    # L = w^2/2, rate 1: the first step lands on the minimum, and momentum carries it on
    run = lf.gradient_descent(
        lambda x: jnp.sum(x**2) / 2, jnp.ones(1), optax.sgd, {"learning_rate": 1.0, "momentum": 0.9}, steps=1
    )
    assert float(run.gradient_norm) == 0
    assert (name(run), Reason(int(run.reason))) == ("UNDECIDED", Reason.STILL_MOVING)


def test_a_start_on_the_stable_manifold_of_a_saddle_ends_there():
    risk = filter_problem((1, 1), (1.0,))  # L = (w_1 w_2 - 1)^2 / 2, of which 0 is the saddle
    start = (jnp.array([0.5]), jnp.array([-0.5]))
    run = lf.gradient_descent(risk, start, optax.sgd, {"learning_rate": 0.3}, steps=400)
    assert name(run) == "AT_SADDLE"
    assert int(run.hessian_index) == 1
    np.testing.assert_allclose(np.concatenate(run.limit), 0, atol=1e-12)


def test_the_end_of_minibatches_is_undecided_and_epochs_go_through_all_samples():
    risk = lf.EmpiricalRisk(ARCH, lf.losses.Square(), random_data(ARCH, weighted=True), form="patches")
    options = {"steps": 6, "record_every": 3, "batch_size": 4, "key": jax.random.key(0)}
    # at a rate of 1e-7 the gradients of one epoch are those of the start, whose mean is the full gradient
    run = lf.gradient_descent(risk, START, optax.sgd, {"learning_rate": 1e-7}, **options)
    assert (name(run), Reason(int(run.reason))) == ("UNDECIDED", Reason.MINIBATCHES)
    full = np.concatenate(jax.grad(risk)(START))
    for epoch in range(2):
        rows = [np.concatenate([w[k] for w in run.trajectory.params]) for k in (epoch, epoch + 1)]
        np.testing.assert_allclose((rows[0] - rows[1]) / 3e-7, full, rtol=1e-4, atol=1e-4 * np.max(np.abs(full)))


def test_a_function_with_samples_descends_by_minibatches():
    x = np.linspace(-1, 1, 8)

    def mean_square(w, data):
        return jnp.mean((data["x"] * w - data["y"]) ** 2)

    risk = lf.Risk(mean_square, jnp.zeros(()), {"x": x, "y": 3 * x}, samples={"x": 0, "y": 0})
    run = lf.gradient_descent(
        risk, jnp.zeros(()), optax.sgd, {"learning_rate": 0.3}, steps=300, batch_size=2, key=jax.random.key(1)
    )
    np.testing.assert_allclose(run.final, 3.0, rtol=1e-8)  # all samples agree: no noise is left
    assert name(run) == "UNDECIDED"
