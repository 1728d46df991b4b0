"""The data of interactive charts are those of the results, thinned to what the eye can see."""

import json
import re

import fakes
import numpy as np
import pytest

from experiments.reporting.explorer import explorer, page_data
from experiments.reporting.thinning import kept

TWO_AXES = fakes.CONFIGURATION + '"data.noise" = [0.0, 0.1]\n'


def test_thinned_curves_pass_all_points_within_the_tolerance_and_lines_keep_their_ends():
    x = np.linspace(0, 6, 400)
    assert kept(x, 3 * x - 1, 1e-9).tolist() == [0, 399]
    curve = np.sin(x)
    found = kept(x, curve, 0.01)
    assert len(found) < 30
    assert np.abs(np.interp(x, x[found], curve[found]) - curve).max() <= 0.01
    curve[[0, 5]] = np.nan
    assert 0 not in kept(x, curve, 0.01)
    assert kept(x, np.full(400, np.nan), 0.01).size == 0


def test_every_flow_is_in_the_page_with_what_the_results_say_of_it(tmp_path):
    dataset = fakes.results(tmp_path, TWO_AXES)
    page = page_data(dataset)
    flows = page["flows"]
    assert len(flows["seed"]) == 3 * 2 * 12
    row = next(i for i in range(72) if (flows["series"][i], flows["place"][i], flows["seed"][i]) == (2, 1, 7))
    cell = dataset.isel(loss=2, noise=1, seed=7)
    assert flows["limit_risk"][row] == pytest.approx(float(cell["limit_risk"]), rel=1e-3)
    error = np.linalg.norm(cell["limit_filter"] - cell["true_filter"]) / np.linalg.norm(cell["true_filter"])
    assert flows["filter_error"][row] == pytest.approx(error, rel=1e-3)
    assert (flows["verdict"][row], flows["kind"][row]) == ("CONVERGED", "minimum")
    assert [axis["labels"] for axis in page["axes"]] == [
        ["square", "ℓ_4", "pseudo-Huber(0.1)"],
        ["0", "0.1"],
    ]
    assert set(page["quantities"]) <= set(flows)


def test_thinned_trajectories_are_on_the_curve_to_what_the_eye_can_see(tmp_path):
    dataset = fakes.results(tmp_path)
    points = {name: np.array(column) for name, column in page_data(dataset)["points"].items()}
    assert len(points["flow"]) < 0.6 * 36 * 60
    risk = (dataset["risk"] / dataset["risk"].isel(time=0)).values.reshape(36, -1)[:, 1:]
    times = dataset["time"].values[1:]
    for flow in (0, 17, 35):
        here = points["flow"] == flow
        drawn = np.interp(np.log(times), np.log(points["time"][here]), points["risk"][here])
        assert np.abs(drawn - risk[flow]).max() <= 0.003


def test_large_sweeps_are_thinned_evenly_and_the_page_says_so(tmp_path):
    scales = ", ".join(f"{scale}.0" for scale in range(1, 41))
    dataset = fakes.results(tmp_path, fakes.CONFIGURATION + f'"data.outliers.scale" = [{scales}]\n')
    page = page_data(dataset)
    assert len(page["flows"]["seed"]) <= 600
    assert page["axes"][1]["labels"][0] == "1"
    assert page["axes"][1]["labels"][-1] == "40"
    assert re.fullmatch(
        r"\d+ of 1440 flows are drawn, evenly spaced ones; all are in the tables.", explorer(dataset).note
    )


def test_missing_flows_and_values_leave_valid_json_without_markup(tmp_path):
    dataset = fakes.results(tmp_path, limit_risk=lambda risk: risk * np.nan)
    verdict = dataset["verdict"].copy()
    verdict[1] = -1
    dataset = dataset.assign(verdict=verdict).assign_coords(loss=["</script><b>", "b", "c"])
    dataset["optimality_gap"][0, 3] = np.nan
    made = explorer(dataset)
    assert "<" not in made.data
    page = json.loads(made.data)
    assert len(page["flows"]["seed"]) == 24
    assert "limit_risk" not in page["quantities"]
    assert page["flows"]["optimality_gap"][3] is None
    assert page["axes"][0]["labels"][0] == "</script><b>"
    assert explorer(dataset.assign(verdict=dataset["verdict"] * 0 - 1)) is None


def test_the_page_opens_where_flows_end_in_most_ways_else_in_the_middle(tmp_path):
    axes = '"data.noise" = [0.0, 0.1, 0.2]\n"initializer.std" = [0.1, 0.2, 0.3, 0.4]\n'
    dataset = fakes.results(tmp_path, fakes.CONFIGURATION + axes)
    dataset["verdict"][:], dataset["kind"][:] = 0, 0
    assert explorer(dataset).opening == [1, 1]
    dataset["kind"][2, 0, 3, 5] = 1
    assert explorer(dataset).opening == [0, 3]


def test_the_limits_are_first_shown_by_a_number_that_all_series_have(tmp_path):
    dataset = fakes.results(tmp_path)
    assert explorer(dataset).up == "filter_error"
    linear = dataset["loss"] != dataset["loss"][1]
    filters = {name: dataset[name].where(linear) for name in ("final_filter", "limit_filter")}
    partly = dataset.assign(filters)
    assert explorer(partly).up == "limit_risk"
