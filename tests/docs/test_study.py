"""The study of spurious minima: its page says what its files hold; estimates are right where the truth is known."""

import importlib
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import lcnn_flow as lf

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "study"


def part(name):
    """A module of the study, which lies beside the documentation and is no package of the project."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        return importlib.import_module(f"study.{name}")
    finally:
        sys.path.remove(str(ROOT / "docs"))


@pytest.fixture(scope="module")
def cells():
    return part("shares").read(FOLDER / "results.csv", part("problems").STARTS)


def test_every_number_of_the_page_is_that_of_the_results(cells):
    facts = part("facts")
    page = " ".join((FOLDER / "index.md").read_text().split())
    said = facts.phrases(cells, facts.read_checks(FOLDER / "checks.csv"))
    assert [phrase for phrase in said if phrase not in page] == []
    rows = [line for line in (FOLDER / "index.md").read_text().splitlines() if re.match(r"\| [\d.]+(x\d+)*[ ,]", line)]
    assert sorted(rows) == sorted(facts.tables(cells) + [phrase for phrase in said if phrase.startswith("|")])


def test_the_results_are_those_of_the_whole_design(cells):
    problems = part("problems")
    rows = list(zip(*(cells[name] for name in ("architecture", "targets", "condition", "data_set")), strict=True))
    names = [problems.name_of(sizes) for sizes in problems.ARCHITECTURES]
    assert len(set(rows)) == len(rows) == len(names) * 2 * len(problems.CONDITIONS) * problems.DATA_SETS
    assert set(cells["architecture"]) == set(names)
    for std in problems.STDS:
        ends = sum(cells[f"{what}_{std:g}"] for what in ("spurious", "saddle", "undecided"))
        assert ends.max() <= problems.STARTS
        assert (cells[f"spurious_{std:g}"][cells["spurious_minima"] == 0] == 0).all()


@pytest.mark.parametrize("together", [True, False])
def test_the_interval_holds_the_true_share_whatever_starts_have_in_common(together):
    rng, truth, starts = np.random.default_rng(5), 0.07, 16
    held = 0
    for _ in range(1000):
        share = rng.random(100) < truth if together else rng.binomial(starts, truth, 100) / starts
        estimate = part("shares").clustered(share.astype(float))
        held += estimate.low <= truth <= estimate.high
    assert (
        held >= 930
    )  # 95%, less three standard errors; an interval for 1600 observations would hold it in four of ten


def test_wilson_intervals_are_those_of_his_formula():
    estimate = part("shares").wilson(0.1, 50)
    for bound in (estimate.low, estimate.high):  # where |share - p| = z sqrt(p (1 - p) / n)
        assert abs(0.1 - bound) == pytest.approx(1.959964 * math.sqrt(bound * (1 - bound) / 50), rel=1e-6)


def test_the_data_of_a_group_have_the_spectrum_and_risk_that_the_page_says():
    group = part("problems").group((2, 2), "attainable", 30, 3, 2)
    values = np.linalg.eigvalsh(group.grams)
    np.testing.assert_allclose(values[:, -1] / values[:, 0], 30, rtol=1e-10)
    np.testing.assert_allclose(values.mean(axis=1), 1, rtol=1e-12)
    assert (group.real_roots == 2).all()
    w = [direction[1, 0] for direction in group.directions]
    gap = np.convolve(*w) - group.filters[1]
    risk = group.risks.condition(1)(tuple(w))
    assert float(risk) == pytest.approx(gap @ group.grams[1] @ gap / 2, rel=1e-12)
    assert isinstance(group.risks, lf.EmpiricalRisk)


def test_another_integrator_finds_the_nearer_root_of_a_problem_in_closed_form():
    limit = part("attacks").lsoda_limit  # one filter of one tap times one of two: L = |w1 w2 - v*|^2 / 2
    target = np.array([0.6, -0.8])
    np.testing.assert_allclose(limit(np.eye(2), target, [np.array([0.3]), np.array([0.1, 0.2])]), target, atol=1e-10)


@pytest.mark.slow
def test_a_part_of_the_results_is_found_again(cells):
    problems, flows = part("problems"), part("flows")
    rows = flows.rows_of(problems.group((2, 2), "any", 100, problems.DATA_SETS, problems.STARTS))
    chosen = cells.chosen(architecture="2x2", targets="any", condition=100)
    stored = [list(row) for row in zip(*(chosen[name] for name in flows.COLUMNS), strict=True)]
    assert [row[:8] for row in rows] == [row[:8] for row in stored]
    ends, kept = (np.asarray([row[8:] for row in table], int) for table in (rows, stored))
    assert np.abs(ends - kept).sum() <= 4  # of 6400 flows; rounding may send one that comes near a saddle elsewhere
