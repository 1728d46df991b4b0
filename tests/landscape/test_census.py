"""The census finds every critical point, says so only when it is proved, and agrees with computer algebra."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import as_params, filter_problem, random_params, truth, truth_problem

import lcnn_flow as lf
from lcnn_flow.landscape.boxes import prove_zeros
from lcnn_flow.landscape.computing import census_of_solutions
from lcnn_flow.landscape.monodromy import find_start_set
from lcnn_flow.landscape.problem import square_problem
from lcnn_flow.landscape.solutions import find_solutions

SQUARE = [case["name"] for case in truth("critical_points") if case["loss"] == "square"]
QUICK = ("k22_s1_gen_d1", "k22_s1_gen_d2", "k22_s1_iso_d1", "k222_s11_gen_d1", "k222_s11_iso_d1", "k222_s22_iso_d1")


def drawn(kernel_sizes, seed, scale=1.0):
    """A problem of stride 1 with white inputs and unrelated targets."""
    arch = lf.Architecture(sum(kernel_sizes) - len(kernel_sizes) + 1, kernel_sizes)
    rng = np.random.default_rng(seed)
    inputs, targets = rng.normal(size=(12, *arch.input_shape)), rng.normal(size=(12, 1))
    return lf.EmpiricalRisk(arch, lf.losses.Square(), lf.Dataset(scale * inputs, scale * targets))


def numbers(census):
    """What must not depend on units or on how the orbits were found."""
    return [(o.hessian_index, o.jacobian_rank, tuple(np.round(o.end_to_end_filter, 8))) for o in census.orbits]


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SQUARE if name not in QUICK)]
)
def test_census_has_exactly_the_critical_points_of_computer_algebra(name):
    case = next(case for case in truth("critical_points") if case["name"] == name)
    census = lf.census(truth_problem(name))
    assert census.status == "certified_complete"
    assert census.finite == case["complex_orbits"]
    found = [census.match(as_params(point["filters"])) for point in case["critical_points"]]
    assert sorted(found) == list(range(len(census.orbits)))
    for number, point in zip(found, case["critical_points"], strict=True):
        orbit = census.orbits[number]
        assert orbit.risk == pytest.approx(point["risk"], rel=1e-12)
        assert orbit.risk_error <= 1e-15 * max(1, abs(orbit.risk))
        assert (orbit.hessian_index, orbit.jacobian_rank) == (point["hessian_index"], point["jacobian_rank"])
        assert (number in census.global_minima) == point["is_global"]
        assert np.allclose(orbit.end_to_end_filter, point["end_to_end_filter"], rtol=1e-12, atol=1e-13)
    assert bool(census.spurious_minima) == case["has_spurious_minimum"]


def test_orbits_are_critical_on_every_leaf_within_their_radius():
    risk = truth_problem("k222_s11_gen_d1")
    for orbit in lf.census(risk).orbits:
        assert 0 <= orbit.existence_radius < 1e-14
        assert np.linalg.norm(lf.theory.balancedness(risk.arch, as_params(orbit.params))) < 1e-14
        moved = as_params(orbit.on_leaf([0.7, -40.0]))
        assert np.allclose(lf.theory.balancedness(risk.arch, moved), [0.7, -40.0], rtol=1e-12)
        assert np.allclose(lf.end_to_end_filter(risk.arch, moved), orbit.end_to_end_filter, rtol=1e-10, atol=1e-12)
        gradient = jax.grad(risk)(as_params(orbit.params))
        assert max(float(jnp.max(jnp.abs(g))) for g in gradient) < 1e-12


def test_a_target_on_the_discriminant_is_incomplete_and_one_beside_it_is_not():
    census = lf.census(filter_problem((2, 2), (1.0, 2.0, 1.0)))
    assert (census.status, census.complex_found, census.global_minima) == ("incomplete", 3, None)
    beside = [lf.census(filter_problem((2, 2), (1.0, 2.0 + shift, 1.0))) for shift in (-1e-6, 1e-6)]
    assert [one.status for one in beside] == ["certified_complete"] * 2
    assert [len(one.orbits) for one in beside] == [2, 4]


def test_solutions_at_infinity_count_where_the_patches_are_white():
    rng = np.random.default_rng(0)
    census = lf.census(filter_problem((2, 2), tuple(rng.normal(size=4)), (2, 1)))
    assert (census.status, census.finite, census.at_infinity) == ("certified_complete", 2, 4)


@pytest.mark.slow
def test_two_filters_of_three_taps_at_stride_two_have_sixteen_solutions_at_infinity():
    root = np.sqrt(7) * np.eye(7)
    data = lf.Dataset(root, root @ np.random.default_rng(0).normal(size=(7, 1)))
    census = lf.census(lf.EmpiricalRisk(lf.Architecture(7, (3, 3), (2, 1)), lf.losses.Square(), data))
    assert (census.status, census.finite, census.at_infinity) == ("certified_complete", 23, 16)


def test_a_lost_a_doubled_or_a_foreign_solution_is_noticed():
    problem = square_problem("census", truth_problem("k22_s1_gen_d1"), 100)
    solutions = find_solutions([problem])[0]
    assert census_of_solutions(problem, solutions).status == "certified_complete"
    real = np.max(np.abs(solutions.coordinates.imag), axis=1) < 1e-9
    assert 0 < real.sum() < 6
    for row in np.flatnonzero(real):
        fewer = dataclasses.replace(solutions, coordinates=np.delete(solutions.coordinates, row, axis=0))
        census = census_of_solutions(problem, fewer)
        assert (census.status, census.complex_found, census.global_minima) == ("incomplete", 5, None)
    pair = dataclasses.replace(solutions, coordinates=solutions.coordinates[real])
    assert census_of_solutions(problem, pair).status == "incomplete"
    for row in range(6):
        doubled = np.concatenate([solutions.coordinates, solutions.coordinates[row : row + 1]])
        assert prove_zeros(problem, solutions.chart, doubled).clashes > 0
        again = dataclasses.replace(solutions, coordinates=doubled)
        assert census_of_solutions(problem, again).status == "incomplete"
        swapped = np.delete(doubled, (row + 1) % 6, axis=0)  # six solutions, one of them twice
        again = dataclasses.replace(solutions, coordinates=swapped)
        if real[(row + 1) % 6]:
            assert census_of_solutions(problem, again).status == "incomplete"


def test_solutions_of_other_data_prove_nothing():
    risk = truth_problem("k22_s1_gen_d1")
    inputs = np.array(risk.data.inputs)
    inputs[0, 0] *= 1 + 1e-4
    near = lf.EmpiricalRisk(risk.arch, risk.loss, lf.Dataset(inputs, risk.data.targets))
    problem, other = (square_problem("census", r, 100) for r in (risk, near))
    solutions = find_solutions([problem])[0]
    census = census_of_solutions(other, solutions)
    assert census.status == "incomplete"
    assert census.complex_found < 6
    assert census.global_minima is None


def test_census_does_not_depend_on_units_paths_or_start_sets():
    first = lf.census(drawn((2, 2, 2), 3))
    assert numbers(lf.census(drawn((2, 2, 2), 3), seed=7)) == numbers(first)
    large = lf.census(drawn((2, 2, 2), 3, scale=1e6))
    assert numbers(large) == numbers(first)
    assert np.allclose([o.risk for o in large.orbits], [1e12 * o.risk for o in first.orbits], rtol=1e-12)
    problem = square_problem("census", drawn((2, 2), 5), 100)
    other = find_solutions([problem], start=find_start_set((2, 2), seed=9))[0]
    assert numbers(census_of_solutions(problem, other)) == numbers(lf.census(drawn((2, 2), 5)))


def test_permuted_layers_have_the_same_end_to_end_filters():
    def filters(kernel_sizes):
        found = lf.census(drawn(kernel_sizes, 2))
        assert found.status == "certified_complete"
        return np.asarray([orbit.end_to_end_filter for orbit in found.orbits])

    assert np.allclose(filters((3, 2)), filters((2, 3)), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kernel_sizes", [(2, 2), (2, 2, 2)])
def test_indices_add_up_to_the_euler_characteristic(kernel_sizes):
    sums = set()
    for seed in range(12):
        census = lf.census(drawn(kernel_sizes, seed))
        assert census.status == "certified_complete"
        assert census.index_sum == census.expected_index_sum
        assert len(census.orbits) % 2 == census.expected_count % 2
        sums.add(census.index_sum)
    assert sums == ({0} if kernel_sizes == (2, 2) else {0, -2})


@pytest.mark.slow
@pytest.mark.parametrize("kernel_sizes", [(2, 2), (3, 2), (4, 2), (3, 3), (4, 3), (2, 2, 2), (3, 2, 2), (3, 3, 2)])
def test_indices_of_200_random_problems_add_up(kernel_sizes):
    for seed in range(200 if sum(kernel_sizes) < 8 else 10):
        census = lf.census(drawn(kernel_sizes, seed))
        assert census.status == "certified_complete", (seed, census.reason)
        assert census.index_sum == census.expected_index_sum, seed


def test_one_filter_and_filters_of_one_tap_have_one_critical_orbit():
    for kernel_sizes in ((4,), (1, 1), (1, 3, 1)):
        risk = drawn(kernel_sizes, 1)
        census = lf.census(risk)
        best = np.linalg.lstsq(np.asarray(risk.data.inputs), np.asarray(risk.data.targets)[:, 0], rcond=None)[0]
        assert (census.status, len(census.orbits), census.index_sum) == ("certified_complete", 1, 1)
        assert np.allclose(census.orbits[0].end_to_end_filter, best, rtol=1e-10)
        assert census.global_minima == (0,)
        assert census.expected_index_sum == 1


def test_images_and_filters_of_one_tap_are_counted_too():
    arch = lf.Architecture((2, 2), ((1, 2), (1, 1), (2, 1)))
    rng = np.random.default_rng(4)
    data = lf.Dataset(rng.normal(size=(9, 2, 2)), rng.normal(size=(9, 1, 1)))
    risk = lf.EmpiricalRisk(arch, lf.losses.Square(), data)
    census = lf.census(risk)
    assert (census.status, census.expected_count) == ("certified_complete", 6)
    for orbit in census.orbits:
        point = lf.classify(risk, as_params(orbit.params))
        assert (point.kind, point.hessian_index) == (orbit.kind, orbit.hessian_index)
        assert point.jacobian_rank == orbit.jacobian_rank


def test_points_that_are_not_critical_match_no_orbit():
    risk = truth_problem("k22_s1_gen_d1")
    census = lf.census(risk)
    assert census.match(random_params(0, risk.arch)) is None
    turned = tuple(w * s for w, s in zip(as_params(census.orbits[1].params), (-2.0, -0.5), strict=True))
    assert census.match(turned) == 1
    assert census.match(tuple(w * s for w, s in zip(turned, (1.0, -1.0), strict=True))) is None


def test_census_prints_what_is_proved():
    text = repr(lf.census(truth_problem("k22_s1_gen_d2")))
    assert "certified_complete: all 6 complex solutions are certified" in text
    assert "global minimum" in text
    assert "spurious minimum" in text


ARCH = lf.Architecture(4, (2, 2, 2))


def white(loss):
    return lf.EmpiricalRisk(ARCH, loss, lf.data.synthesize(jax.random.key(1), ARCH, samples=20, noise=0.1))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lf.census(ARCH), r"risk is an Architecture: write lf.EmpiricalRisk"),
        (
            lambda: lf.census(white(lf.losses.Lp(4.0))),
            r"counted for lf.losses.Square\(\) alone",
        ),
        (
            lambda: lf.census(white(lf.losses.Square()), max_paths=30),
            "have 34 complex critical",
        ),
        (lambda: lf.census(filter_problem((2, 2), (1.0, 2.0), rows=(0, 1))), "rank 2 and the end-to-end filter 3 taps"),
        (lambda: lf.census(filter_problem((2, 2), (0.0, 0.0, 0.0))), r"P\^T y = 0, so v = 0 is the only"),
        (lambda: lf.critical_count((2, 2)), "arch is a tuple of 2"),
        (lambda: lf.critical_count(lf.Architecture(4, (2, 2), channels=(1, 2, 1))), "not with channels"),
    ],
)
def test_what_cannot_be_counted_is_refused_in_one_line(call, message):
    with pytest.raises(lf.LcnnFlowError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
