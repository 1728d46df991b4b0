"""Enclosures of derivatives of losses and activations contain every value inside, and lose little."""

import math

import mpmath
import numpy as np
import pytest
from flint import arb, ctx
from hypothesis import given, settings
from hypothesis import strategies as st
from textbook import textbook_activation, textbook_loss

import lcnn_flow as lf
from lcnn_flow.critical.ball_activations import BALL_ACTIVATIONS, activation_derivatives
from lcnn_flow.critical.ball_losses import BALL_LOSSES, loss_derivatives, slope_and_bend
from lcnn_flow.critical.balls import above, below
from lcnn_flow.losses.registry import ALL_LOSSES

L, A = lf.losses, lf.activations
LOSSES = [
    L.Square(),
    L.Lp(4.0),
    L.Lp(3.0),
    L.PseudoHuber(0.3),
    L.GeneralizedHuber(3.0, 1.0),
    L.GeneralizedHuber(2.0, -1.5),
    L.LogCosh(2.0),
    L.Huber(1.7),
    L.Cauchy(0.8),
    L.Welsch(3.0),
    L.GemanMcClure(1.3),
    L.SmoothQuantile(0.9, 0.4),
    L.Logistic(),
    L.Exponential(),
]
ACTIVATIONS = [A.tanh, A.softplus, A.gelu, A.relu, A.leaky_relu(0.2), *map(A.Power, (1, 2, 3, 4, 1.5, 2.5))]


def is_kink(function, low, high):
    """Whether a derivative up to the fourth does not exist somewhere in [low, high]."""
    if function.name == "huber":
        return any(low <= sign * float(function.delta) <= high for sign in (1, -1))
    irregular = ("relu", "leaky_relu") + (("lp",) if getattr(function, "p", 4) == 3 else ())
    odd_power = function.name == "Power" and function.numbers[0] % 1 != 0
    return (function.name in irregular or odd_power) and low <= 0 <= high


def contains(ball, value, slack=1e-15):
    slack *= max(1.0, abs(float(value)))
    return below(ball) - slack <= float(value) <= above(ball) + slack


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@given(centre=st.floats(-40, 40), radius=st.floats(0, 2), at=st.floats(-1, 1))
@settings(deadline=None, max_examples=25)
def test_balls_of_derivatives_of_losses_contain_the_values_inside(loss, centre, radius, at):
    numbers, wide = {name: float(getattr(loss, name)) for name in loss.parameters}, radius * (1 + 1e-9) + 1e-9
    r = centre + at * radius
    with ctx.workprec(128), mpmath.workdps(60):
        balls = loss_derivatives(loss.name, numbers, arb(centre) + arb(0, wide))
        kink = is_kink(loss, centre - wide - 1e-9, centre + wide + 1e-9)
        if not kink:
            assert all(ball.is_finite() for ball in balls)
        near = is_kink(loss, r - 1e-9, r + 1e-9)  # mpmath differentiates there by points on both sides
        for order, ball in enumerate(balls, start=1):
            if ball.is_finite() and not (near and order > 1):
                assert contains(ball, mpmath.diff(lambda x: textbook_loss(loss, x), mpmath.mpf(r), order))


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@given(centre=st.floats(-30, 30), radius=st.floats(0, 2), at=st.floats(-1, 1))
@settings(deadline=None, max_examples=25)
def test_balls_of_derivatives_of_activations_contain_the_values_inside(activation, centre, radius, at):
    wide, x = radius * (1 + 1e-9) + 1e-9, centre + at * radius
    with ctx.workprec(128), mpmath.workdps(60):
        balls = activation_derivatives(activation.name, activation.numbers, arb(centre) + arb(0, wide))
        if not is_kink(activation, centre - wide - 1e-9, centre + wide + 1e-9):
            assert all(ball.is_finite() for ball in balls)
        near = is_kink(activation, x - 1e-9, x + 1e-9)
        for order, ball in enumerate(balls):
            if ball.is_finite() and not (near and order > 0):
                assert contains(ball, mpmath.diff(lambda y: textbook_activation(activation, y), mpmath.mpf(x), order))


@pytest.mark.parametrize("loss", [L.Cauchy(0.8), L.Welsch(3.0), L.GemanMcClure(1.3), L.Logistic()], ids=str)
def test_balls_of_derivatives_are_no_wider_than_the_values_on_a_fine_grid(loss):
    numbers = {name: float(getattr(loss, name)) for name in loss.parameters}
    for low, high in ((-0.7, 1.9), (-6.0, 5.0), (0.5, 8.0)):
        with ctx.workprec(128):
            balls = loss_derivatives(loss.name, numbers, arb((low + high) / 2, (high - low) / 2))
            grid = [loss_derivatives(loss.name, numbers, arb(x)) for x in np.linspace(low, high, 301)]
        for order, ball in enumerate(balls):
            values = np.array([float(row[order].mid()) for row in grid])
            spread = np.ptp(values)
            assert below(ball) >= values.min() - 1e-2 * spread
            assert above(ball) <= values.max() + 1e-2 * spread


def test_the_second_derivative_of_huber_is_a_ball_from_0_to_1_at_its_kink_alone():
    with ctx.workprec(128):
        inside, outside, kink = (loss_derivatives("huber", {"delta": 1.5}, arb(x, 0.25)) for x in (-1.0, 2.0, 1.5))
    assert [float(x) for x in inside[1:]] == [1, 0, 0]
    assert [float(x) for x in outside] == [1.5, 0, 0, 0]
    assert (float(kink[1].lower()), float(kink[1].upper())) == pytest.approx((0, 1), abs=1e-8)
    assert not kink[2].is_finite()
    assert contains(kink[0], 1.25)
    assert contains(kink[0], 1.5)


def test_every_loss_and_every_activation_has_balls():
    assert set(BALL_LOSSES) == set(ALL_LOSSES)
    names = {a.name if isinstance(a, A.Activation) else a.__name__ for a in A.ACTIVATIONS.values()}
    assert set(BALL_ACTIVATIONS) == {*names, "identity"}


def test_huge_arguments_neither_overflow_nor_lose_the_sign():
    far = arb(-1e150)
    with ctx.workprec(128):
        for name, numbers in (("generalized_huber", {"a": 3.0, "b": 1.0}), ("log_cosh", {"a": 3.0}), ("logistic", {})):
            slope, bend = slope_and_bend(name, numbers, far)
            assert above(slope) <= -1 + 1e-12
            assert bend.is_finite()
            assert above(bend) < 1e-30
        for name in ("cauchy", "welsch", "geman_mcclure", "huber"):
            for ball in loss_derivatives(name, {"delta": 1.0}, far)[1:]:
                assert contains(ball, 0.0)
                assert math.isfinite(above(ball))
        for name in ("tanh", "softplus", "gelu"):
            for ball, value in zip(activation_derivatives(name, (), -far), (None, 1.0, 0.0), strict=True):
                assert ball.is_finite()
                assert value is None or name == "tanh" or contains(ball, value)
