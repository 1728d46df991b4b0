"""Hard problems against the verdicts: nothing that the library says of a flow may be false.

The problems, the independent reference and the judge are those of `tests/adversarial`; `python -m tests.adversarial`
prints the same tables with every false statement and how to repeat it. The fast lane takes a fixed selection, the
slow lane ten thousand flows, each by both engines.
"""

import numpy as np
import pytest
from adversarial.cases import START_KINDS, condition
from adversarial.exact import critical_point
from adversarial.families import FAMILIES, FAST, Family, architecture
from adversarial.judge import Case
from adversarial.library import ENGINES
from adversarial.problem import Problem, make_shape
from adversarial.reference_flow import reference_flow
from adversarial.stored import stored_ends
from adversarial.table import Table, run_family
from problems import truth

import lcnn_flow as lf

SLOW_CONDITIONS = 35
"""Data sets per family: 36 families of 35 data sets with 8 starts each are 10,080 flows."""
WITHHELD = 0.2
"""Largest share of isolated minima of which the library may say nothing: else silence would pass."""


@pytest.fixture(scope="module")
def table() -> Table:
    """The fast lane: every kind of data with every kind of start."""
    found = Table()
    for number, engines, conditions in FAST:
        run_family(found, number, range(conditions), engines=engines)
    return found


def false_statements(found: Table, start: str) -> list[str]:
    """Those whose reason starts with this."""
    return [str(f) for f in found.false if f.judgement.reason.startswith(start)]


def test_no_converged_limit_is_uncritical(table):
    wrong = [s for place in ("at no", "beside", "to") for s in false_statements(table, f"CONVERGED {place}")]
    assert not wrong, "\n".join(wrong)


def test_no_converged_limit_has_negative_curvature(table):
    wrong = false_statements(table, "CONVERGED at a saddle")
    assert not wrong, "\n".join(wrong)


def test_no_converged_limit_is_that_of_another_flow(table):
    wrong = [s for s in (*false_statements(table, "CONVERGED"),) if "another" in s or "though" in s or "elsewhere" in s]
    assert not wrong, "\n".join(wrong)


def test_no_flow_at_a_saddle_could_leave_or_is_at_none(table):
    wrong = false_statements(table, "AT_SADDLE")
    assert not wrong, "\n".join(wrong)


def test_no_bounded_flow_diverges(table):
    wrong = false_statements(table, "DIVERGED")
    assert not wrong, "\n".join(wrong)


def test_most_isolated_minima_are_recognised(table):
    silent = sum(f.judgement.regular for f in table.findings)
    said = sum(f.judgement.outcome == "converged" and not f.judgement.unsure for f in table.findings)
    assert said > 40
    assert silent <= WITHHELD * (silent + said)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(FAMILIES)), ids=lambda n: f"{n}-{FAMILIES[n].loss}")
def test_nothing_said_of_ten_thousand_hard_flows_is_false(number):
    found = Table()
    run_family(found, number, range(SLOW_CONDITIONS), engines=ENGINES)
    print(found)
    assert len(found.findings) == SLOW_CONDITIONS * len(START_KINDS) * len(ENGINES)
    assert not found.false, "\n".join(map(str, found.false))


@pytest.mark.parametrize("number", [3, 12, 13, 16, 25, 35], ids=lambda n: str(FAMILIES[n]))
def test_problems_are_those_of_the_library_and_their_derivatives_those_of_differences(number):
    family = FAMILIES[number]
    shape = make_shape(family)
    drawn = condition(family, shape, 1, number, 0)
    problem, w = drawn.problem, np.random.default_rng(number).normal(size=shape.size)
    arch = architecture(family)
    loss = lf.losses.Lp(family.p) if family.p is not None else lf.losses.LOSSES[family.loss](*drawn.numbers)
    data = lf.Dataset(drawn.inputs.astype(float), drawn.targets.astype(float))
    risk = lf.EmpiricalRisk(arch, loss, data, form="layers")
    expected = np.asarray(risk.gradient(np.asarray(w)))
    size = np.max(problem.uncancelled(w))
    np.testing.assert_allclose(problem.gradient(w), expected, rtol=1e-9, atol=1e-11 * size)
    if family.p is not None and family.p < 2:
        return  # differences across zero residuals say little
    for layer in shape.layers:
        step = 1e-6 * np.linalg.norm(w[layer])
        for j in range(layer.start, layer.stop):
            move = step * np.eye(shape.size)[j]
            slope = (problem.gradient(w + move) - problem.gradient(w - move)) / (2 * step)
            hessian = problem.hessian(w)
            np.testing.assert_allclose(hessian[j], slope, rtol=1e-4, atol=1e-5 * np.max(np.abs(hessian)))


@pytest.mark.parametrize("case", [c for c in truth("flows") if c["limit_kind"] == "min"], ids=lambda c: c["name"])
def test_reference_reaches_the_limits_of_50_digit_integration(case):
    data = next(c for c in truth("critical_points") if c["name"] == case["case"])
    problem = from_arrays(data["kernel_sizes"], data["strides"], data["inputs"], data["targets"])
    found = reference_flow(problem, np.concatenate(case["initial_filters"]).astype(float))
    assert found.status == "minimum"
    assert found.isolated
    np.testing.assert_allclose(found.vector, np.concatenate(case["limit_filters"]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("index", [0, 3, 10])
def test_ends_of_the_reference_are_among_the_stored_ones(index):
    """Not by their key: on another machine the data may differ in the last bits."""
    drawn = condition(FAMILIES[0], make_shape(FAMILIES[0]), 0, 0, index)
    found = reference_flow(drawn.problem, drawn.starts[list(START_KINDS).index("gaussian")])
    same = [end for end in stored_ends().values() if len(end[1]) == 4 and np.allclose(end[1], found.vector, rtol=1e-9)]
    assert same
    assert all((status, isolated) == (found.status, found.isolated) for status, _, isolated, _ in same)


def from_arrays(kernels, strides, inputs, targets) -> Problem:
    """A problem with the square loss and given data."""
    inputs, targets = np.array(inputs, float), np.array(targets, float)
    family = Family("square", tuple(kernels), tuple(strides), targets.shape[1], len(inputs))
    return Problem(make_shape(family), inputs, targets, "square", ())


@pytest.fixture(scope="module")
def plain() -> Case:
    """A regular problem: white data, a Gaussian start."""
    return Case(FAMILIES[0], condition(FAMILIES[0], make_shape(FAMILIES[0]), 0, 0, 0), 0)


def test_judge_accepts_what_is_true(plain):
    assert plain.reference.isolated
    assert plain.judge(lf.Verdict.CONVERGED, plain.reference.vector, True).outcome == "converged"
    assert plain.judge(lf.Verdict.TIME_LIMIT, plain.start, False).outcome == "withheld"
    assert plain.judge(7, plain.start, False).outcome == "withheld"


def test_judge_finds_what_is_false(plain):
    limit = plain.reference.vector
    beside = limit * (1 + 1e-5 * np.arange(limit.size))
    elsewhere = np.zeros_like(limit)
    for verdict, vector in (
        (lf.Verdict.CONVERGED, beside),
        (lf.Verdict.CONVERGED, elsewhere),
        (lf.Verdict.AT_SADDLE, limit),
        (lf.Verdict.AT_SADDLE, elsewhere),
        (lf.Verdict.DIVERGED, limit),
    ):
        assert plain.judge(verdict, vector, True).outcome == "FALSE"


def test_exact_search_counts_curvatures_and_leaves_kernels_alone():
    """L = |P v - y|^2/2 with k = (2,2): y = (1,2,1) has a root common to both layers, P = (1,0,0) sees one tap."""
    double = from_arrays((2, 2), (1, 1), np.eye(3), [[1.0], [2.0], [1.0]])
    found = critical_point(double, np.ones(4), np.ones(4))
    assert (found.status, found.index, found.nullity) == ("found", 0, 1)
    blind = from_arrays((2, 2), (1, 1), [[1.0, 0, 0]], [[1.0]])
    found = critical_point(blind, np.array([1.0, 5.0, 1.0, 3.0]), np.array([1.0, 5.0, 1.0, 3.0]))
    assert (found.status, found.distance, found.index, found.nullity) == ("found", 0.0, 0, 2)
    origin = critical_point(double, np.zeros(4), np.zeros(4))
    assert (origin.status, origin.index) == ("found", 2)


def test_reference_keeps_symmetric_flows_at_their_saddle():
    problem = from_arrays((2, 2), (1, 1), np.eye(3), [[1.0], [3.0], [1.0]])
    start = np.array([1.0, 0.3, 1.0, 0.3])
    assert reference_flow(problem, start).status == "saddle"
    assert reference_flow(problem, start + np.array([1e-6, 0, 0, 0])).status == "minimum"
