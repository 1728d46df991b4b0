"""Where flows end is in the census: basins, the graph of minima and saddles, ensembles of data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import as_params, filter_problem, truth, truth_problem

import lcnn_flow as lf
from lcnn_flow.landscape.shares import wilson_interval

SQUARE = [case["name"] for case in truth("critical_points") if case["loss"] == "square"]


def starts(arch, count, seed=0):
    keys = jax.random.split(jax.random.key(seed), count)
    return lf.initializers.gaussian(0.8)(keys, arch)


def spurious_example():
    """The (2, 2) problem of stride 1 whose attainable target has a spurious minimum for 0.353 of N(0, I) starts."""
    form = np.array(
        [
            [27.71023675, 13.47872437, -9.08530081],
            [13.47872437, 7.86128237, -7.31690957],
            [-9.08530081, -7.31690957, 18.21803879],
        ]
    )
    root = np.linalg.cholesky(form).T * np.sqrt(3)
    best = np.array([0.41970709, -1.87370725, -0.8317362])
    data = lf.Dataset(root, (root @ best)[:, None])
    return lf.EmpiricalRisk(lf.Architecture(3, (2, 2)), lf.losses.Square(), data)


def test_every_limit_of_a_flow_is_an_orbit_of_its_index():
    risk = truth_problem("k22_s1_gen_d2")
    census = lf.census(risk)
    result = lf.basins(risk, census, starts(risk.arch, 8))
    assert np.all(result.verdicts == lf.Verdict.CONVERGED)
    assert result.unmatched == 0
    assert all(census.orbits[label].hessian_index == 0 for label in result.labels)
    flow = lf.gradient_flow_ensemble(risk, starts(risk.arch, 8))
    for label, risk_there in zip(result.labels, flow.risk, strict=True):
        assert risk_there == pytest.approx(census.orbits[label].risk, rel=1e-6)
    assert sum(share.count for share in result.shares) == 8
    assert result.spurious.count == sum(label in census.spurious_minima for label in result.labels)
    assert "certified spurious minima" in repr(result)


@pytest.mark.slow
def test_flows_on_ten_problems_end_in_orbits_of_the_census():
    for name in SQUARE[:10]:
        risk = truth_problem(name)
        census = lf.census(risk)
        result = lf.basins(risk, census, starts(risk.arch, 200))
        for verdict, label in zip(result.verdicts, result.labels, strict=True):
            if verdict == lf.Verdict.CONVERGED:
                assert census.orbits[label].hessian_index == 0
                assert label >= 0
            if verdict == lf.Verdict.AT_SADDLE and label >= 0:
                assert census.orbits[label].hessian_index > 0
        assert np.mean(result.labels >= 0) > 0.98


@pytest.mark.slow
def test_the_example_with_an_attainable_target_traps_its_share_of_starts():
    risk = spurious_example()
    census = lf.census(risk)
    assert len(census.spurious_minima) == 1
    trap = census.orbits[census.spurious_minima[0]]
    assert trap.risk == pytest.approx(2.600062, rel=1e-6)
    keys = jax.random.split(jax.random.key(0), 2000)
    params = lf.initializers.gaussian(1.0)(keys, risk.arch)
    low, high = lf.basins(risk, census, params).spurious.interval
    assert low < 0.353 < high


def test_wilson_intervals_are_those_of_the_textbook():
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson_interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson_interval(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)


@pytest.mark.slow
def test_saddles_join_all_minima_and_their_height_is_the_barrier():
    risk = truth_problem("k22_s1_gen_d2")
    census = lf.census(risk)
    graph = lf.morse_graph(risk, census)
    assert graph.connected
    assert [edge.saddle for edge in graph.edges] == [2, 3]
    assert any(set(edge.ends) == {0, 1} for edge in graph.edges)
    heights = [census.orbits[e.saddle].risk for e in graph.edges if set(e.ends) == {0, 1}]
    assert graph.barriers[1] == pytest.approx(min(heights) - census.orbits[1].risk)
    assert graph.barriers[0] == np.inf


@pytest.mark.slow
@pytest.mark.parametrize("name", SQUARE)
def test_graphs_of_the_reference_problems_are_connected(name):
    risk = truth_problem(name)
    graph = lf.morse_graph(risk, lf.census(risk))
    assert graph.connected or graph.into_saddles


def test_an_ensemble_is_the_census_of_each_of_its_data_sets():
    arch, rng = lf.Architecture(3, (2, 2)), np.random.default_rng(0)
    inputs, targets = rng.normal(size=(30, 8, 3)), rng.normal(size=(30, 8, 1))
    risks = jax.vmap(lambda x, y: lf.EmpiricalRisk(arch, lf.losses.Square(), lf.Dataset(x, y)))(inputs, targets)
    calls = []
    found = lf.census_ensemble(risks, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (30, 30)
    assert found.complete.all()
    for i in (0, 17, 29):
        one = lf.census(lf.EmpiricalRisk(arch, lf.losses.Square(), lf.Dataset(inputs[i], targets[i])))
        assert [o.hessian_index for o in found[i].orbits] == [o.hessian_index for o in one.orbits]
        assert np.allclose([o.risk for o in found[i].orbits], [o.risk for o in one.orbits], rtol=1e-12)
        assert (found.minima[i], found.spurious_minima[i]) == (len(one.minima), len(one.spurious_minima))
    assert "30 certified_complete" in repr(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", [case["name"] for case in truth("critical_points") if len(case["kernel_sizes"]) == 2])
def test_a_search_finds_certified_orbits_of_the_reference_problems_with_any_loss(name):
    case = next(case for case in truth("critical_points") if case["name"] == name)
    risk = truth_problem(name)
    found = lf.search_critical_points(risk, starts(risk.arch, 32))
    known = sorted((point["risk"], point["hessian_index"]) for point in case["critical_points"])
    for orbit in found.orbits:
        near = [index for value, index in known if value == pytest.approx(orbit.risk, rel=1e-9)]
        assert orbit.hessian_index in near
        assert orbit.certificate.status == "certified"
    minima = sum(point["hessian_index"] == 0 for point in case["critical_points"])
    assert sum(orbit.hessian_index == 0 for orbit in found.orbits) == minima
    if len(found.orbits) == len(known):
        assert found.index_sum == found.expected_index_sum
    assert "there may be others" in repr(found)


@pytest.mark.usefixtures("unchecked")
def test_a_census_of_other_data_is_refused():
    risk = filter_problem((2, 2), (1.0, 3.0, 1.5))
    census = lf.census(filter_problem((2, 2), (1.0, 3.0, 1.5 + 1e-15)))
    with pytest.raises(lf.RiskError, match="that of another risk"):
        lf.basins(risk, census, starts(risk.arch, 8))
    with pytest.raises(lf.RiskError, match="that of another risk"):
        lf.morse_graph(risk, census)
    with pytest.raises(lf.RiskError, match="the second argument is the census"):
        lf.basins(risk, starts(risk.arch, 8), census)
    with pytest.raises(lf.RiskError, match=r"write lf.census\(risk\)"):
        lf.census_ensemble(risk)
    wide = lf.Architecture(4, (2, 2), channels=(1, 2, 1))
    channels = lf.EmpiricalRisk(
        wide, lf.losses.Square(), lf.Dataset(np.eye(4)[:, None], np.ones((4, *wide.output_shape)))
    )
    with pytest.raises(lf.RiskError, match="with channels critical points are not isolated"):
        lf.search_critical_points(channels, starts(wide, 2))
    with pytest.raises(lf.ArchitectureError, match="needs 1 numbers"):
        lf.morse_graph(risk, lf.census(risk), (0.0, 0.0))
    assert as_params(census.orbits[0].params)[0].dtype == jnp.float64
