"""Rodas4: order, dense output, stability, and steps that must not be taken."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lcnn_flow as lf
from lcnn_flow.flow_field import FieldArguments, symmetric_stage_solver, vector_field
from lcnn_flow.solvers import Rodas4, inverse_positive_definite


def solve(field, y0, steps, **options):
    """Constant steps from 0 to 1."""
    return diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        Rodas4(),
        0.0,
        1.0,
        1 / steps,
        y0,
        stepsize_controller=diffrax.ConstantStepSize(),
        **options,
    )


def coupled(t, y, args):
    """Solution a = b = 1/(1 + sin t): nonlinear, non-autonomous, with a pytree as state."""
    drive = -(y["a"] ** 2) * jnp.cos(t)
    return {"a": drive, "b": -3 * (y["b"] - y["a"]) + drive}


def test_global_error_is_of_order_four():
    exact = 1 / (1 + np.sin(1.0))
    start = {"a": jnp.array(1.0), "b": jnp.array(1.0)}
    errors = [abs(float(solve(coupled, start, n).ys["b"][0]) - exact) for n in (40, 160)]
    assert np.log2(errors[0] / errors[1]) / 2 > 3.6
    assert errors[1] < 1e-12


def test_dense_output_is_of_order_three_or_better():
    times = jnp.linspace(0.0, 1.0, 37)
    start = {"a": jnp.array(1.0), "b": jnp.array(1.0)}
    saveat = diffrax.SaveAt(ts=times)
    errors = [np.abs(solve(coupled, start, n, saveat=saveat).ys["b"] - 1 / (1 + np.sin(times))).max() for n in (8, 32)]
    assert np.log2(errors[0] / errors[1]) / 2 > 2.8


def test_stability_function_vanishes_at_infinity_and_is_bounded_on_the_imaginary_axis():
    def growth(real, imaginary):
        matrix = jnp.array([[real, -imaginary], [imaginary, real]])
        end = solve(lambda t, y, args: matrix @ y, jnp.array([1.0, 0.0]), 1).ys[0]
        return float(jnp.linalg.norm(end))

    assert growth(-1e8, 0.0) < 1e-6
    assert all(growth(0.0, omega) <= 1 + 1e-9 for omega in (0.1, 1.0, 3.0, 10.0, 100.0))


def test_stiff_problem_agrees_with_kvaerno5():
    def field(t, y, args):  # Robertson's kinetics
        rates = jnp.array([0.04 * y[0], 1e4 * y[1] * y[2], 3e7 * y[1] ** 2])
        return jnp.stack([rates[1] - rates[0], rates[0] - rates[1] - rates[2], rates[2]])

    def end(solver):
        return diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            solver,
            0.0,
            40.0,
            1e-4,
            jnp.array([1.0, 0.0, 0.0]),
            stepsize_controller=diffrax.PIDController(rtol=1e-9, atol=1e-12),
        ).ys[0]

    np.testing.assert_allclose(end(Rodas4()), end(diffrax.Kvaerno5()), rtol=1e-6)


@pytest.mark.parametrize(("length", "rejected"), [(3.9, False), (4.1, True), (1e6, True)])
def test_a_step_past_the_unstable_modes_is_rejected(length, rejected):
    one = jnp.ones((1, 1))
    risk = lf.EmpiricalRisk(lf.Architecture(1, (1, 1)), lf.losses.Square(), lf.Dataset(one, one))
    solver = Rodas4(stage_solver=symmetric_stage_solver)
    real = jnp.asarray(0.0)
    args = FieldArguments(risk, real, real, real, real, jnp.eye(2))
    start = jnp.zeros(4)  # the saddle: eigenvalues -1 and 1, so I/gamma + h H is definite up to h = 4

    def error(h):
        return solver.step(diffrax.ODETerm(vector_field), 0.0, h, start, args, None, False)[1]

    assert bool(jnp.all(jnp.isinf(jax.jit(error)(length)))) == rejected


@pytest.mark.parametrize("condition", [1e2, 1e10])
def test_inverse_is_accurate_and_sees_definiteness(condition):
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    eigenvalues = np.geomspace(1, condition, 6)
    matrix = jnp.asarray(axes * eigenvalues @ axes.T)
    inverse, positive = inverse_positive_definite(matrix)
    assert positive
    stiff = axes[:, -1]
    assert abs(stiff @ inverse @ stiff * condition - 1) < 1e-15 * condition
    np.testing.assert_allclose(inverse, axes / eigenvalues @ axes.T, atol=1e-15 * condition)
    assert not inverse_positive_definite(matrix - 2 * jnp.eye(6))[1]


def test_a_rosenbrock_method_works_outside_of_gradient_flow_under_jit_and_grad():
    def end(rate):
        return solve(lambda t, y, args: -args * y, jnp.array([1.0]), 20, args=rate).ys[0, 0]

    np.testing.assert_allclose(jax.jit(jax.grad(end))(jnp.array(2.0)), -np.exp(-2.0), rtol=1e-5)
