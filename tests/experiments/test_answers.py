"""The first sentences of a report: what they say is what the stored numbers say."""

import fakes
import numpy as np
import pytest

from experiments.answers import (
    conditions_answer,
    convergence_answer,
    identification_answer,
    spurious,
)
from experiments.figures import filters, house_style, relative_error
from experiments.modules.tuning import tuning_answer
from lcnn_flow import Verdict


def two_minima(a):
    """Risks of minima: the starts 0, 1, 2 at the lower one, nine above it."""
    return np.where(np.arange(a.size) < 3, 0.25, 0.5)


def test_the_loss_with_the_smallest_median_error_is_named_with_its_error(tmp_path):
    dataset = fakes.results(tmp_path)
    error = relative_error(dataset).median("seed")
    best = str(dataset["loss"].values[int(error.argmin("loss"))])
    assert best == "square"
    answer = identification_answer(dataset)
    assert answer.startswith(
        f"{best} finds the filter best: median relative error {float(error.min()):.3g} (10% to 90%"
    )
    assert f"l_4 {float(error.sel(loss='l_4')):.3g}" in answer or f"{float(error.max()):.3g}" in answer


def test_losses_that_find_it_equally_well_are_on_a_par(tmp_path):
    answer = identification_answer(
        fakes.results(tmp_path, limit_filter=lambda a: np.hanning(9)[1:-1][None] * 1.1 + 0 * a)
    )
    names = [str(v) for v in fakes.results(tmp_path)["loss"].values]
    assert answer.startswith(
        f"{names[0]} finds the filter best: median relative error 0.1, on a par with {', '.join(names[1:])}."
    )


def test_spurious_minima_are_counted_with_their_interval_and_their_height(tmp_path):
    dataset = fakes.results(tmp_path, limit_risk=two_minima)
    found = spurious(dataset.isel(loss=0))
    assert found is not None
    assert (found.count, found.total, found.above, found.lowest) == (9, 12, 0.25, 0.25)
    answer = convergence_answer(dataset)
    assert "Spurious minima catch square: 9 of 12 starts (47% to 91%), 0.25 above the lowest limit (0.25)" in answer


def test_risks_that_differ_by_rounding_are_one_and_saddles_are_no_spurious_minima(tmp_path):
    near = fakes.results(tmp_path, limit_risk=lambda a: 1e-29 * np.arange(a.size))
    assert "No limit is known to be spurious" in convergence_answer(near)
    saddles = fakes.results(tmp_path, limit_risk=two_minima, kind=lambda a: np.where(np.arange(a.size) < 3, 0, 1))
    assert "No limit is known to be spurious" in convergence_answer(saddles)
    assert spurious(fakes.results(tmp_path, kind=lambda a: a * 0 - 1).isel(loss=0)) is None


def test_without_a_true_filter_the_learned_one_is_told_and_drawn(tmp_path):
    dataset = fakes.results(tmp_path, limit_filter=lambda a: 0 * a + np.arange(7) / 4, final_filter=lambda a: 0 * a)
    assert "filter of the lowest limit" not in convergence_answer(dataset)
    unknown = dataset.drop_vars("true_filter").isel(loss=[0])
    assert "lowest limit: square: (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5). All 12" in convergence_answer(unknown)
    with house_style():
        drawing = filters(unknown)
    assert drawing is not None
    assert (drawing.title, drawing.figure.axes[0].get_ylim()) == ("Learned filter", (-0.8 * 1.5, 1.6 * 1.5))


def test_verdicts_are_told_all_at_once_or_by_their_number(tmp_path):
    assert convergence_answer(fakes.results(tmp_path)).startswith(
        "All 36 flows CONVERGED, along paths of length up to 2."
    )
    some = fakes.results(tmp_path, verdict=lambda a: np.where(np.arange(a.size) < 2, Verdict.DIVERGED, a))
    assert convergence_answer(some).startswith("Of 36 flows 30 CONVERGED, 6 DIVERGED, along")


@pytest.mark.parametrize(
    ("holds", "words"),
    [(1.0, "Where (C) holds, all 36 flows CONVERGED."), (np.nan, "Where (C) is not decided, all 36 flows CONVERGED.")],
)
def test_conditions_say_what_flows_did_where_c_holds(holds, words, tmp_path):
    assert conditions_answer(fakes.results(tmp_path, injective_on_attainable=lambda a: np.asarray(holds))) == words


def test_tuning_tells_the_error_before_and_after(tmp_path):
    truth = np.hanning(9)[1:-1]
    dataset = fakes.results(tmp_path, limit_filter=lambda a: 1.1 * truth + 0 * a)
    dataset = dataset.isel(loss=[0]).assign(
        untuned_filter=dataset["limit_filter"].isel(loss=[0]) / 1.1 * 1.5, untuned_sound=dataset["sound"].isel(loss=[0])
    )
    assert "square: 0.25 before, 0.01 after." in tuning_answer(dataset)
