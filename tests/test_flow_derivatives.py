"""Derivatives through the trajectory and of the limit, against finite differences of tight flows."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import filter_problem

import lcnn_flow as lf
from lcnn_flow.network import ravel

ARCH = lf.Architecture(4, (2, 2))
DATA = lf.data.synthesize(jax.random.key(1), ARCH, samples=6, noise=0.3)
WEIGHTS = jnp.linspace(0.5, 1.5, 6)
START = (jnp.array([0.9, -0.4]), jnp.array([0.5, 0.7]))
PROBES = jax.random.normal(jax.random.key(9), (4,))
TIGHT = {"rtol": 1e-11, "gradient_rtol": 1e-11}


def risk_of(inputs, targets, weights, delta):
    return lf.EmpiricalRisk(ARCH, lf.losses.PseudoHuber(delta), lf.Dataset(inputs, targets, weights))


def limit(start, *data, **options):
    flow = lf.gradient_flow(risk_of(*data), start, **TIGHT, **options)
    return PROBES @ ravel(flow.limit)


def along(start, *data, **options):
    path = lf.gradient_flow(risk_of(*data), start, times=jnp.array([0.1, 0.7]), **TIGHT, **options).trajectory
    return jnp.sum(path.risk) + PROBES @ ravel(tuple(w[-1] for w in path.params)) + path.path_length[0]


ARGUMENTS = (START, DATA.inputs, DATA.targets, WEIGHTS, jnp.array(0.8))
DIRECTION = jax.tree.map(lambda x: jax.random.normal(jax.random.key(5), x.shape), ARGUMENTS)


@pytest.mark.parametrize("quantity", [limit, along], ids=lambda f: f.__name__)
def test_gradients_with_respect_to_start_data_weights_and_loss_are_those_of_finite_differences(quantity):
    compiled = jax.jit(quantity)
    h = 1e-4
    ends = [
        float(compiled(*jax.tree.map(lambda x, d, k=k: x + k * h * d, ARGUMENTS, DIRECTION))) for k in (-2, -1, 1, 2)
    ]
    expected = (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * h)
    gradient = jax.jit(jax.grad(quantity, argnums=tuple(range(5))))(*ARGUMENTS)
    found = sum(jnp.vdot(g, d) for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(DIRECTION), strict=True))
    assert abs(float(found) - expected) < 1e-7
    assert abs(expected) > 1e-2
    forward = {} if quantity is limit else {"adjoint": diffrax.ForwardMode()}
    _, tangent = jax.jit(lambda a, d: jax.jvp(lambda *x: quantity(*x, **forward), a, d))(ARGUMENTS, DIRECTION)
    assert abs(float(tangent) - expected) < 1e-7


def test_the_limit_depends_on_the_start_through_the_conserved_quantities_alone():
    gradient = jax.jit(jax.grad(limit))(*ARGUMENTS)
    h_slopes = jax.jacrev(lambda p: lf.theory.balancedness(ARCH, p)[0])(START)
    found, along_h = np.asarray(ravel(gradient)), np.asarray(ravel(h_slopes))
    np.testing.assert_allclose(found, along_h * (found @ along_h) / (along_h @ along_h), atol=1e-12)
    assert np.linalg.norm(found) > 1e-3


def test_one_unsound_seed_never_spoils_a_shared_derivative_under_zero():
    zero = tuple(jnp.zeros(2) for _ in START)  # the saddle: no derivative
    batch = tuple(jnp.stack([a, b]) for a, b in zip(START, zero, strict=True))

    def each(targets, how):
        risk = risk_of(DATA.inputs, targets, None, 0.8)
        flows = jax.vmap(lambda start: lf.gradient_flow(risk, start, unsound_derivative=how))(batch)
        return jnp.sum(jnp.concatenate(flows.limit, axis=1), axis=1)

    one_by_one = jax.jit(jax.jacrev(lambda targets: each(targets, "zero")))(DATA.targets)
    shared = jax.jit(jax.grad(lambda targets: jnp.sum(each(targets, "nan"))))(DATA.targets)
    assert np.all(np.isfinite(one_by_one))
    assert np.abs(one_by_one[0]).max() > 1e-3
    np.testing.assert_array_equal(one_by_one[1], 0)
    assert np.all(np.isnan(shared))


def test_other_fields_have_derivative_zero():
    risk = filter_problem((2, 2), (1, 3, 1))
    gradient = jax.grad(lambda p: lf.gradient_flow(risk, p).risk)(START)
    np.testing.assert_array_equal(ravel(gradient), 0)
