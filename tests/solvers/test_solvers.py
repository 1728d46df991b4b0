"""Rosenbrock methods: order, dense output, stability, and steps that must not be taken."""

import math
from functools import cache
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import random_params, random_problem

import lcnn_flow as lf
from lcnn_flow.dynamics.field import FieldArguments, symmetric_stage_solver, vector_field
from lcnn_flow.network.parameters import ravel
from lcnn_flow.solvers import Rodas4, Rodas5P, inverse_positive_definite

METHODS = pytest.mark.parametrize(("method", "order"), [(Rodas4, 4), (Rodas5P, 5)])
TIMES = np.linspace(0.0, 1.0, 38)  # most of them inside of a step, whatever the number of steps


def solve(field, y0, steps, solver, **options) -> Any:
    """Constant steps from 0 to 1."""
    return diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        solver,
        0.0,
        1.0,
        1 / steps,
        y0,
        stepsize_controller=diffrax.ConstantStepSize(),
        **options,
    )


def two_problems(t, y, args):
    """Two problems side by side, both nonlinear and with states that act on one another.

    driven: non-autonomous, solution a = b = 1/(1 + sin t).
    product: autonomous, the gradient flow of (ab)^2/2; a^2 - b^2 = 2 is conserved.
    """
    driven, product = y["driven"], y["product"]
    drive = -(driven["a"] ** 2) * jnp.cos(t)
    return {
        "driven": {"a": drive, "b": -3 * (driven["b"] - driven["a"]) + drive},
        "product": {"a": -product["a"] * product["b"] ** 2, "b": -(product["a"] ** 2) * product["b"]},
    }


def two_solutions(t):
    """product: a^2 = coth(2t + 1) + 1, b^2 = coth(2t + 1) - 1, so ab = 1/sinh(2t + 1), (ab)' = -ab (a^2 + b^2)."""
    sine, coth = 1 / (1 + np.sin(t)), 1 / np.tanh(2 * t + 1)
    return {"driven": {"a": sine, "b": sine}, "product": {"a": np.sqrt(coth + 1), "b": np.sqrt(coth - 1)}}


@cache
def errors(method, problem, steps):
    """Errors of b: at the end, where a step ends, and the largest at `TIMES`."""
    start = jax.tree.map(jnp.asarray, two_solutions(0.0))
    saved = _compiled(method)(jnp.asarray(float(steps)), start)[problem]["b"]
    wrong = np.abs(saved - two_solutions(TIMES)[problem]["b"])
    return wrong[-1], wrong.max()


@cache
def _compiled(method):
    saveat = diffrax.SaveAt(ts=jnp.asarray(TIMES))
    return jax.jit(lambda steps, start: solve(two_problems, start, steps, method(), saveat=saveat).ys)


def observed_order(coarse, fine, ratio):
    """Order of an error that falls from `coarse` to `fine` as steps get `ratio` times shorter."""
    return np.log(coarse / fine) / np.log(ratio)


@METHODS
@pytest.mark.parametrize("problem", ["driven", "product"])
def test_global_error_has_the_order_of_the_method(method, order, problem):
    coarse, fine = errors(method, problem, 32)[0], errors(method, problem, 128)[0]
    assert abs(observed_order(coarse, fine, 4) - order) < 0.3
    assert fine < 1e-10


@METHODS
@pytest.mark.parametrize("problem", ["driven", "product"])
def test_dense_output_loses_no_order_of_the_global_error(method, order, problem):
    coarse, fine = errors(method, problem, 8)[1], errors(method, problem, 128)[1]
    assert observed_order(coarse, fine, 16) > order - 0.3


def rooted_trees(size):
    """Rooted trees with `size` vertices, each the sorted tuple of its subtrees at the root."""
    if size == 1:
        return {()}
    return {
        tuple(sorted((*rest, branch)))
        for part in range(1, size)
        for branch in rooted_trees(part)
        for rest in rooted_trees(size - part)
    }


def density(tree):
    """Vertices of the tree times the densities of its subtrees."""
    return vertices(tree) * math.prod(map(density, tree))


def vertices(tree):
    """Number of vertices."""
    return 1 + sum(map(vertices, tree))


def elementary_weights(tree, alpha, beta):
    """One entry a stage; a vertex with one branch goes on with beta, all others with alpha."""
    matrix = beta if len(tree) == 1 else alpha
    return math.prod((matrix @ elementary_weights(t, alpha, beta) for t in tree), start=np.ones(len(alpha)))


def classical(tab):
    """alpha_ij, gamma_ij of the method in the variables k = f + ..., where u = gamma k."""
    gamma = np.linalg.inv(np.eye(len(tab.b)) / tab.gamma - tab.c)
    return tab.a @ gamma, gamma


def misses(tab, weights, size, theta=1.0):
    """Largest residual of the order conditions of trees with `size` vertices, for the solution at theta."""
    alpha, gamma = classical(tab)
    return max(
        abs(weights @ gamma @ elementary_weights(tree, alpha, alpha + gamma) - theta**size / density(tree))
        for tree in rooted_trees(size)
    )


def test_there_are_seventeen_rooted_trees_with_up_to_five_vertices():
    assert [len(rooted_trees(size)) for size in (1, 2, 3, 4, 5)] == [1, 1, 2, 4, 9]


@METHODS
def test_tableau_meets_all_order_conditions_and_no_more(method, order):
    tab = method.tableau
    met = [misses(tab, tab.b, size) for size in range(1, order + 2)]
    assert max(met[:-1]) < 1e-13
    assert met[-1] > 1e-3
    embedded = [misses(tab, tab.b - tab.e, size) for size in range(1, order + 1)]
    assert max(embedded[:-1]) < 1e-13
    assert embedded[-1] > 1e-3
    for theta in (0.1, 0.5, 0.8):
        bend = sum(theta**power * row for power, row in enumerate(tab.dense))
        dense = theta * tab.b + theta * (1 - theta) * bend
        assert max(misses(tab, dense, size, theta) for size in range(1, order)) < 1e-13


@METHODS
def test_embedded_solution_is_the_point_of_the_last_stage(method, order):
    np.testing.assert_array_equal(method.tableau.b - method.tableau.e, method.tableau.a[-1])


@METHODS
def test_time_enters_as_one_more_state_would(method, order):
    alpha, gamma = classical(method.tableau)
    np.testing.assert_allclose(alpha.sum(axis=1), method.tableau.alpha, rtol=0, atol=1e-13)
    np.testing.assert_allclose(gamma.sum(axis=1), method.tableau.gamma_sum, rtol=0, atol=1e-13)


def stability_function(tab, weights, z):
    """R(z) = 1 + z b^T (I - z (alpha + gamma))^-1 1."""
    alpha, gamma = classical(tab)
    ones = np.ones(len(tab.b))
    return 1 + z * weights @ gamma @ np.linalg.solve(np.eye(len(ones)) - z * (alpha + gamma), ones)


@METHODS
def test_method_and_embedded_method_are_l_stable(method, order):
    tab = method.tableau
    for weights in (tab.b, tab.b - tab.e):
        # A-stable: the only pole is 1/gamma > 0, so a bound on the imaginary axis is one on the left half plane.
        assert max(abs(stability_function(tab, weights, 1j * y)) for y in np.geomspace(1e-2, 1e6, 2001)) <= 1
        alpha, gamma = classical(tab)
        at_infinity = 1 - weights @ gamma @ np.linalg.solve(alpha + gamma, np.ones(len(weights)))
        assert abs(at_infinity) < 1e-13


@METHODS
def test_a_step_of_a_linear_problem_multiplies_by_the_stability_function(method, order):
    @jax.jit
    def step(real, imaginary):
        def field(t, y, args):
            return jnp.stack([real * y[0] - imaginary * y[1], imaginary * y[0] + real * y[1]])

        start = jnp.array([1.0, 0.0])
        return method().step(diffrax.ODETerm(field), 0.0, 1.0, start, None, None, False)[0]

    for z in (-1.0, -30.0, -1e8, 0.5, 3j, 100j, -2 + 5j):
        end = step(jnp.asarray(z.real, float), jnp.asarray(z.imag, float))
        expected = stability_function(method.tableau, method.tableau.b, z)
        np.testing.assert_allclose(end, [expected.real, expected.imag], atol=1e-12)


@METHODS
def test_eigenvalues_1_and_1e6_are_solved_in_a_few_steps(method, order):
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(2, 2)))[0]
    matrix = jnp.asarray(axes * [1.0, 1e6] @ axes.T)
    solution: Any = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, args: -matrix @ y),
        method(),
        0.0,
        1.0,
        1e-6,
        jnp.asarray(axes.sum(axis=1)),
        stepsize_controller=diffrax.PIDController(rtol=1e-6, atol=1e-6),
    )
    np.testing.assert_allclose(axes.T @ solution.ys[0], [np.exp(-1.0), 0.0], atol=1e-5)
    assert solution.stats["num_steps"] < 60  # an explicit method needs some 3e5


def prothero_robinson_error(method, steps):
    """Largest error on y' = -1e4 (y - sin t) + cos t, y = sin t."""
    solver, stiffness = method(), 1e4
    term = diffrax.ODETerm(lambda t, y, args: -stiffness * (y - jnp.sin(t)) + jnp.cos(t))

    @jax.jit
    def step(t, y):
        return solver.step(term, t, t + 1 / steps, y, None, None, False)[0]

    times, y, worst = np.arange(steps) / steps, jnp.array([0.0]), 0.0
    for t in times:
        y = step(t, y)
        worst = max(worst, abs(float(y[0]) - np.sin(t + 1 / steps)))
    return worst


@pytest.mark.parametrize(("method", "stiff_order"), [(Rodas4, 1), (Rodas5P, 3)])
def test_order_in_the_stiff_limit(method, stiff_order):
    coarse, fine = prothero_robinson_error(method, 10), prothero_robinson_error(method, 20)
    assert abs(observed_order(coarse, fine, 2) - stiff_order) < 0.3


def test_stiff_problem_agrees_with_kvaerno5_and_order_five_needs_fewer_steps():
    def field(t, y, args):  # Robertson's kinetics
        rates = jnp.array([0.04 * y[0], 1e4 * y[1] * y[2], 3e7 * y[1] ** 2])
        return jnp.stack([rates[1] - rates[0], rates[0] - rates[1] - rates[2], rates[2]])

    def flow(solver) -> Any:
        return diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            solver,
            0.0,
            40.0,
            1e-4,
            jnp.array([1.0, 0.0, 0.0]),
            stepsize_controller=diffrax.PIDController(rtol=1e-9, atol=1e-12),
        )

    expected, four, five = (flow(solver) for solver in (diffrax.Kvaerno5(), Rodas4(), Rodas5P()))
    np.testing.assert_allclose(four.ys, expected.ys, rtol=1e-6)
    np.testing.assert_allclose(five.ys, expected.ys, rtol=1e-6)
    assert five.stats["num_steps"] < 0.7 * four.stats["num_steps"]


@pytest.mark.parametrize(("length", "rejected"), [(3.9, False), (4.1, True), (1e6, True)])
def test_a_step_past_the_unstable_modes_is_rejected(length, rejected):
    one = jnp.ones((1, 1))
    risk = lf.EmpiricalRisk(lf.Architecture(1, (1, 1)), lf.losses.Square(), lf.Dataset(one, one))
    solver = Rodas4(stage_solver=symmetric_stage_solver)
    real = jnp.asarray(0.0)
    args = FieldArguments(risk, real, real, real, real, real, jnp.asarray(False), real, jnp.eye(2))
    start = jnp.zeros(2)  # the saddle: eigenvalues -1 and 1, so I/gamma + h H is definite up to h = 4

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
        return solve(lambda t, y, args: -args * y, jnp.array([1.0]), 20, Rodas4(), args=rate).ys[0, 0]

    np.testing.assert_allclose(jax.jit(jax.grad(end))(jnp.array(2.0)), -np.exp(-2.0), rtol=1e-5)


@pytest.mark.slow
def test_gradient_flow_by_rodas5p_has_the_trajectory_and_limit_that_rodas4_finds():
    arch = lf.Architecture(3, (2, 2))
    risk, params = random_problem(arch, lf.losses.Square()), random_params(3, arch)
    times = lf.log_times(1e-2, 1e2, 20)
    flow: Any = lf.gradient_flow(risk, params, times=times, rtol=1e-10, solver=Rodas5P())
    solution: Any = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, w, args: -risk.gradient(w)),
        Rodas4(),
        0.0,
        1e5,
        1e-4,
        ravel(params),
        saveat=diffrax.SaveAt(ts=jnp.append(times, 1e5)),
        stepsize_controller=diffrax.PIDController(rtol=1e-10, atol=1e-11),
    )
    states = solution.ys
    trajectory = jnp.concatenate([w.reshape(len(times), -1) for w in flow.trajectory.params], axis=1)
    np.testing.assert_allclose(trajectory, states[:-1], atol=1e-8)
    np.testing.assert_allclose(ravel(flow.limit), states[-1], atol=1e-8)
    assert np.abs(states[-1] - states[0]).max() > 0.1
