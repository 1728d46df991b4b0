"""Tables of a report say what the results say, and shares come with honest intervals."""

import re

import fakes
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from experiments.claims import bound_holds, certificates_agree
from experiments.reporting.tables import hypotheses_table, limit_table, orbit_table, rate_table, verdict_table
from lcnn_flow.landscape import wilson_interval


@given(st.integers(1, 500).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
@settings(deadline=None, max_examples=50)
def test_intervals_are_those_of_wilson(pair):
    count, total = pair
    expected = binomtest(count, total).proportion_ci(method="wilson")
    np.testing.assert_allclose(wilson_interval(count, total), [expected.low, expected.high], atol=1e-12)


def column(table, name):
    """A column as texts."""
    return [row[table.header.index(name)] for row in table.rows]


def test_kinds_and_certificates_are_counted_cell_by_cell(tmp_path):
    kinds = np.array([0] * 8 + [1] * 2 + [2, -1], np.int32)
    tried = np.array([0, 0, 1, 2] + [-1] * 8, np.int32)
    dataset = fakes.results(tmp_path, kind=lambda _: kinds, certificate=lambda _: tried)
    table = limit_table(dataset)
    assert column(table, "loss") == ["square", "l_4", "pseudo_huber(0.1)"]
    assert set(column(table, "minima")) == {"8"}
    assert set(column(table, "strict saddles")) == {"2"}
    assert set(column(table, "degenerate")) == {"1"}
    assert set(column(table, "limits")) == {"11"}
    assert set(column(table, "certified")) == {"2 of 4"}
    assert set(column(table, "trapped")) == {"2"}


def test_distinct_limits_have_shares_that_add_up_and_a_gap_in_words(tmp_path):
    table = orbit_table(fakes.results(tmp_path))
    assert len(table.rows) == 6
    assert column(table, "share (95%)")[:2] == ["67% (39%–86%)", "33% (14%–61%)"]
    assert [heading for heading, rows in table.groups] == ["loss = square", "loss = l_4", "loss = pseudo_huber(0.1)"]
    assert column(table, "starts")[:2] == ["8", "4"]
    assert column(table, "above the optimum over all filters")[:2] == ["0 to rounding", "0.2"]
    assert orbit_table(fakes.results(tmp_path, orbit=lambda a: a * np.nan)) is None


def test_factorisations_of_one_filter_share_a_row_and_the_lowest_risk_comes_first(tmp_path):
    spectrum = np.where(np.arange(12) < 9, 1.0, 2.0)  # starts 9, 10, 11 end at another filter, of lower risk
    changes = {
        "orbit": lambda a: np.where(np.arange(12) < 4, 0.0, np.where(np.arange(12) < 9, 1.0, 2.0)),
        "limit_filter": lambda a: np.tile(a[:1], (12, 1)) * spectrum[:, None],
        "limit_risk": lambda a: 0.5 / spectrum,
    }
    table = orbit_table(fakes.results(tmp_path, **changes))
    assert column(table, "starts")[:2] == ["3", "9"]
    assert column(table, "factorisations")[:2] == ["1", "2"]
    assert column(table, "above the lowest of the cell")[:2] == ["0 to rounding", "0.25"]


def test_an_interval_of_no_width_is_not_printed(tmp_path):
    table = verdict_table(fakes.results(tmp_path, limit_filter=lambda v: np.tile(v[:1], (12, 1))))
    assert not any("–" in text for text in column(table, "filter error: median (10%–90%)"))
    table = verdict_table(fakes.results(tmp_path))
    assert all(re.fullmatch(r"\S+ \(\S+–\S+\)", text) for text in column(table, "filter error: median (10%–90%)"))


def test_final_risks_of_different_losses_do_not_stand_side_by_side(tmp_path):
    assert "final risk (median)" not in verdict_table(fakes.results(tmp_path)).header
    one = fakes.CONFIGURATION.split("[sweep]")[0] + '[loss]\nkind = "square"\n[sweep]\n"data.noise" = [0.0, 0.1]\n'
    assert "final risk (median)" in verdict_table(fakes.results(tmp_path, one)).header


def test_many_limits_are_cut_short_and_said_to_be(tmp_path):
    table = orbit_table(fakes.results(tmp_path, orbit=lambda a: np.arange(a.size, dtype=float)))
    assert len(table.rows) == 18
    assert "18 more limits" in table.note


def test_hypotheses_are_told_once_where_an_axis_makes_no_difference(tmp_path):
    table = hypotheses_table(fakes.results(tmp_path))
    assert table.labels == 0
    assert table.rows == (("yes (2.0e-01)", "yes (4.0e-01)", "yes (5.0e-01)", "yes"),)
    cells = iter([1.0, 0.0, np.nan])
    table = hypotheses_table(fakes.results(tmp_path, hypotheses_hold=lambda _: np.asarray(next(cells))))
    assert table.header[0] == "loss"
    assert column(table, "hypotheses hold") == ["yes", "no", "not decided"]


def test_rates_leave_out_flows_that_are_not_asymptotic(tmp_path):
    some = np.where(np.arange(12) < 9, np.nan, 0.75)
    table = rate_table(fakes.results(tmp_path, lojasiewicz_exponent=lambda _: some))
    assert set(column(table, "asymptotic flows")) == {"3"}
    assert set(column(table, "θ̂: median (10%–90%)")) == {"0.7500"}
    table = rate_table(fakes.results(tmp_path, lojasiewicz_exponent=lambda a: a * np.nan))
    assert set(column(table, "θ̂: median (10%–90%)")) == {"–"}


def test_the_bound_is_judged_only_where_there_is_one(tmp_path):
    assert bound_holds(fakes.results(tmp_path)).conclusion == "agrees"
    assert bound_holds(fakes.results(tmp_path, norm_bound=lambda a: a / 4)).conclusion == "disagrees"
    assert bound_holds(fakes.results(tmp_path, norm_bound=lambda a: a + np.inf)) is None


def test_a_certificate_that_contradicts_the_hessian_is_reported(tmp_path):
    assert certificates_agree(fakes.results(tmp_path)).conclusion == "agrees"
    claim = certificates_agree(fakes.results(tmp_path, hessian_index=lambda a: a + 1))
    assert claim.conclusion == "disagrees"
    assert certificates_agree(fakes.results(tmp_path, certificate=lambda a: a * 0 - 1)) is None
