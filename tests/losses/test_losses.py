"""Losses against mpmath with 60 digits: values, derivatives in r and in the parameters, extremes, theory."""

import inspect

import chex
import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

from lcnn_flow import losses
from lcnn_flow.errors import LossError

RESIDUALS = [0.0, *(s * 10.0**e for e in (-300, -150, -20, -8, -3, -1, 0, 1, 2) for s in (1, -1)), 0.7, -2.3]
FAR = [1e3, -1e8, 1e77, -1e150]


def mp_square(r):
    return r * r / 2


def mp_lp(p):
    return lambda r: abs(r) ** mp.mpf(p) / p


def mp_pseudo_huber(r, delta):
    return delta**2 * (mp.sqrt(1 + (r / delta) ** 2) - 1)


def mp_huber(r, a, b):
    # log(e^{ar} + e^{-ar} + b) with the largest exponential taken out: it is not representable at 1e150
    x = abs(a * r)
    return (x + mp.log(1 + mp.exp(-2 * x) + b * mp.exp(-x)) - mp.log(2 + b)) / a


def mp_log_cosh(r, a):
    return mp_huber(r, a, mp.mpf(0))


REFERENCE = {"pseudo_huber": mp_pseudo_huber, "generalized_huber": mp_huber, "log_cosh": mp_log_cosh}
CASES = [
    losses.PseudoHuber(1.0),
    losses.PseudoHuber(1e-3),
    losses.PseudoHuber(1e3),
    losses.GeneralizedHuber(1.0, 1.0),
    losses.GeneralizedHuber(0.3, 40.0),
    losses.GeneralizedHuber(2.0, -1.5),
    losses.GeneralizedHuber(1.0, -2.0 + 2.0**-13),
    losses.GeneralizedHuber(1.0, -0.3),
    losses.GeneralizedHuber(1e-3, 1e6),
    losses.GeneralizedHuber(1e3, 0.0),
    losses.LogCosh(1.0),
    losses.LogCosh(1e-3),
    losses.LogCosh(1e3),
]
SMOOTH = [losses.Square(), losses.Lp(4), losses.PseudoHuber(0.8), losses.GeneralizedHuber(1.2, 0.5)]
SMOOTH += [losses.GeneralizedHuber(1.2, -1.5), losses.LogCosh(1.7)]


def numbers_of(loss):
    return [mp.mpf(float(getattr(loss, name))) for name in loss.parameters]


def exact(loss, r, order=0):
    """The exact derivative in r of the given order, from closed forms of the textbook."""
    r = mp.mpf(float(r))
    p = numbers_of(loss)
    if loss.name == "pseudo_huber":
        root = mp.sqrt(1 + (r / p[0]) ** 2)
        return [mp_pseudo_huber(r, p[0]), r / root, root**-3][order]
    a, b = p if loss.name == "generalized_huber" else (p[0], mp.mpf(0))
    if order == 0:
        return mp_huber(r, a, b)
    if abs(a * r) > 1e6:
        return mp.sign(r) if order == 1 else mp.mpf(0)
    if order == 1:
        return 2 * mp.sinh(a * r) / (2 * mp.cosh(a * r) + b)
    return a * (4 + 2 * b * mp.cosh(a * r)) / (2 * mp.cosh(a * r) + b) ** 2


def assert_relative(actual, expected, tolerance):
    """Relative error, or both below what float64 represents."""
    actual = float(actual)
    assert np.isfinite(actual)
    assert abs(mp.mpf(actual) - expected) <= tolerance * abs(expected) + mp.mpf("3e-308"), (actual, expected)


@pytest.fixture(autouse=True)
def _precision():
    with mp.workdps(400):  # 1 + (1e-150)^2 must not round to 1
        yield


@pytest.mark.parametrize("loss", CASES, ids=repr)
def test_value_and_derivatives_agree_with_exact_formulas_from_1e_minus_300_to_1e150(loss):
    r = jnp.asarray(RESIDUALS + FAR)
    results = [f(r) for f in (loss, loss.derivative, loss.second_derivative)]
    steepness = 0.0 if loss.name == "pseudo_huber" else float(loss.a)
    for order, values in enumerate(results):
        for x, value in zip(np.asarray(r), values, strict=True):
            # e^{-a r} inherits the rounding of a r
            tolerance = 1e-14 * (1 + (min(steepness * abs(x), 745) if order == 2 else 0))
            assert_relative(value, exact(loss, x, order), tolerance)


@pytest.mark.parametrize("p", [1.1, 1.5, 2, 2.5, 3, 3.7, 4, 6])
def test_lp_agrees_with_exact_powers_while_representable(p):
    loss = losses.Lp(p)
    r = np.array([s * 10.0**e for e in np.linspace(-300 / (p + 1), 300 / p, 9) for s in (1, -1)])
    for x, f0, f1, f2 in zip(r, loss(r), loss.derivative(r), loss.second_derivative(r), strict=True):
        size, q = mp.mpf(abs(x)), mp.mpf(p)
        assert_relative(f0, size**q / q, 1e-14)
        assert_relative(f1, mp.sign(x) * size ** (q - 1), 1e-14)
        assert_relative(f2, (q - 1) * size ** (q - 2), 1e-14)


def test_square_loss_is_half_the_square():
    r = np.array([0.0, 1e-150, -3.0, 1e150])
    loss = losses.Square()
    np.testing.assert_array_equal(loss(r), r * r / 2)
    np.testing.assert_array_equal(loss.derivative(r), r)
    np.testing.assert_array_equal(loss.second_derivative(r), np.ones(4))


@pytest.mark.parametrize("loss", [*CASES, *SMOOTH, losses.Lp(1.5), losses.Lp(3)], ids=repr)
def test_loss_and_slope_vanish_at_zero(loss):
    assert loss(jnp.zeros(())) == 0
    assert loss.derivative(jnp.zeros(())) == 0


@pytest.mark.parametrize("loss", [*CASES, losses.Square(), losses.Lp(3.3), losses.Lp(4)], ids=repr)
def test_autodiff_returns_the_stable_derivatives_at_zero_and_far_out(loss):
    largest = 1e70 if loss.name == "lp" else 1e150
    r = jnp.array([0.0, 1e-200, -0.4, 3.0, largest])
    pull = jax.jit(jax.vmap(jax.grad(lambda x: loss(x))))
    np.testing.assert_allclose(pull(r), loss.derivative(r), rtol=1e-15)
    np.testing.assert_allclose(jax.vmap(jax.grad(jax.grad(loss)))(r), loss.second_derivative(r), rtol=1e-15)
    value, tangent = jax.jvp(loss.derivative, (r,), (jnp.full(r.shape, 2.0),))
    np.testing.assert_array_equal(value, loss.derivative(r))
    np.testing.assert_allclose(tangent, 2 * loss.second_derivative(r), rtol=1e-15)
    np.testing.assert_allclose(jax.vjp(loss.derivative, r)[1](r)[0], r * loss.second_derivative(r), rtol=1e-15)


@pytest.mark.parametrize("loss", SMOOTH, ids=repr)
@pytest.mark.parametrize("r", [0.0, 0.4, -1.9])
def test_third_and_fourth_derivatives_of_analytic_losses_are_right_also_at_zero(loss, r):
    def reference(x):
        if loss.name in REFERENCE:
            if loss.name == "pseudo_huber":
                return mp_pseudo_huber(x, *numbers_of(loss))
            a, b = (*numbers_of(loss), mp.mpf(0))[:2]
            return mp.log((2 * mp.cosh(a * x) + b) / (2 + b)) / a
        return mp_square(x) if loss.name == "square" else x**4 / 4

    third = jax.grad(loss.second_derivative)
    with mp.workdps(60):
        np.testing.assert_allclose(third(r), float(mp.diff(reference, r, 3)), rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(jax.grad(third)(r), float(mp.diff(reference, r, 4)), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("loss", CASES, ids=repr)
@pytest.mark.parametrize("r", [0.0, 1e-200, 1e-5, -0.3, 2.1, 60.0])
def test_parameter_derivatives_agree_with_mpmath(loss, r):
    reference, p = REFERENCE[loss.name], numbers_of(loss)
    first = {
        "pseudo_huber": lambda x, d: x / mp.sqrt(1 + (x / d) ** 2),
        "generalized_huber": lambda x, a, b: 2 * mp.sinh(a * x) / (2 * mp.cosh(a * x) + b),
        "log_cosh": lambda x, a: mp.tanh(a * x),
    }[loss.name]
    value = jax.grad(lambda model: model(r))(loss)
    slope = jax.grad(lambda model: model.derivative(r))(loss)
    with mp.workdps(450):
        for i, name in enumerate(loss.parameters):
            for got, f in ((getattr(value, name), reference), (getattr(slope, name), first)):

                def along(q, i=i, f=f):
                    return f(mp.mpf(r), *p[:i], q, *p[i + 1 :])

                step = mp.mpf(10) ** -100 * (1 + abs(p[i]))
                if name == "b":
                    step = mp.mpf(10) ** -100
                expected = (along(p[i] + step) - along(p[i] - step)) / (2 * step)
                scale = 1 + abs(p[0] * mp.mpf(r)) if loss.name != "pseudo_huber" else 1
                assert_relative(got, expected, 1e-13 * float(min(scale, 745)))


@jax.jit
def parameter_slopes(loss, far, near):
    """Derivatives in the parameters of rho, rho', rho'' at `far`; their derivatives in r at `near`."""
    results = []
    for f in (lambda m, x: m(x), lambda m, x: m.derivative(x), lambda m, x: m.second_derivative(x)):
        by_parameters = jax.grad(f)
        results.append(jax.vmap(by_parameters, (None, 0))(loss, far))
        results.append(jax.vmap(jax.jacfwd(by_parameters, 1), (None, 0))(loss, near))
    return jax.tree.leaves(results)


@pytest.mark.parametrize("loss", CASES, ids=repr)
def test_parameter_derivatives_are_finite_far_out_and_under_vmap(loss):
    far = jnp.array([0.0, 1e-300, 1.0, 1e150, -1e150])
    assert all(np.all(np.isfinite(x)) for x in parameter_slopes(loss, far, jnp.array([0.0, 1.0, 30.0])))


def test_mixed_derivative_in_residual_and_delta_agrees_with_closed_form():
    # d/d delta of r/sqrt(1 + (r/delta)^2) is r^3/delta^3 (1 + (r/delta)^2)^(-3/2)
    def slope(r, delta):
        return jax.grad(lambda x: losses.PseudoHuber(delta)(x))(r)

    expected = 1.3**3 / 0.7**3 * (1 + (1.3 / 0.7) ** 2) ** -1.5
    np.testing.assert_allclose(jax.grad(slope, 1)(1.3, 0.7), expected, rtol=1e-14)
    np.testing.assert_allclose(
        jax.grad(lambda d: jax.grad(lambda q: losses.PseudoHuber(q)(1.3))(d))(0.7),
        float(mp.diff(lambda d: mp_pseudo_huber(mp.mpf(1.3), d), 0.7, 2)),
        rtol=1e-13,
    )


def test_constant_parameters_add_no_work_to_the_derivative():
    def slope_of_rho(loss, r):
        return jax.jvp(lambda x: loss(x), (r,), (jnp.ones_like(r),))[1]

    def operations(f):
        # what XLA keeps after dead code is gone
        text = jax.jit(f).lower(losses.GeneralizedHuber(), 1.0).compile().cost_analysis()
        return text["flops"]

    assert operations(slope_of_rho) == operations(lambda loss, r: loss.derivative(r))


@pytest.mark.parametrize("loss", CASES, ids=repr)
def test_float32_residuals_stay_float32_and_finite_up_to_1e15(loss):
    r = jnp.array([0.0, 1e-30, -0.5, 1e15], jnp.float32)
    for f in (loss, loss.derivative, loss.second_derivative, jax.vmap(jax.grad(loss))):
        values = f(r)
        assert values.dtype == jnp.float32
        assert np.all(np.isfinite(values))
    np.testing.assert_allclose(loss(r)[2:], loss(r.astype(float))[2:], rtol=1e-5)


def test_batched_parameters_share_one_program():
    @jax.jit
    @chex.assert_max_traces(n=1)
    def values(loss, r):
        return jax.vmap(lambda one: one(r))(loss)

    r, deltas = jnp.linspace(-3, 3, 7), np.array([0.1, 1.0, 10.0])
    got = values(losses.PseudoHuber(deltas), r)
    expected = deltas[:, None] ** 2 * (np.sqrt(1 + (np.asarray(r) / deltas[:, None]) ** 2) - 1)
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-14)
    values(losses.PseudoHuber(2 * deltas), r)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_registry_gives_losses_that_are_pytrees_and_say_their_name(name):
    cls = losses.LOSSES[name]
    loss = cls(3.0) if cls is losses.Lp else cls()
    assert loss.name == name
    assert list(inspect.signature(cls).parameters) == list(cls.parameters)
    leaves, tree = jax.tree.flatten(loss)
    assert jax.tree.unflatten(tree, leaves)(1.0) == loss(1.0)
    assert jax.jit(lambda model, r: model(r))(loss, 1.0) == pytest.approx(float(loss(1.0)), rel=1e-15)
    jax.tree.unflatten(tree, [None] * len(leaves))  # never validates


@pytest.mark.parametrize("b", [-1.5, -0.1, 0.0, 3.0])
def test_generalized_huber_says_convex_exactly_when_its_second_derivative_is_never_negative(b):
    second = losses.GeneralizedHuber(1.0, b).second_derivative(jnp.linspace(0, 40, 4001))
    assert losses.GeneralizedHuber(1.0, b).theory.convex == bool(np.all(second >= 0))


def test_theory_of_every_loss():
    def facts(loss):
        return loss.theory.analytic, loss.theory.convex, loss.theory.coercive

    for loss in (losses.Square(), losses.Lp(2), losses.Lp(6), losses.PseudoHuber(), losses.LogCosh()):
        assert facts(loss) == (True, True, True)
        assert loss.theory.smoothness == "analytic"
    assert facts(losses.Lp(3)) == (False, True, True)
    assert [losses.Lp(p).theory.smoothness for p in (1.5, 2.5, 3)] == ["C^1", "C^2", "C^2"]
    assert "uniqueness" in losses.Lp(1.5).theory.remark
    assert facts(losses.GeneralizedHuber(1.0, -0.5)) == (True, False, True)
    assert not losses.GeneralizedHuber(1.0, jnp.array([-1.0, 1.0])).theory.convex
    assert facts(losses.Custom(jnp.abs)) == (None, None, None)
    jax.jit(lambda loss: [loss(1.0), _assert_none(loss.theory.convex)][0])(losses.GeneralizedHuber())


@pytest.mark.parametrize("loss", [*CASES, losses.Square(), *map(losses.Lp, (1.1, 1.5, 2, 3, 3.7, 6))], ids=repr)
def test_largest_residual_inverts_the_loss_from_1e_minus_200_to_1e200(loss):
    values = 10.0 ** np.arange(-200, 201)
    residuals = loss.largest_residual(values)
    assert np.all(np.diff(residuals) > 0)
    if loss.name in REFERENCE:
        with mp.workdps(430):
            for value, r in zip(values[::40], np.asarray(residuals)[::40], strict=True):
                assert_relative(value, exact(loss, r), 1e-12)
    np.testing.assert_allclose(loss(residuals), values, rtol=1e-12)
    assert loss.largest_residual(0.0) == 0


def test_largest_residual_has_its_closed_forms():
    np.testing.assert_allclose(losses.Square().largest_residual(8.0), 4.0, rtol=1e-15)
    np.testing.assert_allclose(losses.Lp(3).largest_residual(9.0), 3.0, rtol=1e-15)
    np.testing.assert_allclose(losses.PseudoHuber(2.0).largest_residual(1.0), 1.5, rtol=1e-15)  # 4 (5/4 - 1) = 1
    np.testing.assert_allclose(losses.LogCosh(1.0).largest_residual(np.log(np.cosh(3.0))), 3.0, rtol=1e-14)


def test_largest_residual_keeps_float32_and_is_refused_for_functions_without_a_formula():
    value = jnp.array([0.0, 1e-30, 2.0, 1e30], jnp.float32)
    for loss in (losses.PseudoHuber(0.5), losses.GeneralizedHuber(2.0, -1.9), losses.LogCosh(3.0)):
        r = loss.largest_residual(value)
        assert r.dtype == jnp.float32
        np.testing.assert_allclose(loss(r.astype(float)), value, rtol=1e-5)
    with pytest.raises(LossError, match="Custom has no formula"):
        losses.Custom(jnp.square).largest_residual(1.0)


def _assert_none(value):
    assert value is None


def test_custom_loss_differentiates_its_function():
    known = losses.LossTheory(True, True, True)
    loss = losses.Custom(lambda r: jnp.cosh(r) - 1, theory=known)
    r = jnp.linspace(-2, 2, 5)
    np.testing.assert_allclose(loss(r), np.cosh(r) - 1, rtol=1e-14)
    np.testing.assert_allclose(loss.derivative(r), np.sinh(r), rtol=1e-14)
    np.testing.assert_allclose(loss.second_derivative(r), np.cosh(r), rtol=1e-14)
    assert loss.theory is known
    np.testing.assert_allclose(jax.jit(lambda model: model(r))(loss), loss(r), rtol=1e-15)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: losses.PseudoHuber(0.0), "delta = 0.0 must be finite and above 0"),
        (lambda: losses.PseudoHuber(float("nan")), "delta"),
        (lambda: losses.PseudoHuber("1.0x"), "not a number"),
        (lambda: losses.PseudoHuber(np.array([1.0, -1.0])), "above 0"),
        (lambda: losses.LogCosh(None), "a = None"),
        (lambda: losses.LogCosh(-1), "above 0"),
        (lambda: losses.GeneralizedHuber(1.0, -2.0), "b = -2.0 must be finite and above -2"),
        (lambda: losses.GeneralizedHuber(float("inf"), 1.0), "a = inf"),
        (lambda: losses.Lp(1), "above 1"),
        (lambda: losses.Lp(float("inf")), "finite"),
        (lambda: losses.Lp(jnp.array(2.0)), "plain number"),
        (lambda: losses.Custom(3), "not callable"),
        (lambda: losses.Custom(jnp.cosh), "subtract"),
        (lambda: losses.Custom(jnp.sum), "elementwise"),
    ],
)
def test_parameters_out_of_range_are_refused_with_the_range(build, text):
    with pytest.raises(LossError, match="(?s)" + text.replace(".", r"\.")):
        build()


def test_parameters_may_be_traced():
    assert jax.jit(lambda d: losses.PseudoHuber(d)(1.0))(1.0) == pytest.approx(2**0.5 - 1, rel=1e-14)
    assert jax.jit(lambda d: losses.LogCosh(d)(0.0))(1.0) == 0
