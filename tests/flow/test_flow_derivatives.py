"""Derivatives through the trajectory and of the limit, against finite differences of tight flows."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import filter_problem

import lcnn_flow as lf
from lcnn_flow.network.parameters import ravel

ARCH = lf.Architecture(4, (2, 2))
DATA = lf.data.synthesize(jax.random.key(1), ARCH, samples=6, noise=0.3)
WEIGHTS = jnp.linspace(0.5, 1.5, 6)
START = (jnp.array([0.9, -0.4]), jnp.array([0.5, 0.7]))
PROBES = jax.random.normal(jax.random.key(9), (4,))
TIGHT = {"rtol": 1e-11, "gradient_rtol": 1e-11}


def risk_of(inputs, targets, weights, delta):
    return lf.EmpiricalRisk(ARCH, lf.losses.PseudoHuber(delta), lf.Dataset(inputs, targets, weights))


def limit_and_risk(start, *data):
    flow = lf.gradient_flow(risk_of(*data), start, **TIGHT)
    return PROBES @ ravel(flow.limit), flow.risk


def along(start, *data, **options):
    path = lf.gradient_flow(risk_of(*data), start, times=jnp.array([0.1, 0.7]), **TIGHT, **options).trajectory
    return jnp.sum(path.risk) + PROBES @ ravel(tuple(w[-1] for w in path.params)) + path.path_length[0]


ARGUMENTS = (START, DATA.inputs, DATA.targets, WEIGHTS, jnp.array(0.8))
DIRECTION = jax.tree.map(lambda x: jax.random.normal(jax.random.key(5), x.shape), ARGUMENTS)


H = 1e-4
CENTRE, ZERO = 2, 5
ZEROS = tuple(jnp.zeros(2) for _ in START)  # the saddle: no derivative
POINTS = [jax.tree.map(lambda x, d, k=k: x + k * H * d, ARGUMENTS, DIRECTION) for k in (-2, -1, 0, 1, 2)]
POINTS = jax.tree.map(lambda *x: jnp.stack(x), *POINTS, (ZEROS, *ARGUMENTS[1:]))


@pytest.fixture(scope="module")
def derived_limit():
    """Value, derivative along DIRECTION, gradients of limit and risk at all POINTS: one linearization, one program."""

    def derive(*at):
        (value, _), push = jax.linearize(limit_and_risk, *at)
        pull, one, zero = jax.linear_transpose(push, *at), jnp.ones_like(value), jnp.zeros_like(value)
        return value, push(*DIRECTION)[0], pull((one, zero)), pull((zero, one))

    values, tangents, *gradients = jax.jit(jax.vmap(derive))(*POINTS)
    at_centre, at_zero = (jax.tree.map(lambda x, k=k: x[k], gradients) for k in (CENTRE, ZERO))
    return values, tangents[CENTRE], at_centre[0], at_zero[0], at_centre[1]


@pytest.fixture(scope="module")
def derived_along():
    """The same of `along`, whose two derivatives need an adjoint each."""

    def forward(*at):
        return jax.jvp(lambda *x: along(*x, adjoint=diffrax.ForwardMode()), at, DIRECTION)

    points = [jax.tree.map(lambda x, k=k: x[k], POINTS) for k in range(ZERO)]
    compiled, backward = jax.jit(forward), jax.jit(jax.grad(along, argnums=tuple(range(5))))
    values, tangents = zip(*(compiled(*at) for at in points), strict=True)
    return values, tangents[CENTRE], backward(*points[CENTRE])


@pytest.mark.parametrize("quantity", ["limit", pytest.param("along", marks=pytest.mark.slow)])
def test_gradients_with_respect_to_start_data_weights_and_loss_are_those_of_finite_differences(quantity, request):
    values, tangent, gradient, *_ = request.getfixturevalue(f"derived_{quantity}")
    expected = float(values[0] - 8 * values[1] + 8 * values[3] - values[4]) / (12 * H)
    found = sum(jnp.vdot(g, d) for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(DIRECTION), strict=True))
    assert abs(float(found) - expected) < 1e-7
    assert abs(expected) > 1e-2
    assert abs(float(tangent) - expected) < 1e-7


def test_the_limit_depends_on_the_start_through_the_conserved_quantities_alone(derived_limit):
    gradient = derived_limit[2][0]
    h_slopes = jax.jacrev(lambda p: lf.theory.balancedness(ARCH, p)[0])(START)
    found, along_h = np.asarray(ravel(gradient)), np.asarray(ravel(h_slopes))
    np.testing.assert_allclose(found, along_h * (found @ along_h) / (along_h @ along_h), atol=1e-12)
    assert np.linalg.norm(found) > 1e-3


@pytest.mark.slow
def test_one_unsound_seed_never_spoils_a_shared_derivative_under_zero(derived_limit):
    batch = tuple(jnp.stack([a, b]) for a, b in zip(START, ZEROS, strict=True))

    def each(targets):
        risk = risk_of(DATA.inputs, targets, None, 0.8)
        flows = jax.vmap(lambda start: lf.gradient_flow(risk, start, unsound_derivative="zero"))(batch)
        return jnp.sum(jnp.concatenate(flows.limit, axis=1), axis=1)

    one_by_one = jax.jit(jax.jacrev(each))(DATA.targets)
    assert np.all(np.isfinite(one_by_one))
    assert np.abs(one_by_one[0]).max() > 1e-3
    np.testing.assert_array_equal(one_by_one[1], 0)
    sound, unsound = (gradient[2] for gradient in derived_limit[2:4])  # by the targets, under "nan"
    assert np.all(np.isfinite(sound))
    assert np.all(np.isnan(sound + unsound))


def test_other_fields_have_derivative_zero(derived_limit):
    np.testing.assert_array_equal(ravel(derived_limit[4][0]), 0)


@pytest.mark.slow
def test_the_second_derivative_of_a_relaxation_is_the_closed_form():
    risk = filter_problem((2,), (1.0, 0.3))  # w(t) = y + exp(-t) (w(0) - y)

    def square_at_the_end(start):
        path = lf.gradient_flow(risk, (start,), times=jnp.asarray([0.2, 0.6]), **TIGHT).trajectory
        return jnp.sum(path.params[0][-1] ** 2)

    start, direction = jnp.asarray([0.5, -0.2]), jnp.asarray([0.3, -1.0])
    found, change = jax.jit(lambda w: jax.jvp(jax.grad(square_at_the_end), (w,), (direction,)))(start)
    targets, decay = jnp.asarray([1.0, 0.3]), np.exp(-0.6)
    np.testing.assert_allclose(found, 2 * decay * (targets + decay * (start - targets)), rtol=1e-8)
    np.testing.assert_allclose(change, 2 * decay**2 * direction, rtol=1e-8)
