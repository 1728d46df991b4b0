"""Flows and descents of networks, further losses and weight decay: nothing that the library says may be false.

The problems, the independent reference and the judge are those of `tests/functions/networks`; `python -m
tests.functions.networks` prints the table with every false statement and how to repeat it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flint import arb, ctx
from functions.networks.cases import START_KINDS, draw_conditions
from functions.networks.descents import RATES, Optimiser
from functions.networks.families import FAMILIES, architecture, library_risk, objective_of, structure_of
from functions.networks.formulas import ACTIVATIONS, LOSSES
from functions.networks.judge import DescentCase, FlowCase, Said
from functions.networks.table import Table, run_family
from functions.reference_flow import flow_ends

import lcnn_flow as lf
from lcnn_flow.limits.verdict import Reason
from lcnn_flow.losses.registry import ALL_LOSSES

SAMPLE = {15: 2, 38: 2}
"""Conditions of the families of a first look: a robust loss, and descents on labels."""
SLOW_CONDITIONS = 10
"""Of each family, every kind of data once: 2,800 flows and 1,680 descents."""
DECIDED = 0.7
"""Least share of flows to regular limits that are decided, over all families: else silence would pass."""


@pytest.fixture(scope="module")
def table():
    """The first look."""
    found = Table()
    for number, count in SAMPLE.items():
        run_family(found, number, range(count))
    return found


@pytest.mark.slow
def test_nothing_said_of_these_flows_and_descents_is_false(table):
    assert len(table.findings) == len(START_KINDS) * (SAMPLE[15] + len(RATES["sgd"]) * SAMPLE[38])
    assert not table.false, "\n".join(map(str, table.false))


@pytest.mark.slow
def test_most_regular_limits_are_decided(table):
    said, of = table.decided()
    assert of > 10
    assert said >= DECIDED * of, table


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(FAMILIES)), ids=lambda n: f"{n}-{FAMILIES[n]}")
def test_nothing_said_of_thousands_of_flows_and_descents_is_false(number):
    found = Table()
    run_family(found, number, range(SLOW_CONDITIONS))
    print(found)
    assert not found.false, "\n".join(map(str, found.false))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_those_of_the_library_with_their_derivatives(name):
    family = next(f for f in FAMILIES if f.activation == name)
    x = np.array([-3.1, -0.4, 0.2, 1.7, 6.0])
    value, slope, bend = ACTIVATIONS[name](x)
    sigma = architecture(family).activation or (lambda z: z)
    np.testing.assert_allclose(value, sigma(jnp.asarray(x)), rtol=1e-14, atol=1e-16)
    np.testing.assert_allclose(slope, jax.vmap(jax.grad(lambda z: jnp.sum(sigma(z))))(x), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(bend, differences(lambda z: ACTIVATIONS[name](z)[1], x), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_those_of_the_library_with_their_derivatives(name):
    kind, r = ALL_LOSSES[name], np.array([-2.3, -0.4, 0.1, 0.9, 4.0])
    numbers = [0.3, 0.7][: len(kind.parameters)]
    value, slope, bend = LOSSES[name](r, numbers)
    loss = kind(*numbers)
    np.testing.assert_allclose(value, loss(r), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(slope, loss.derivative(r), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(bend, loss.second_derivative(r), rtol=1e-12, atol=1e-15)


def differences(function, x, step=1e-6):
    """Central differences, entry by entry."""
    return (function(x + step) - function(x - step)) / (2 * step)


@pytest.mark.parametrize("number", [14, 20, 30], ids=lambda n: str(FAMILIES[n]))
def test_risks_are_those_of_the_library_and_their_derivatives_those_of_differences(number):
    family = FAMILIES[number]
    condition = draw_conditions(family, 1, number, [0], borders=False)[0]
    data = {k: v[None] for k, v in condition.data.items()}
    objective, w = objective_of(family), condition.starts[0].vector
    risk = library_risk(family, data).condition(0)
    value, gradient, hessian = (x[0] for x in objective.derivatives(w[None], data))
    np.testing.assert_allclose(value, risk.value(jnp.asarray(w)), rtol=1e-13)
    np.testing.assert_allclose(
        gradient, risk.gradient(jnp.asarray(w)), rtol=1e-10, atol=1e-12 * np.max(np.abs(gradient))
    )
    alone = objective.value_and_gradient(w[None], data)
    np.testing.assert_allclose(alone[0][0], value, rtol=1e-14)
    np.testing.assert_allclose(alone[1][0], gradient, rtol=1e-11, atol=1e-13)
    moves = w + 1e-6 * np.concatenate([np.eye(w.size), -np.eye(w.size)])
    slopes = objective.value_and_gradient(moves, {k: np.repeat(v, len(moves), axis=0) for k, v in data.items()})[1]
    bends = (slopes[: w.size] - slopes[w.size :]) / 2e-6
    np.testing.assert_allclose(hessian, bends, rtol=1e-5, atol=1e-6 * np.max(np.abs(hessian)))


@pytest.mark.parametrize("number", [2, 3, 8, 14, 18, 19, 22, 24, 30], ids=lambda n: str(FAMILIES[n]))
def test_balls_contain_the_same_derivatives_as_floats(number):
    family = FAMILIES[number]
    condition = draw_conditions(family, 2, number, [0], borders=False)[0]
    data, w = {k: v[None] for k, v in condition.data.items()}, condition.starts[0].vector[None]
    exact = np.frompyfunc(lambda x: arb(float(x)), 1, 1)
    balls = {k: np.asarray(exact(v), object) for k, v in data.items()}
    bits, ctx.prec = ctx.prec, 200
    try:
        found = objective_of(family).derivatives(np.asarray(exact(w), object), balls)
    finally:
        ctx.prec = bits
    for mine, theirs in zip(objective_of(family).derivatives(w, data), found, strict=True):
        size = np.max(np.abs(mine))
        np.testing.assert_allclose(mine, np.vectorize(float)(theirs), rtol=1e-9, atol=1e-12 * size)


def said(verdict, vector, reason=Reason.NONE, index=0):
    return Said(int(verdict), int(reason), vector, vector, True, index, 1.0)


@pytest.fixture(scope="module")
def plain():
    """A filter pair with the Cauchy loss, and the end of its flow in the reference."""
    family = FAMILIES[16]
    condition = draw_conditions(family, 0, 16, [2], borders=False)[0]
    data = {k: v[None] for k, v in condition.data.items()}
    end = flow_ends(structure_of(family), data, condition.starts[0].vector[None], 1e-9)
    assert end.rested[0]
    return family, condition, end.vectors[0]


def test_judge_accepts_what_is_true_of_a_flow(plain):
    case = FlowCase(*plain[:2], 0, plain[2], True)
    found = case.judge_flow(said(lf.Verdict.CONVERGED, plain[2]))
    assert (found.false, found.decided, found.regular) == ("", True, True)
    withheld = case.judge_flow(said(lf.Verdict.STEP_LIMIT, plain[2]))
    assert (withheld.false, withheld.decided, withheld.regular) == ("", False, True)


@pytest.mark.parametrize(
    ("verdict", "move", "index"),
    [
        (lf.Verdict.CONVERGED, lambda w: w * (1 + 1e-5 * np.arange(w.size)), 0),
        (lf.Verdict.CONVERGED, np.zeros_like, 2),
        (lf.Verdict.CONVERGED, lambda w: w, 1),
        (lf.Verdict.CONVERGED, lambda w: -w, 0),
        (lf.Verdict.AT_SADDLE, lambda w: w, 0),
        (lf.Verdict.AT_SADDLE, np.zeros_like, 2),
        (lf.Verdict.DIVERGED, lambda w: w, -1),
    ],
    ids=["beside", "saddle", "index", "another minimum", "no saddle", "saddle it leaves", "bounded"],
)
def test_judge_finds_what_is_false_of_a_flow(plain, verdict, move, index):
    case = FlowCase(*plain[:2], 0, plain[2], True)
    assert case.judge_flow(said(verdict, move(plain[2]), index=index)).false


def test_judge_finds_what_is_false_of_a_descent(plain):
    family, condition, end = plain
    steps = family._replace(optimiser="sgd")
    case = DescentCase(steps, condition, 0, end, True)
    assert not case.judge_descent(said(lf.Verdict.CONVERGED, end), end, True).false
    assert case.judge_descent(said(lf.Verdict.CONVERGED, 1.01 * end), end, True).false
    assert case.judge_descent(said(lf.Verdict.DIVERGED, end), end, True).false
    assert case.judge_descent(said(lf.Verdict.STEP_LIMIT, 1.5 * end), end, True).false == "another descent"
    noisy = DescentCase(steps._replace(batch=3), condition, 0, end, True)
    assert noisy.judge_descent(said(lf.Verdict.CONVERGED, end), end, True).false
    assert not noisy.judge_descent(said(lf.Verdict.UNDECIDED, end), end, True).false


def test_own_adam_is_that_of_the_paper():
    """The first step of Adam has the length of the learning rate in every entry, whatever the gradient."""
    family = FAMILIES[40]
    condition = draw_conditions(family, 0, 40, [0])[0]
    start = condition.starts[0].vector
    data = {k: v[None] for k, v in condition.data.items()}
    gradient = objective_of(family).value_and_gradient(start[None], data)[1][0]
    step = Optimiser("adam", start[None]).run(family, data, np.array([0.1]), 1)[0] - start
    np.testing.assert_allclose(step, -0.1 * np.sign(gradient), rtol=1e-5)
