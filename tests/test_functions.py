"""Flows of arbitrary functions: nothing that the library says of their limits may be false.

The functions, the independent reference and the judge are those of `tests/functions`; `python -m tests.functions`
prints the table with every false statement and how to repeat it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from functions.duals import variables
from functions.judge import Case
from functions.reference import critical_point
from functions.reference_flow import flow_ends
from functions.structure import Start
from functions.table import STRUCTURES, Table, draw_function, run_structure

import lcnn_flow as lf

SLOW_FUNCTIONS = 48
"""Of each of the 21 structures: 1,008 functions."""
DECIDED = 0.8
"""Least share of flows to nondegenerate limits that are decided: else silence would pass."""
NUMBER = {structure.name: index for index, structure in enumerate(STRUCTURES)}
FORTY = {"degenerate": 20, "manifolds": 20}


@pytest.fixture(scope="module")
def table() -> Table:
    """40 functions of two programs, for it is programs that take time."""
    found = Table()
    for name, count in FORTY.items():
        run_structure(found, NUMBER[name], range(count))
    return found


@pytest.mark.slow
def test_nothing_said_of_forty_functions_is_false(table):
    assert len({(f.structure, f.number) for f in table.findings}) == 40
    assert not table.false, "\n".join(map(str, table.false))


@pytest.mark.slow
def test_most_nondegenerate_limits_are_decided(table):
    said, of = table.decided()
    assert of > 30
    assert said >= DECIDED * of, table


@pytest.mark.slow
def test_units_change_no_verdict(table):
    changed = [f for f in table.findings if f.changed]
    assert not changed, "\n".join(map(str, changed))


@pytest.mark.slow
@pytest.mark.parametrize("index", range(len(STRUCTURES)), ids=lambda i: STRUCTURES[i].name)
def test_nothing_said_of_a_thousand_functions_is_false(index):
    found = Table()
    run_structure(found, index, range(SLOW_FUNCTIONS))
    print(found)
    said, of = found.decided()
    assert not found.false, "\n".join(map(str, found.false))
    assert said >= DECIDED * of


@pytest.mark.parametrize(
    "index",
    [
        pytest.param(i, marks=pytest.mark.slow if s.name == "ridges" else (), id=s.name)
        for i, s in enumerate(STRUCTURES)
    ],
)
def test_both_implementations_are_the_same_function(index):
    structure = STRUCTURES[index]
    if structure.name == "ridges":
        draws = [draw_function(index, 0, 1)[0]]  # its starts take a search
    else:
        draws = [draw_function(index, number, 1)[0] for number in range(6)]
    data = {k: np.stack([d.data[k] for d in draws]) for k in draws[0].data}
    points = np.stack([d.starts[-1].vector for d in draws])
    jet = structure.jet(variables(points), data)

    def value(vector, data):
        shapes = {k: np.zeros(s) for k, s in structure.shapes.items()}
        ends = np.cumsum([x.size for x in shapes.values()])[:-1]
        parts = jnp.split(vector, ends)
        params = {k: w.reshape(x.shape) for (k, x), w in zip(shapes.items(), parts, strict=True)}
        return structure.function(params, data)

    def derivatives(vector, data):
        return value(vector, data), jax.grad(value)(vector, data), jax.hessian(value)(vector, data)

    found = jax.jit(jax.vmap(derivatives))(points, data)
    for mine, theirs in zip((jet.v, jet.g, jet.h), map(np.asarray, found), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-11 * max(1.0, np.max(np.abs(theirs))))


def test_reference_knows_minima_manifolds_saddles_and_what_is_none_of_them():
    rosenbrock, crossings = (STRUCTURES[NUMBER[name]] for name in ("Rosenbrock", "crossings"))
    data = {"a": np.array(1.0), "b": np.array(100.0)}
    point = critical_point(rosenbrock, data, np.array([1.0, 1.0, 1.0 + 1e-9]), 1.0)
    assert (point.found, point.index, point.nullity, point.on_manifold) == (True, 0, 0, True)
    data = {"R": np.eye(4), "c": np.array([1.0, 0, 0, 0, 0, 1])}  # (xy)^2 + z^2 + w^2
    on_axis = critical_point(crossings, data, np.array([0.7, 0, 0, 0]), 1.0)
    assert (on_axis.nullity, on_axis.regular) == (1, True)
    crossing = critical_point(crossings, data, np.zeros(4), 1.0)
    assert (crossing.nullity, crossing.regular) == (2, False)
    assert not critical_point(crossings, data, np.array([0.7, 0.1, 0, 0]), 1.0).found


def test_reference_flow_ends_where_it_is_known_to():
    """L = (x^2 - 1)^2/4 + ...: of -x, x the sign decides; y^2 exp(-x) conserves x + y^2/4."""
    index = NUMBER["valleys"]
    data = {"R": np.eye(3), "c": np.array([0, 1.0, 0, 0, 0, 0])}
    start = np.array([1.0, 2.0, 0.5])
    end = flow_ends(STRUCTURES[index], {k: v[None] for k, v in data.items()}, start[None], 1e-9)
    assert end.rested[0]
    np.testing.assert_allclose(end.vectors[0], [2.0, 0, 0], atol=1e-6)


def test_judge_finds_what_is_false():
    structure = STRUCTURES[NUMBER["Rosenbrock"]]
    draw = draw_function(NUMBER["Rosenbrock"], 0, 0)[0]
    case = Case(structure, draw, Start(draw.starts[0].vector), np.ones(3), True)
    assert not case.judge(lf.Verdict.CONVERGED, np.ones(3), True).false
    assert case.judge(lf.Verdict.CONVERGED, np.ones(3) + 1e-7, True).false
    assert case.judge(lf.Verdict.AT_SADDLE, np.ones(3), False).false
    assert case.judge(lf.Verdict.CONVERGED, np.zeros(3), True).false
    degenerate = Case(structure, draw, Start(draw.starts[0].vector, "none"), np.ones(3), True)
    assert degenerate.judge(lf.Verdict.CONVERGED, np.ones(3), True).false


def fading(p):
    """The limit of x is x(0) + y(0)^2/4: x + y^2/4 is conserved."""
    return p[1] ** 2 * jnp.exp(-p[0]) + p[2] ** 2


def two_wells(p):
    """Turned without rounding; the flow stays at u_0 = 0, and tends to the saddle at 0."""
    u = jnp.asarray([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], float) @ p / 2
    return (u[0] ** 2 - 1) ** 2 + 0.3 * u[1] ** 2 + u[2] ** 2 / 2 + u[3] ** 2


def narrow(p):
    """A well at 0.99937 on the way to 0."""
    return p[0] ** 2 / 2 - 0.02 * jnp.exp(-(((p[0] - 1) / 0.005) ** 2))


def tiny(p):
    """Least squares of parameters of 1e-6, from 0."""
    q = p * 1e6
    return 1e6 * ((q[0] + 2 * q[1] - 1) ** 2 + 100 * (q[0] - q[1] + q[2] - 2) ** 2)


def eight_lines(p):
    """Of degree 16 in x and y: the origin is the crossing of eight lines of critical points."""
    ways = [np.cos((1.7 + k) * np.array([0.3, 1.3])) for k in range(4)]
    lines = jnp.asarray([[-s * w[1], w[0]] for w in ways for s in (1, -1)])
    return jnp.prod(lines @ p[:2]) ** 2 + p[2] ** 2


@pytest.mark.parametrize(
    ("function", "start", "truth"),
    [
        pytest.param(fading, [15.0, 0.2, 1.0], [15.01, 0, 0], marks=pytest.mark.slow),
        (two_wells, [0.625, -0.125, 0.375, -0.875], [0, 0, 0, 0]),
        pytest.param(narrow, [2.5], [0.9993652488], marks=pytest.mark.slow),
        pytest.param(tiny, [0.0, 0.0, 0.0], [8e-6 / 7, -0.5e-6 / 7, 5.5e-6 / 7], marks=pytest.mark.slow),
        pytest.param(eight_lines, [0.0, 0.0, 1.0], None, marks=pytest.mark.slow),
    ],
    ids=["fading", "two wells", "narrow", "tiny", "eight lines"],
)
def test_no_limit_is_claimed_elsewhere(function, start, truth):
    flow = lf.gradient_flow(function, jnp.asarray(start))
    if flow.verdict == lf.Verdict.CONVERGED:
        assert truth is not None
        np.testing.assert_allclose(flow.limit, truth, atol=1e-4 * np.linalg.norm(truth))
