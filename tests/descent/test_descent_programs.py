"""Programs, trees, ensembles and misuse of gradient descent."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import random_data

import lcnn_flow as lf
from lcnn_flow.descent import course

ARCH = lf.Architecture(6, (2, 2))
RISK = lf.EmpiricalRisk(ARCH, lf.losses.PseudoHuber(0.5), random_data(ARCH))
KEYS = jax.random.split(jax.random.key(0), 3)
BATCH = lf.initializers.gaussian(0.5)(KEYS, ARCH)
START = tuple(w[0] for w in BATCH)
RATES = jnp.array([0.05, 0.1])


@pytest.fixture
def traces(monkeypatch):
    """Counts how often the program of the steps is traced."""
    counted, found = course.make, []

    def make(*arguments):
        found.append(arguments)
        return counted(*arguments)

    monkeypatch.setattr(course, "make", make)
    return found


def test_other_numbers_of_a_factory_trace_nothing(traces):
    chex.clear_trace_counter()
    for rate, b1 in ((1e-3, 0.9), (2e-3, 0.8)):
        lf.gradient_descent(RISK, START, optax.adam, {"learning_rate": rate, "b1": b1}, steps=7)
    assert len(traces) == 1
    lf.gradient_descent(RISK, START, optax.adam(1e-3), steps=7)
    lf.gradient_descent(RISK, START, optax.adam(1e-3), steps=7)  # a ready-made optimiser is a program of its own
    assert len(traces) == 3


@pytest.fixture(scope="module")
def ensemble():
    return lf.gradient_descent_ensemble(RISK, BATCH, optax.sgd, {"learning_rate": RATES}, steps=60, record_every=20)


def test_an_ensemble_is_every_rate_with_every_seed(ensemble):
    assert ensemble.verdict.shape == (2, 3)
    assert ensemble.trajectory.risk.shape == (2, 3, 4)
    assert ensemble.final[0].shape == (2, 3, 2)
    for r, s in ((0, 2), (1, 0)):
        numbers = {"learning_rate": float(RATES[r])}
        one = lf.gradient_descent(RISK, tuple(w[s] for w in BATCH), optax.sgd, numbers, steps=60, record_every=20)
        np.testing.assert_allclose(ensemble.final[0][r, s], one.final[0], rtol=1e-12)
        np.testing.assert_allclose(ensemble.trajectory.time[r, s], one.trajectory.time, rtol=1e-15)
        assert ensemble.verdict[r, s] == one.verdict
    assert "6 descents, 360 steps" in repr(ensemble)
    assert "STEP_LIMIT" in repr(lf.summary(ensemble, RISK))


def test_the_distance_to_the_flow_of_an_ensemble_is_that_of_each(ensemble):
    found = np.asarray(ensemble.distance_to_flow())
    assert found.shape == (2, 3, 4)
    run = lf.gradient_descent(RISK, START, optax.sgd, {"learning_rate": 0.1}, steps=60, record_every=20)
    np.testing.assert_allclose(found[1, 0], run.distance_to_flow(), rtol=1e-6)


def test_conditions_pair_with_their_parameters_and_ends_are_judged():
    risk = lf.Risk(
        lambda x, data: jnp.sum((x - data["c"]) ** 2),
        jnp.zeros(2),
        {"c": jnp.array([[1.0, 2.0], [3.0, 4.0]])},
        batched={"c": 0},
    )
    starts = jnp.arange(12.0).reshape(2, 3, 2)
    numbers = {"learning_rate": jnp.array([0.1, 0.2]), "momentum": jnp.array([0.0, 0.1])}
    runs = lf.gradient_descent_ensemble(risk, starts, optax.sgd, numbers, steps=200, record={"x": lambda x: x})
    assert runs.verdict.shape == (2, 2, 3)
    assert np.all(runs.verdict == lf.Verdict.CONVERGED)
    expected = np.broadcast_to(np.array([[1.0, 2.0], [3.0, 4.0]])[None, :, None], (2, 2, 3, 2))
    np.testing.assert_allclose(runs.limit, expected, rtol=1e-14)
    np.testing.assert_array_equal(runs.trajectory.record["x"][:, :, :, 0], np.broadcast_to(starts, (2, 2, 3, 2)))


def test_more_lanes_than_a_block_holds_are_all_there():
    starts = jnp.linspace(1.0, 2.0, 301)[:, None]
    runs = lf.gradient_descent_ensemble(lambda x: jnp.sum(x**2) / 2, starts, optax.sgd, {"learning_rate": 0.5}, steps=3)
    np.testing.assert_allclose(runs.final, starts / 8, rtol=1e-15)


def test_minibatches_of_a_seed_are_the_same_for_all_rates():
    risk = lf.EmpiricalRisk(ARCH, lf.losses.Square(), random_data(ARCH), form="patches")
    same = jax.tree.map(lambda w: jnp.stack([w[0], w[0]]), BATCH)
    numbers = {"learning_rate": jnp.array([1e-6, 2e-6])}
    key = jax.random.key(5)
    runs = lf.gradient_descent_ensemble(risk, same, optax.sgd, numbers, steps=1, batch_size=3, key=key)
    moved = np.concatenate([f - np.asarray(s)[None] for f, s in zip(runs.final, same, strict=True)], axis=-1)
    np.testing.assert_allclose(moved[1], 2 * moved[0], rtol=1e-8)
    assert np.max(np.abs(moved[0, 0] - moved[0, 1])) > 0.01 * np.max(np.abs(moved))  # seeds draw others


def test_the_optimiser_sees_the_leaves_of_the_user_s_tree():
    start = {"a": jnp.array([3.0, 4.0]), "b": (0.5, 7, None), "f": jnp.tanh}

    def risk(p):
        return jnp.sum(p["a"] ** 2) / 2 + (p["b"][0] - 3.0) ** 2 * p["b"][1]

    run = lf.gradient_descent(
        risk, start, lambda clip: optax.chain(optax.clip_by_block_rms(clip), optax.sgd(1.0)), {"clip": 1.0}, steps=1
    )
    # rms of the gradient of a is 5/sqrt(2), that of b is 35: each leaf is clipped alone
    np.testing.assert_allclose(run.final["a"], np.array([3.0, 4.0]) * (1 - np.sqrt(2) / 5), rtol=1e-14)
    np.testing.assert_allclose(run.final["b"][0], 1.5)
    assert run.final["b"][1:] == (7, None)
    assert run.final["f"] is jnp.tanh
    assert run.time_unit == "steps"


def test_time_is_the_sum_of_a_schedule():
    numbers = {"learning_rate": optax.linear_schedule(0.1, 0.0, 10)}
    run = lf.gradient_descent(RISK, START, optax.sgd, numbers, steps=4, record_every=2)
    np.testing.assert_allclose(run.trajectory.time, [0, 0.19, 0.34], rtol=1e-7)  # optax has rates in float32
    assert run.time_unit == "learning_rate"


def test_descent_works_under_jit_vmap_and_its_end_has_the_derivative_of_the_iterates():
    def end(rate, x):
        run = lf.gradient_descent(lambda w: jnp.sum(w**2) / 2, x, optax.sgd, {"learning_rate": rate}, steps=2)
        return run.final[0], run.verdict

    many = jax.jit(jax.vmap(end, in_axes=(0, None)))(RATES, jnp.ones(1))
    np.testing.assert_allclose(many[0], (1 - RATES) ** 2, rtol=1e-14)
    assert np.all(many[1] == lf.Verdict.STEP_LIMIT)
    slope = jax.grad(lambda rate: end(rate, jnp.ones(1))[0])(0.1)
    np.testing.assert_allclose(slope, -2 * 0.9, rtol=1e-14)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: descend(optax.sgd, {"lr": 0.1}), r"sgd has no number 'lr'"),
        (lambda: descend(optax.sgd, {"learning_rat": 0.1}), "did you mean 'learning_rate'"),
        (lambda: descend(optax.sgd), r"sgd needs learning_rate: write \{'learning_rate': ...\}"),
        (lambda: descend(optax.sgd, 0.1), r"numbers are 0.1: write \{'learning_rate': 1e-3\}"),
        (lambda: descend("adam"), r"optimiser is 'adam': write a factory of optax and its numbers"),
        (lambda: descend(optax.sgd(0.1), {"learning_rate": 0.1}), "a ready-made optimiser has its numbers already"),
        (lambda: descend(optax.sgd, {"learning_rate": RATES}), "for many of them use gradient_descent_ensemble"),
        (lambda: descend(lambda a: a, {"a": 1.0}), "must return an optax.GradientTransformation"),
        (lambda: descend(picky, {"a": 1.0}), r"picky needs the values of its numbers, which are traced: pass it"),
        (lambda: descend(steps=0), "steps is 0: write an integer of at least 1"),
        (lambda: descend(steps=10, record_every=4), "not a multiple of record_every = 4: write steps=12"),
        (lambda: descend(batch_size=3), r"drawn at random: write key=jax.random.key\(0\)"),
        (lambda: descend(batch_size=30, key=KEYS[0]), "batch_size = 30: write an integer from 1 to 12"),
        (lambda: descend(batch_size=3, key=7), r"key is 7, and not one key: write jax.random.key\(7\)"),
        (lambda: descend(key=KEYS[0]), "key draws minibatches, but there are none"),
        (lambda: descend(record={"a": 1}), r"record\['a'\] is 1"),
        (lambda: lf.gradient_descent(RISK, BATCH, optax.sgd, {"learning_rate": 0.1}, steps=1), "for a batch of them"),
        (lambda: lf.gradient_descent(START, RISK, optax.sgd, steps=1), r"gradient_descent\(risk, ...\)"),
        (lambda: many(START, {"learning_rate": 0.1}), "for one of them use gradient_descent, or write gradient_desc"),
        (lambda: many(BATCH, {"learning_rate": RATES, "momentum": jnp.ones(3)}), "give them one length"),
        (lambda: many(BATCH, {"learning_rate": jnp.ones((2, 2))}), "at most 1 axes are allowed"),
        (lambda: descend(optax.sgd(0.1)).distance_to_flow(), "counts steps, which are not times of a flow"),
        (
            lambda: descend(numbers={"learning_rate": 0.1}).distance_to_flow(lf.gradient_flow(RISK, START)),
            "integrate it with times=run.trajectory",
        ),
    ],
)
def test_a_wrong_argument_is_named_with_what_to_write(call, message):
    with pytest.raises(lf.LcnnFlowError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def descend(optimiser=optax.sgd, numbers=None, steps=7, **options):
    if optimiser is optax.sgd and options | {"steps": steps} != {"steps": 7} and numbers is None:
        numbers = {"learning_rate": 0.1}
    return lf.gradient_descent(RISK, START, optimiser, numbers, steps=steps, **options)


def compare_with_a_limit():
    return descend(numbers={"learning_rate": 0.1}).distance_to_flow(lf.gradient_flow(RISK, START))


def many(params, numbers):
    return lf.gradient_descent_ensemble(RISK, params, optax.sgd, numbers, steps=7)


def picky(a):
    return optax.sgd(a) if a > 0 else optax.adam(a)
