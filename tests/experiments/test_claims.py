"""Claims are decided by the data: they agree on flows that obey the theory, disagree on others."""

import fakes
import numpy as np
import pytest

import lcnn_flow as lf
from experiments.claims import PAPER_CLAIMS, unchecked
from experiments.modules.identification import bounded_influence_helps
from lcnn_flow import Verdict


def conclusions(dataset):
    """Conclusion of every claim by the name of its function."""
    return {check.__name__: claim.conclusion for check in PAPER_CLAIMS if (claim := check(dataset)) is not None}


def spoiled(position, value):
    """A change of one flow: sets its array, or the part at `position`, to `value`."""

    def change(array):
        array[position] = value
        return array

    return change


def test_claims_agree_with_flows_that_obey_the_theory(tmp_path):
    assert set(conclusions(fakes.results(tmp_path)).values()) == {"agrees"}


@pytest.mark.parametrize(
    ("claim", "changes"),
    [
        ("risk_decreases", {"risk": spoiled((3, 40), 2.0)}),
        ("energy_identity", {"energy_defect": spoiled((3, 40), 2.0)}),
        ("path_length_finite", {"final_path_length": spoiled(3, np.inf)}),
        ("path_length_finite", {"verdict": spoiled(3, Verdict.DIVERGED)}),
        ("filters_bounded", {"verdict": spoiled(3, Verdict.DIVERGED)}),
        ("filters_bounded", {"squared_norms": spoiled((3, -1), np.inf)}),
        ("gradient_vanishes", {"final_gradient_norm": spoiled(3, 1e-3)}),
        ("balancedness_conserved", {"balancedness": spoiled((3, 40), 0.07)}),
        ("flow_converges", {"verdict": spoiled(3, Verdict.DIVERGED)}),
    ],
)
def test_one_flow_that_violates_a_claim_makes_it_disagree(tmp_path, claim, changes):
    assert conclusions(fakes.results(tmp_path, **changes))[claim] == "disagrees"


@pytest.mark.parametrize(
    "verdict",
    [Verdict.AT_SADDLE, Verdict.DEGENERATE, Verdict.TIME_LIMIT, Verdict.STEP_LIMIT, Verdict.NOT_FINITE],
)
def test_only_the_verdict_converged_counts_as_converged(tmp_path, verdict):
    dataset = fakes.results(tmp_path, verdict=spoiled(3, verdict))
    claim = next(check(dataset) for check in PAPER_CLAIMS if check.__name__ == "flow_converges")
    assert claim.conclusion == "undecided"
    assert "33 of 36 flows" in claim.observed


@pytest.mark.parametrize(
    ("claim", "changes"),
    [
        ("path_length_finite", {"path_length": lambda a: a * np.linspace(0.5, 1, a.shape[1])}),
        ("filters_bounded", {"squared_norms": lambda a: a * np.geomspace(1, 9, a.shape[1])[:, None]}),
    ],
)
def test_growth_that_has_not_settled_decides_nothing(tmp_path, claim, changes):
    assert conclusions(fakes.results(tmp_path, **changes))[claim] == "undecided"


@pytest.mark.parametrize("claim", ["risk_decreases", "energy_identity", "balancedness_conserved", "filters_bounded"])
def test_a_trajectory_that_breaks_off_decides_nothing(tmp_path, claim):
    recorded = ("risk", "energy_defect", "balancedness", "squared_norms")
    cut = {name: spoiled((3, slice(30, None)), np.nan) for name in recorded}
    assert conclusions(fakes.results(tmp_path, **cut))[claim] == "undecided"


def test_the_deciding_number_is_the_worst_of_all_flows(tmp_path):
    dataset = fakes.results(tmp_path, balancedness=spoiled((3, 40), 0.05 + 1e-7))
    claim = next(check(dataset) for check in PAPER_CLAIMS if check.__name__ == "balancedness_conserved")
    drift = np.abs(dataset["balancedness"] - dataset["balancedness"].isel(time=0)).max(["time", "interface"])
    worst = float((drift / dataset["squared_norms"].max(["time", "layer"])).max())
    assert f"{worst:.1e}" in claim.observed
    assert claim.conclusion == "agrees"


def test_every_cell_has_a_row_of_its_own(tmp_path):
    dataset = fakes.results(tmp_path)
    dataset["verdict"][1, 0] = Verdict.DIVERGED
    claim = next(check(dataset) for check in PAPER_CLAIMS if check.__name__ == "flow_converges")
    assert [(row[0], row[2]) for row in claim.details] == [
        ("square", "agrees"),
        ("l_4", "disagrees"),
        ("pseudo_huber(0.1)", "agrees"),
    ]


def without_trajectories(tmp_path, **changes):
    """Results of a run that wanted limits only."""
    text = fakes.CONFIGURATION.replace("times = { start = 1e-3, stop = 1e4, count = 60 }", "")
    dataset = fakes.results(tmp_path, **changes).drop_dims("time")
    dataset.attrs["configuration"] = text
    return dataset


def test_without_trajectories_claims_are_judged_by_the_ends_or_said_to_need_them(tmp_path):
    dataset = without_trajectories(tmp_path, norm_bound=lambda a: 0 * a + 100)
    assert set(conclusions(dataset).values()) == {"agrees"}
    assert {"path_length_finite", "filters_bounded", "bound_holds", "balancedness_conserved"} <= set(
        conclusions(dataset)
    )
    assert not {"risk_decreases", "energy_identity"} & set(conclusions(dataset))
    assert len(unchecked(dataset)) == 2
    assert unchecked(fakes.results(tmp_path)) == []


@pytest.mark.parametrize(
    ("claim", "changes"),
    [
        ("filters_bounded", {"verdict": lambda a: a * 0 + int(Verdict.DIVERGED)}),
        ("path_length_finite", {"verdict": lambda a: a * 0 + int(Verdict.DIVERGED)}),
        ("bound_holds", {"norm_bound": lambda a: a * 0 + 1e-3}),
        ("balancedness_conserved", {"invariant_drift": lambda a: a * 0 + 1e3}),
    ],
)
def test_without_trajectories_claims_can_fail(claim, changes, tmp_path):
    assert conclusions(without_trajectories(tmp_path, **changes))[claim] == "disagrees"


@pytest.mark.parametrize(
    ("claim", "changes"),
    [
        ("filters_bounded", {"growth_rate": lambda a: a * 0 + 0.1}),
        ("path_length_finite", {"polish_distance": lambda a: a * 0 + 1.0}),
    ],
)
def test_without_trajectories_flows_that_may_go_on_decide_nothing(claim, changes, tmp_path):
    assert conclusions(without_trajectories(tmp_path, **changes))[claim] == "undecided"


def test_bounded_influence_is_judged_by_the_error_of_the_filter(tmp_path):
    dataset = fakes.results(tmp_path)
    truth = dataset["true_filter"].isel(loss=0)
    for loss, error in (("square", 0.5), ("pseudo_huber(0.1)", 0.1)):
        dataset["limit_filter"].loc[{"loss": loss}] = truth * (1 + error)
    claim = bounded_influence_helps(dataset)
    assert claim is not None
    assert claim.conclusion == "agrees"
    dataset["limit_filter"].loc[{"loss": "square"}] = truth * 1.01
    claim = bounded_influence_helps(dataset)
    assert claim is not None
    assert claim.conclusion == "disagrees"
    assert bounded_influence_helps(dataset.sel(loss=["square", "l_4"])) is None


def test_nothing_is_claimed_about_outliers_where_there_are_none(tmp_path):
    text = fakes.CONFIGURATION.replace("fraction = 0.1", "fraction = 0.0")
    assert bounded_influence_helps(fakes.results(tmp_path, text)) is None
    swept = fakes.results(tmp_path, text + "data.outliers.fraction = [0.0, 0.2]\n")
    truth = swept["true_filter"].isel(loss=0, fraction=0)
    for (loss, fraction), error in {
        ("square", 0.0): 0.01,
        ("square", 0.2): 0.5,
        ("pseudo_huber(0.1)", 0.2): 0.1,
    }.items():
        swept["limit_filter"].loc[{"loss": loss, "fraction": fraction}] = truth * (1 + error)
    claim = bounded_influence_helps(swept)
    assert claim is not None
    assert claim.conclusion == "agrees"


def test_a_diverged_flow_with_a_large_gradient_disagrees_about_the_gradient(tmp_path):
    dataset = fakes.results(tmp_path)
    first = {"loss": 0, "seed": 0}
    dataset["verdict"][first] = int(lf.Verdict.DIVERGED)
    assert conclusions(dataset)["gradient_vanishes"] == "agrees"  # a power law of growth: the gradient still vanishes
    dataset["final_gradient_norm"][first] = 2 * dataset["gradient_tolerance"][first]
    assert conclusions(dataset)["gradient_vanishes"] == "disagrees"


def test_an_axis_over_rtol_is_judged_by_its_loosest_value(tmp_path):
    dataset = fakes.results(tmp_path, fakes.CONFIGURATION + "flow.rtol = [1e-8, 1e-4]\n")
    rise = 1e-4 * dataset["risk"].isel(time=0)
    dataset["risk"][{"time": 1}] = dataset["risk"].isel(time=0) + rise
    assert conclusions(dataset)["risk_decreases"] == "agrees"
    dataset["risk"][{"time": 1}] = dataset["risk"].isel(time=0) + 20 * rise
    assert conclusions(dataset)["risk_decreases"] == "disagrees"
