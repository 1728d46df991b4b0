"""Censuses in runs: what is refused, what is stored of every cell and flow, and what reports say of it."""

import csv
import re

import fakes
import numpy as np
import pytest
import xarray as xr
from problems import truth, truth_problem

import lcnn_flow as lf
from experiments.census_answer import answer_with_census, census_answer
from experiments.cli import main
from experiments.closed_forms import minima_of_two_pairs
from experiments.computing.census import ends_of_flows, points_of_cell
from experiments.figures import house_style
from experiments.modules import MODULES, landscape, spurious_minima
from experiments.reporting.census_table import census_table, landscape_table
from experiments.reporting.summary import cell_rows
from experiments.results.data_groups import data_groups, share_over_data
from experiments.results.variables import NOT_COMPUTED
from lcnn_flow.critical import Kind
from lcnn_flow.landscape import Share, wilson_interval

LANDSCAPE = MODULES["landscape"]
CASE = next(case for case in truth("critical_points") if case["name"] == "k22_s1_gen_d1")
CURVATURE = np.array(
    [
        [27.71023675, 13.47872437, -9.08530081],
        [13.47872437, 7.86128237, -7.31690957],
        [-9.08530081, -7.31690957, 18.21803879],
    ]
)
PULL = CURVATURE @ np.array([0.41970709, -1.87370725, -0.8317362])
TEXT = fakes.toml_of_module(
    "landscape",
    4,
    "{ input_shape = 3, kernel_sizes = [2, 2] }",
    inputs='{ kind = "anisotropic", condition = 1.0 }',
    targets='{ kind = "unrelated" }',
    initializer='{ kind = "balanced", std = 0.5 }',
    more="[analysis]\ncensus = true\ncertify = 0",
)
SWEEP = "[sweep]\ndata.inputs.condition = [1.0, 10.0]\ndata.seed = [1, 2]\n"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["loss={kind='lp', p=4}"], 'square loss alone, not for "lp"'),
        (["compute.precision=float32"], "tracked in float64"),
        (["network.channels=[1, 2, 1]"], "not with channels"),
        (["network.activation={kind='tanh'}", "experiment.module=convergence"], "not with an activation"),
        (["network={kind='dense', widths=[3, 2, 1]}", "experiment.module=convergence"], "convolutional networks alone"),
        (["network={input_shape=12, kernel_sizes=[6, 6]}"], r"complex critical points, and a run counts at most 1500"),
        (["data.samples=2"], r"data.samples = 2 give 2 equations for 3 taps.*write data.samples = 3 or more"),
    ],
)
def test_what_cannot_be_counted_is_refused_before_anything_is_computed(tmp_path, overrides, message):
    found = fakes.faults(tmp_path, TEXT, overrides)
    assert set(found) == {"analysis.census"}
    assert re.search(message, found["analysis.census"])
    assert "\n" not in found["analysis.census"]


def test_the_module_about_landscapes_needs_a_census_and_others_do_not(tmp_path):
    assert fakes.faults(tmp_path, TEXT) == {}
    without = TEXT.replace("census = true", "census = false")
    assert "write census = true" in fakes.faults(tmp_path, without)["analysis.census"]
    assert fakes.faults(tmp_path, without.replace('"landscape"', '"convergence"')) == {}


class Ended:
    """Flows that end in the reference points, and one without a limit."""

    verdict = np.array(
        [*(lf.Verdict.CONVERGED if p["kind"] == "min" else lf.Verdict.AT_SADDLE for p in CASE["critical_points"]), 5]
    )
    limit = tuple(
        np.stack([*(np.asarray(p["filters"][layer]) for p in CASE["critical_points"]), np.full(2, np.nan)])
        for layer in range(2)
    )


def test_all_points_of_the_reference_problem_are_stored_and_flows_told_to_end_there():
    risk, points = truth_problem(CASE["name"]), CASE["critical_points"]
    stored = points_of_cell(risk)
    assert int(stored["census_status"]) == 0
    np.testing.assert_allclose(stored["point_risk"], sorted(p["risk"] for p in points), rtol=1e-9)
    ends = ends_of_flows(risk, Ended)["census_point"]
    assert np.isnan(ends[-1])
    reached = ends[:-1].astype(int)
    assert sorted(reached) == list(range(len(points)))
    assert list(stored["point_index"][reached]) == [p["hessian_index"] for p in points]
    np.testing.assert_allclose(stored["point_risk"][reached], [p["risk"] for p in points], rtol=1e-9)


def test_data_without_full_rank_have_the_status_refused():
    data = lf.Dataset(np.ones((4, 3)), np.arange(4.0)[:, None])
    risk = lf.EmpiricalRisk(lf.Architecture(3, (2, 2)), lf.losses.Square(), data)
    stored = points_of_cell(risk)
    assert set(stored) == {"census_status", "census_expected_count"}
    assert int(stored["census_status"]) == 3
    assert np.isnan(ends_of_flows(risk, Ended)["census_point"]).all()


@pytest.fixture
def counted(tmp_path):
    """Made-up results of four cells: a global minimum and its exchange, a spurious one, three saddles."""
    sweep = fakes.sweep_of(tmp_path, TEXT + SWEEP)
    minima, risks = minima_of_two_pairs(PULL, CURVATURE)
    filters = np.concatenate([minima[[0, 0, 1]], np.ones((3, 3))])
    risk = np.array([1.0, 1.0, 1.0 + risks[1] - risks[0], 4.0, 4.0, 5.0])
    flows_to = np.full((6, 2), np.nan)
    flows_to[3:] = [[0, 2], [1, 2], [0, 1]]
    cells = {}
    for cell in sweep.cells:
        stored = fakes.cell_arrays(fakes.TIMES, seeds=4, layers=2, taps=3, seed=cell.number)
        stored = {name: array for name, array in stored.items() if np.ndim(array) < 2 or array.shape[1] != 61}
        ends = [0, 1, 2, 0] if cell.number % 2 else [0, 1, 0, 1]
        stored |= {f"{which}_w{layer}": np.ones((4, 2)) for which in ("final", "limit") for layer in (1, 2)}
        stored |= {
            "kind": np.full(4, int(Kind.MINIMUM), np.int32),
            "limit_risk": risk[ends],
            "optimality_gap": risk[ends] - 1,
            "limit_filter": filters[ends],
            "pull": PULL,
            "curvature": CURVATURE,
            "census_status": np.asarray(0, np.int32),
            "census_risk_at_zero": np.asarray(9.0),
            "census_point": np.asarray(ends, float),
            "point_risk": risk,
            "point_index": np.array([0.0, 0, 0, 1, 1, 1]),
            "point_is_lowest": np.array([1.0, 1, 0, 0, 0, 0]),
            "point_jacobian_rank": np.array([3.0, 3, 2, 2, 2, 2]),
            "point_filter": filters,
            "point_flows_to": flows_to,
        }
        numbers = {"expected_count": 6, "found": 6, "index_sum": 0, "expected_index_sum": 0}
        numbers |= {"minima": 3, "spurious_minima": 1}
        cells[cell.number] = stored | {f"census_{name}": np.asarray(float(x)) for name, x in numbers.items()}
    return fakes.assemble(sweep, cells, fakes.MANIFEST)


def conclusions(dataset):
    """What the claims of the module say, by name."""
    found = {check.__name__: check(dataset) for check in LANDSCAPE.claims}
    return {name: claim.conclusion for name, claim in found.items() if claim is not None}


def test_what_the_theory_says_agrees_and_what_it_does_not_say_is_open(counted):
    found = conclusions(counted)
    assert [name for name, word in found.items() if word == "open"] == [
        "spurious_minima_are_open",
        "points_are_open",
        "flows_from_saddles_into_saddles",
    ]
    assert set(found.values()) == {"agrees", "open"}
    assert len(found) == len(LANDSCAPE.claims)
    rows = dict(row[:2] for row in landscape.spurious_minima_are_open(counted).details)
    low, high = wilson_interval(2, 2)
    assert rows["10"].startswith(f"2 of 2 data sets ({low:.0%} to {high:.0%}), 12.5% of the starts")


@pytest.mark.parametrize(
    ("claim", "name", "place", "value", "word"),
    [
        ("all_points_are_found", "census_status", (0, 0), 2, "undecided"),
        ("index_sums_are_those_of_the_topology", "census_index_sum", (0, 1), -1, "disagrees"),
        ("flows_end_at_minima_of_the_census", "census_point", (1, 0, 2), np.nan, "disagrees"),
        ("flows_end_at_minima_of_the_census", "census_point", (1, 0, 2), 3, "disagrees"),
        ("minima_are_joined_by_saddles", "point_flows_to", (0, 0, slice(3, 5)), 0, "disagrees"),
        ("minima_are_those_of_two_pairs", "point_filter", (1, 1, 2, 0), 0.3, "disagrees"),
        ("minima_are_those_of_two_pairs", "point_index", (1, 1, 3), 0, "disagrees"),
    ],
)
def test_a_number_against_the_theory_is_noticed(counted, claim, name, place, value, word):
    counted[name][place] = value
    assert conclusions(counted)[claim] == word


def test_minima_apart_are_open_where_a_flow_from_a_saddle_ends_in_another_saddle(counted):
    counted["point_flows_to"][0, 0, 3:5] = [[0, 5], [1, np.nan]]
    assert conclusions(counted)["minima_are_joined_by_saddles"] == "agrees"
    observed = landscape.flows_from_saddles_into_saddles(counted).observed
    assert observed.startswith("in 1 of 4 cells, in 1 of which")


def test_reports_say_first_how_many_starts_ended_in_certified_spurious_minima(counted):
    text = answer_with_census(LANDSCAPE, counted)
    ended = "2 of 16 starts (3% to 36%) ended in certified spurious minima"
    assert text.startswith(f"{ended}, most often in the cell 1.0, 2.0: 1 of 4 starts")
    assert text.count("certified spurious minima") == 1
    assert "in 4 of 4 cells with a complete census" in text
    convergence = answer_with_census(MODULES["convergence"], counted)
    assert convergence.startswith("2 of 16 starts")
    assert "Spurious minima catch" not in convergence  # said already
    one = counted.isel(data_seed=[1], condition=[1])
    assert "of 6 real critical points 3 are minima, 1 of them above the global one" in census_answer(one)


def test_nothing_is_called_certified_without_a_complete_census(counted):
    counted["census_status"][:] = 2
    counted["census_found"][:] = 5
    text = census_answer(counted)
    assert "certified spurious" not in text
    assert "not complete in 4 of 4 cells, 4 incomplete (1.0, 1.0: 5 solutions are certified of 6)" in text
    assert {row[-7] for row in census_table(counted).rows} == {"minimum", "strict saddle"}
    assert np.isnan([row["share_in_spurious_minima"] for row in cell_rows(counted)]).all()
    counted["census_status"][:] = NOT_COMPUTED
    assert census_answer(counted) == ""


def test_tables_list_the_points_with_the_starts_that_end_there(counted):
    table = census_table(counted)
    rows = [row for row in table.rows if row[:2] == ("10", "2")]
    assert [row[3] for row in rows] == ["global minimum"] * 2 + ["spurious minimum"] + ["strict saddle"] * 3
    assert [row[-2] for row in rows] == ["2", "1", "1", "0", "0", "0"]
    assert rows[2][-1] == "25% (5%–70%)"
    summary = cell_rows(counted)[-1]
    assert summary["census_status"] == "certified_complete"
    assert (summary["starts_in_spurious_minima"], summary["share_in_spurious_minima"]) == (1, 0.25)


def test_kinds_of_data_have_their_shares_and_mean_numbers(counted):
    counted["point_index"][1, 0, 5] = 2
    first, second = landscape_table(counted).rows
    low, high = wilson_interval(2, 2)
    assert first[:3] == ("1", "2", f"100% ({low:.0%}–{high:.0%})")
    assert first[3].startswith("12.5% (")
    assert first[4:] == ("3.00", "1.00", "3.00", "0.00", "0.00")
    assert second[4:] == ("3.00", "1.00", "2.50", "0.50", "0.00")
    assert landscape_table(counted.isel(data_seed=[0])) is None


def test_figures_show_shares_points_and_graphs(counted):
    with house_style():
        shares, points, graphs, plane = (draw(counted) for draw in LANDSCAPE.figures)
    assert plane is None  # no filters along the flows are stored
    left, right = shares.figure.axes
    assert list(left.containers[0].lines[0].get_ydata()) == [1, 1]
    np.testing.assert_allclose(right.containers[0].lines[0].get_ydata(), [0.125, 0.125])
    assert [list(line.get_ydata()) for line in points.figure.axes[0].get_lines()] == [[3, 3], [3, 3]]
    (panel,) = graphs.figure.axes
    assert sum(line.get_color() == "#999999" and len(line.get_xdata()) == 2 for line in panel.get_lines()) == 7


def test_ends_above_the_least_risk_are_compared_with_certified_minima(counted):
    module = MODULES["spurious_minima"]
    assert spurious_minima.ends_above_the_least_risk_are_certified(counted).conclusion == "agrees"
    assert "2 of 16 starts (3% to 36%) of the whole sweep, certified by a census" in module.answer(counted)
    counted["optimality_gap"][0, 0, 1] = 0.5
    assert spurious_minima.ends_above_the_least_risk_are_certified(counted).conclusion == "disagrees"


def test_intervals_over_data_hold_where_those_of_all_starts_do_not():
    rng = np.random.default_rng(0)
    covered, pooled = 0, 0
    for _ in range(400):
        counts = rng.binomial(8, rng.beta(0.3, 0.7, size=16))
        _, low, high = share_over_data([Share(int(count), 8) for count in counts])
        covered += low <= 0.3 <= high
        low, high = wilson_interval(int(counts.sum()), 128)
        pooled += low <= 0.3 <= high
    assert covered >= 370
    assert pooled <= 300
    ones = [Share(1, 1)] * 3 + [Share(0, 1)] * 5
    np.testing.assert_allclose(share_over_data(ones), (3 / 8, *wilson_interval(3, 8)))


def test_groups_take_the_seeds_of_the_data_together(counted):
    assert [(group.name, len(group.cells)) for group in data_groups(counted)] == [("1", 2), ("10", 2)]


@pytest.mark.usefixtures("quick_figures")
def test_a_run_counts_the_points_once_and_sorts_the_starts_of_all_its_batches(tmp_path):
    file, out = tmp_path / "mine.toml", tmp_path / "run"
    file.write_text(TEXT.replace("seeds = 4", "seeds = 32") + "[compute]\nbatch_size = 16\n")  # as many as the graph's
    assert main(["run", str(file), "--out", str(out), "--set", "data.targets={kind='planted'}", "--no-cache"]) == 0
    found = xr.open_zarr(out / "results.zarr", consolidated=False).load()
    assert len(list((out / "batches").iterdir())) == 2
    ends = found["census_point"].values
    assert np.isfinite(ends).all()
    np.testing.assert_allclose(found["point_risk"].values[ends.astype(int)], found["limit_risk"], atol=1e-12)
    saddles = found["point_index"].values == 1
    assert saddles.any()
    assert np.isin(found["point_flows_to"].values[saddles], np.flatnonzero(found["point_index"].values == 0)).all()
    assert (out / "report.html").read_text().count("✓ agrees") >= 7
    assert main(["export", str(out), "--to", "csv"]) == 0
    with (out / "results.csv").open() as rows:
        row = next(csv.DictReader(rows))
    assert row["census_status"] == "certified_complete"
    assert {"census_point", "census_spurious_minima", "census_expected_count"} <= set(row)
    assert not any(name.startswith("point_") for name in row)
