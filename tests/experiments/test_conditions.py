"""Conditions on the data: an axis of labelled data, conditional claims in both directions, and their figures."""

from pathlib import Path

import fakes
import jax
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import experiments.modules.conditions as module
from experiments.computing.build import build_data
from experiments.errors import UserError
from experiments.figures import house_style
from experiments.figures.conditions import filter_growth, verdict_shares
from experiments.networks import architecture
from experiments.planning.loading import load
from experiments.reporting.report import write_report
from experiments.reporting.summary import cell_rows
from experiments.results.variables import NOT_COMPUTED
from lcnn_flow import Verdict

ROOT = Path(__file__).parents[2]
CONFIGURATION = """
seeds = 4
[experiment]
module = "conditions"
[network]
input_shape = 6
kernel_sizes = [2, 2]
strides = [2, 1]
[initializer]
kind = "gaussian"
std = 0.7
[flow]
times = { start = 1e-3, stop = 1e4, count = 60 }
"""
TARGETS = 'targets = { kind = "filter", values = [1.0, 1.0, 1.0, 0.0] }'
SEEN, NOISY, EXACT = (
    f'{{ kind = "synthetic", label = "{label}", samples = 9, inputs = {inputs}, {TARGETS}, noise = {noise} }}'
    for label, inputs, noise in (
        ("all seen", '{ kind = "white" }', 0.5),
        ("unseen (noisy)", '{ kind = "missing_patches", taps = [0] }', 0.5),
        ("unseen (exact)", '{ kind = "missing_patches", taps = [0] }', 0.0),
    )
)
LOSSES = 'loss = [{ kind = "square" }, { kind = "lp", p = 4.0 }]'
SWEEP = f"{CONFIGURATION}[sweep]\ndata = [{SEEN}, {NOISY}, {EXACT}]\n{LOSSES}\n"
TIMES = np.concatenate([[0.0], np.geomspace(1e-3, 1e4, 60)])


def test_labels_name_the_values_of_an_axis_over_data_and_change_nothing_else(tmp_path):
    sweep = fakes.sweep_of(tmp_path, SWEEP)
    data, loss = sweep.axes
    assert (data.name, data.labels) == ("data", ("all seen", "unseen (noisy)", "unseen (exact)"))
    assert loss.labels == ("square", "l_4")
    assert [len(group) for group in sweep.groups] == [3, 3]
    assert sweep.cells[2].name == "unseen (noisy), square"
    unlabelled = fakes.sweep_of(tmp_path, SWEEP.replace('label = "all seen", ', ""))
    assert "white" in unlabelled.axes[0].labels[0]
    assert [len(group) for group in unlabelled.groups] == [3, 3]
    drawn = [build_data(s.cells[0].configuration, architecture(s.configuration)) for s in (sweep, unlabelled)]
    assert jax.tree.all(jax.tree.map(np.array_equal, *drawn))


def test_labels_and_the_order_of_axes_survive_the_resolved_configuration_and_an_axis_given_by_hand(tmp_path):
    sweep = fakes.sweep_of(tmp_path, SWEEP)
    again = tmp_path / "config.toml"
    again.write_text(sweep.toml())
    assert load(again) == sweep
    assert load(again, [], [f"data=[{EXACT}]"]).axes[-1].labels == ("unseen (exact)",)


@pytest.mark.parametrize(
    ("old", "new", "path", "shown"),
    [
        ("(exact)", "(noisy)", "sweep.data[2]", 'called "unseen (noisy)", as is data[1]; give each its own label'),
        ("unseen (noisy)", "", "sweep.data[1].label", 'found ""; should be 1 to 40 printable characters'),
        ("unseen (noisy)", "x" * 41, "sweep.data[1].label", "should be 1 to 40 printable characters"),
        ("unseen (noisy)", "5 $", "sweep.data[1].label", 'without "$"'),
        ('"unseen (noisy)"', "3", "sweep.data[1].label", "found 3"),
        ("noise = 0.5", "noise = -0.5", "sweep.data[0].noise", "greater than or equal to 0"),
        ("noise = 0.0", "nois = 0.0", "sweep.data[2].nois", 'did you mean "noise"?'),
    ],
)
def test_a_fault_inside_an_axis_of_data_is_shown_where_it_was_written(tmp_path, old, new, path, shown):
    assert fakes.faults(tmp_path, SWEEP) == {}
    assert shown in fakes.faults(tmp_path, SWEEP.replace(old, new))[path]


def test_values_of_any_axis_that_have_the_same_name_are_refused(tmp_path):
    twice = 'loss=[{kind="generalized_huber", a=1.0, b=2.0}, {kind="generalized_huber", b=1.0, a=2.0}]'
    found = fakes.faults(tmp_path, SWEEP, axes=[twice])
    assert set(found) == {"sweep.loss[1]"}
    assert 'called "generalized_huber(1, 2)", as is loss[0]' in found["sweep.loss[1]"]


def test_files_on_an_axis_of_data_are_found_from_the_directory_of_the_configuration(tmp_path):
    file = tmp_path / "some.toml"
    file.write_text(SWEEP)
    mine = str(tmp_path / "mine.npz")
    mixed = load(file, [], [f'data=[{SEEN}, {{kind="file", label="mine", path="mine.npz"}}]'])
    assert mixed.cells[1].configuration.data.path == mine
    override = "data={kind='file', path='other.npz'}"
    alone = load(file, [override], ['data.path=["mine.npz", "yours.npz"]'])
    assert {cell.configuration.data.path for cell in alone.cells} == {mine, str(tmp_path / "yours.npz")}


def test_the_shipped_configuration_walks_down_the_ladder_in_two_programs_a_loss():
    sweep = load(ROOT / "configs" / "data_conditions.toml")
    assert sweep.shape == (6, 3)
    assert len(sweep.groups) == 6
    last, exact = (sweep.cells[number].configuration.data for number in (12, 15))
    assert exact.model_copy(update={"noise": last.noise, "label": last.label}) == last


CONDITIONS = {"full_rank_inputs": 1.0, "full_rank_patches": 1.0, "injective_on_attainable": 1.0, "hypotheses_hold": 1.0}
FOUND = dict.fromkeys(CONDITIONS, 0.0)
EXPONENTS = {("unseen (noisy)", "square"): 1 / 4, ("unseen (noisy)", "l_4"): 1 / 4}
EXPONENTS |= {("unseen (exact)", "square"): 1 / 6, ("unseen (exact)", "l_4"): 1 / 10}


def made_up(folder, text=SWEEP):
    """Results as the theory has them: without tap 0 one flow in four diverges, with exact targets all of them do."""
    sweep = fakes.sweep_of(folder, text)
    cells = {}
    for cell in sweep.cells:
        stored = fakes.cell_arrays(TIMES, seeds=4, layers=2, taps=4, seed=cell.number)
        data, loss = cell.name.split(", ")
        stored |= {name: np.asarray(v) for name, v in (CONDITIONS if data == "all seen" else FOUND).items()}
        diverged = np.arange(4) < {"all seen": 0, "unseen (noisy)": 1, "unseen (exact)": 4}[data]
        exponent = EXPONENTS.get((data, loss), 0.0)
        stored["verdict"] = np.where(diverged, Verdict.DIVERGED, Verdict.CONVERGED).astype(np.int32)
        stored["growth_rate"] = np.where(diverged, exponent, 0.0)
        grown = (1 + TIMES) ** (2 * exponent)
        stored["squared_norms"] = np.where(diverged[:, None, None], grown[:, None], stored["squared_norms"])
        cells[cell.number] = stored
    return fakes.assemble(sweep, cells, fakes.MANIFEST)


def conclusions(dataset):
    """Conclusions of the four claims of the module, None where they have no subject."""
    claims = [judge(dataset) for judge in module.CONDITIONS.claims[:4]]
    return [claim and claim.conclusion for claim in claims]


def test_results_as_the_theory_has_them_agree_and_count_only_the_flows_spoken_of(tmp_path):
    dataset = made_up(tmp_path)
    claims = [judge(dataset) for judge in module.CONDITIONS.claims]
    assert [claim.conclusion for claim in claims] == ["agrees"] * 8
    limits, divergence, forces, growth = claims[:4]
    assert limits.observed.startswith("8 of 8 flows")
    assert [row[0] for row in limits.details] == ["all seen, square", "all seen, l_4"]
    assert divergence.observed.startswith("10 of 10 flows")
    assert forces.observed == "6 of 16 flows CONVERGED"
    assert ("unseen (noisy), l_4", "3 of 4 flows CONVERGED, 1 DIVERGED", "agrees") in forces.details
    assert "within 1% of 1/4 or 1/6 or 1/10" in growth.expected
    assert growth.observed.startswith("10 of 10 flows")


def test_a_flow_that_diverges_where_all_is_seen_contradicts_two_claims(tmp_path):
    dataset = made_up(tmp_path)
    dataset["verdict"][0, 0, 2] = Verdict.DIVERGED
    assert conclusions(dataset) == ["disagrees", "disagrees", "agrees", "agrees"]


@pytest.mark.parametrize(
    ("name", "value"), [("verdict", Verdict.TIME_LIMIT), ("verdict", Verdict.STEP_LIMIT), ("growth_rate", 0.05)]
)
def test_a_flow_without_limit_or_still_growing_decides_nothing_and_one_at_a_saddle_has_a_limit(tmp_path, name, value):
    dataset = made_up(tmp_path)
    dataset["verdict"][0, 0, 1] = Verdict.AT_SADDLE
    dataset["verdict"][0, 1, 1] = Verdict.DEGENERATE
    assert conclusions(dataset)[0] == "agrees"
    dataset[name][0, 0, 2] = value
    assert conclusions(dataset)[0] == "undecided"


def test_conditions_that_were_not_decided_leave_divergence_undecided_and_outside_of_the_other_claims(tmp_path):
    dataset = made_up(tmp_path)
    dataset["injective_on_attainable"][1:] = np.nan
    assert conclusions(dataset) == ["agrees", "undecided", None, "agrees"]
    dataset["injective_on_attainable"][:] = np.nan
    assert conclusions(dataset)[0] is None


def test_divergence_of_all_flows_leaves_open_whether_it_is_forced(tmp_path):
    dataset = made_up(tmp_path)
    dataset["verdict"][1] = Verdict.DIVERGED
    assert conclusions(dataset)[2] == "undecided"
    dataset["verdict"][:] = Verdict.CONVERGED
    assert conclusions(dataset) == ["agrees", None, "agrees", None]


def slope_of_the_flow(power, corner):
    """d log s / d log t of |P v - (1, 1, corner)|_p^p / p, P correlated and blind to tap 0, by another integrator."""
    rows = np.array([[1.0, 0.4, -0.3], [0.2, 1.1, 0.5], [-0.6, 0.3, 0.9], [0.5, -0.7, 0.8]])

    def velocity(_, w):
        (a, b), (c, d) = w[:2], w[2:]
        r = rows @ (np.array([a * d, b * c, b * d]) - [1, 1, corner])
        g = rows.T @ (np.sign(r) * abs(r) ** (power - 1))
        return -np.array([g[0] * d, g[1] * c + g[2] * d, g[1] * b, g[0] * a + g[2] * b])

    times = 1e9 * np.array([1.0, 2.0])
    found = solve_ivp(velocity, (0, times[-1]), [1.0, 0.5, 1.1, 0.4], "Radau", times, rtol=1e-8, atol=1e-10)
    first, second = np.linalg.norm(found.y, axis=0)
    return np.log(second / first) / np.log(2)


@pytest.mark.parametrize(
    ("data", "loss", "power", "corner"), [(1, 0, 2, -0.2), (1, 1, 4, -0.2), (2, 0, 2, 0.0), (2, 1, 4, 0.0)]
)
def test_growth_has_the_exponent_of_another_integrator_and_others_contradict(tmp_path, data, loss, power, corner):
    dataset = made_up(tmp_path)
    slope = slope_of_the_flow(power, corner)
    dataset["growth_rate"][data, loss] = slope
    assert conclusions(dataset)[3] == "agrees"
    dataset["growth_rate"][data, loss, 0] = 1.05 * slope
    assert conclusions(dataset)[3] == "disagrees"


@pytest.mark.parametrize(
    ("old", "new"), [("strides = [2, 1]", "strides = [1, 1]"), ("[2, 2]", "[2, 3]"), ("taps = [0]", "taps = [1]")]
)
def test_exponents_are_claimed_of_no_other_problem(tmp_path, old, new):
    planted = SWEEP.replace(TARGETS, 'targets = { kind = "planted" }')
    assert conclusions(made_up(tmp_path, planted))[3] is not None
    assert conclusions(made_up(tmp_path, planted.replace(old, new)))[3] is None


def test_without_axes_one_cell_is_judged(tmp_path):
    dataset = made_up(tmp_path)
    text = f"{CONFIGURATION}[data]\n" + EXACT.strip("{} ").replace(" }, ", " }\n").replace(", noise", "\nnoise")
    text = text.replace('"synthetic", ', '"synthetic"\n').replace('", samples = 9, ', '"\nsamples = 9\n')
    single = fakes.sweep_of(tmp_path, f'{text}\n[loss]\nkind = "square"\n')
    stored = {name: v.values for name, v in dataset.isel(data=2, loss=0).data_vars.items()}
    one = fakes.assemble(single, {0: stored}, fakes.MANIFEST)
    assert conclusions(one) == [None, "agrees", "undecided", "agrees"]
    with house_style():
        ticks = verdict_shares(one).figure.axes[0].get_yticklabels()
    assert [tick.get_text() for tick in ticks] == ["(A) no  (B) no  (C) no"]


def test_bars_show_every_verdict_with_its_number_beside_the_conditions(tmp_path):
    dataset = made_up(tmp_path)
    dataset["injective_on_attainable"][2] = np.nan
    dataset["full_rank_patches"][0, 1] = 0.0
    with house_style():
        drawing = verdict_shares(dataset)
    square, l_4 = drawing.figure.axes
    assert [tick.get_text() for tick in square.get_yticklabels()] == [
        "all seen\n(A) yes  (B) varies  (C) yes",
        "unseen (noisy)\n(A) no  (B) no  (C) no",
        "unseen (exact)\n(A) no  (B) no  (C) ?",
    ]
    assert [(bar.get_y() + 0.25, bar.get_width()) for bar in square.patches] == [(0, 1), (1, 0.75), (1, 0.25), (2, 1)]
    assert [text.get_text() for text in l_4.texts] == ["4", "3", "1", "4"]
    hatches = {bar.get_facecolor(): bar.get_hatch() for bar in square.patches}
    assert len(hatches) == len(set(hatches.values())) == 2
    assert [text.get_text() for text in drawing.figure.legends[0].get_texts()] == ["CONVERGED", "DIVERGED"]


def test_growth_is_drawn_apart_for_flows_that_diverged_with_its_exponent(tmp_path):
    dataset = made_up(tmp_path)
    with house_style():
        square, l_4 = filter_growth(dataset).figure.axes
    assert len(square.lines) == 4
    x, y = square.lines[-1].get_data()
    assert np.log(y[-1] / y[-10]) / np.log(x[-1] / x[-10]) == pytest.approx(1 / 6, rel=1e-3)
    assert [text.get_text() for text in l_4.texts] == ["$t^{\\,0.250}$", "$t^{\\,0.100}$"]
    assert filter_growth(dataset.drop_vars("squared_norms")) is None


def test_where_nothing_was_computed_there_is_nothing_to_draw_or_to_claim(tmp_path):
    dataset = made_up(tmp_path)
    dataset["verdict"][:] = NOT_COMPUTED
    assert verdict_shares(dataset) is None
    assert filter_growth(dataset) is None
    assert conclusions(dataset) == [None] * 4


@pytest.mark.usefixtures("quick_figures")
def test_report_and_summary_have_a_column_of_labels(tmp_path):
    dataset = made_up(tmp_path)
    assert [(row["data"], row["loss"]) for row in cell_rows(dataset)][3] == ("unseen (noisy)", "l_4")
    fakes.write_results(tmp_path, dataset)
    html = write_report(tmp_path)[0].read_text()
    assert "unseen (exact)" in html
    assert all(f'<figure id="{name}">' in html for name in ("verdict_shares", "filter_growth", "gradient_norm"))
    assert "8 of 8 claims agree" in html
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    fakes.write_results(damaged, dataset.drop_vars("injective_on_attainable"))
    with pytest.raises(UserError, match="injective_on_attainable"):
        write_report(damaged)
