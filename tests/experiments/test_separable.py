"""The largest margin against closed forms and a search, and the claims of the module separable on made-up flows."""

import fakes
import numpy as np
import pytest

from experiments.computing.margins import largest_margin_of_rows
from experiments.modules.separable import (
    SEPARABLE,
    directions_are_kkt_points,
    margins_never_fall,
    margins_reach_the_largest,
    norm_follows_its_law,
    others_converge,
    risk_follows_its_law,
    separated_flows_diverge,
)
from lcnn_flow import Verdict, verdict

Reason = verdict.Reason
SEEDS = 3
TIMES = np.concatenate([[0.0], np.geomspace(1e-2, 1e12, 80)])
LOG = np.log(np.maximum(TIMES, np.e))
TEXT = fakes.toml_of_module(
    "separable",
    SEEDS,
    '{ kind = "dense", widths = [4, 3, 1] }',
    samples=9,
    targets='{ kind = "labels" }',
    loss='{ kind = "logistic" }',
    initializer='{ kind = "gaussian", std = 0.1 }',
    more="""
[flow]
times = { start = 1e-2, stop = 1e12, count = 80 }
[sweep]
data.targets.flipped = [0.0, 0.4]
""",
)


def test_the_largest_margin_is_that_of_closed_forms():
    assert largest_margin_of_rows(np.array([[1.0, 0.0], [0.0, 1.0]])) == pytest.approx(np.sqrt(0.5))
    assert largest_margin_of_rows(1e6 * np.array([[1.0, 0.0], [0.0, 1.0]])) == pytest.approx(1e6 * np.sqrt(0.5))
    assert largest_margin_of_rows(np.array([[3.0, 4.0]])) == pytest.approx(5.0)
    assert largest_margin_of_rows(np.array([[1.0, 2.0], [-1.0, -2.0]])) == 0.0
    assert largest_margin_of_rows(np.array([[1.0, 0.0], [-1.0, 1.0], [-1.0, -1.0]])) == 0.0
    assert largest_margin_of_rows(np.array([[1.0, 0.0], [0.0, 0.0]])) == 0.0


def test_the_largest_margin_is_that_of_a_search_over_all_directions():
    angles = np.linspace(0, 2 * np.pi, 20_001)
    directions = np.array([np.cos(angles), np.sin(angles)])
    rng = np.random.default_rng(0)
    seen = []
    for count in (2, 3, 4, 5) * 5:
        rows = rng.normal(size=(count, 2))
        searched = (rows @ directions).min(axis=0).max()
        found = largest_margin_of_rows(rows)
        assert found == pytest.approx(max(searched, 0.0), abs=1e-3)
        seen.append(found > 0)
    assert 0 < sum(seen) < len(seen)


def flows(tmp_path, power=0.5, fall=-1.0, alignment=1.0, share=0.99, dip=0.0, reason=Reason.SEPARATES, **other):
    """A cell of separable data that does as the theory says, unless told otherwise, and one whose flows converge."""
    ones = np.ones((SEEDS, TIMES.size))
    margin = np.linspace(0.1, share, TIMES.size) * 0.2 * ones
    margin[:, 40] -= dip
    norm = LOG**power * ones
    common = {
        "final_gradient_norm": np.full(SEEDS, 1e-9),
        "gradient_tolerance": np.full(SEEDS, 1e-8),
        "final_risk": np.full(SEEDS, 1e-12),
        "normalized_margin": margin,
        "alignment": alignment * ones,
    }
    separable = common | {
        "verdict": np.full(SEEDS, int(Verdict.DIVERGED), np.int32),
        "reason": np.full(SEEDS, int(reason)),
        "squared_norms": np.stack([norm**2 / 2, norm**2 / 2], axis=-1),
        "risk": np.maximum(TIMES, 1.0) ** fall * ones,
        "smoothed_margin": margin,
        "linear_margin": np.asarray(0.4),
        "largest_normalized_margin": np.asarray(0.2),
    }
    converging = separable | {
        "verdict": np.full(SEEDS, int(other.get("verdict", Verdict.CONVERGED)), np.int32),
        "reason": np.zeros(SEEDS),
        "squared_norms": np.ones((SEEDS, TIMES.size, 2)),
        "smoothed_margin": np.full_like(ones, np.nan),
        "linear_margin": np.asarray(0.0),
        "largest_normalized_margin": np.asarray(0.0),
    }
    return fakes.assemble(fakes.sweep_of(tmp_path, TEXT), {0: separable, 1: converging}, fakes.MANIFEST)


CLAIMS = (
    (separated_flows_diverge, {"reason": Reason.GROWS_LIKE_A_POWER}, "undecided"),
    (others_converge, {"verdict": Verdict.DIVERGED}, "disagrees"),
    (norm_follows_its_law, {"power": 0.65}, "disagrees"),
    (risk_follows_its_law, {"fall": -0.8}, "disagrees"),
    (margins_never_fall, {"dip": 0.01}, "disagrees"),
    (directions_are_kkt_points, {"alignment": 0.9}, "disagrees"),
    (margins_reach_the_largest, {"share": 0.9}, "disagrees"),
    (margins_reach_the_largest, {"share": 1.01}, "disagrees"),
)


@pytest.mark.parametrize(("claim", "violation", "word"), CLAIMS)
def test_claims_agree_with_flows_of_the_theory_and_with_no_others(tmp_path, claim, violation, word):
    assert claim(flows(tmp_path)).conclusion == "agrees"
    assert claim(flows(tmp_path, **violation)).conclusion == word


def test_the_answer_counts_both_kinds_of_data_and_gives_the_power(tmp_path):
    assert SEPARABLE.answer(flows(tmp_path)) == (
        "All 3 flows on separable data separate them and diverge, their norms growing like log t to the power 0.50 "
        "with 2 layers (1/N = 0.50); all 3 flows on data that no filter separates converge."
    )


def test_other_losses_short_times_and_several_outputs_are_refused(tmp_path):
    text = TEXT.replace('"logistic"', '"square"').replace("stop = 1e12", "stop = 1e3").replace("3, 1]", "3, 2]")
    found = fakes.faults(tmp_path, text)
    assert set(found) == {"loss.kind", "flow.times", "network"}
