"""The plan of a run against counts by hand, and its lower bound on the time against runs that were measured."""

import re
import time
from collections import Counter
from pathlib import Path

import fakes
import jax
import pytest

import experiments.planning.cost_model
import experiments.planning.plan
import experiments.planning.plan_text
import experiments.planning.problems
import lcnn_flow as lf
from experiments.cli import main
from experiments.computing.build import build_problem
from experiments.errors import UserError
from experiments.planning.cost_model import least_seconds, machine_rate
from experiments.planning.loading import load
from experiments.planning.plan import plan_of
from experiments.planning.plan_text import plan_text, shortened, time_text
from experiments.running.course import Course
from experiments.running.progress import Lines
from experiments.sweeps.sizes import stored_bytes

CONFIGURATIONS = Path(__file__).parents[2] / "configs"
MEASURED_ON = 40e9
"""Rate of the machine on which the runs below were measured."""


@pytest.fixture
def file(tmp_path):
    """A configuration of three losses, 12 seeds each."""
    path = tmp_path / "some.toml"
    path.write_text(fakes.CONFIGURATION)
    return path


def text_of(sweep):
    """The text of the plan of a sweep."""
    return plan_text(plan_of(sweep))


def works(sweep):
    """The work of all groups of a sweep."""
    return plan_of(sweep).work


def test_the_plan_counts_cells_flows_groups_programs_and_batches(file):
    lines = text_of(load(file, axes=["data.noise=[0.0, 0.1]"])).splitlines()
    assert lines[0] == "6 cells x 12 seeds = 72 flows in 3 compile groups, 3 programs to compile, 3 batches"
    assert lines[1:3] == ["  axis loss: square, l_4, pseudo_huber(0.1)", "  axis noise: 0.0, 0.1"]


def test_batches_of_different_shapes_are_programs_of_their_own(file):
    # 64 // 12 = 5 cells share a batch: 13 cells are 5 + 5 + 3, two shapes
    sweep = load(file, ["loss={kind='square'}"], [f"data.noise={[i / 100 for i in range(13)]}"])
    assert ", 2 programs to compile, 3 batches" in text_of(sweep)
    one = load(file, ["loss={kind='square'}", "seeds=1"])
    assert text_of(one).startswith("1 cell x 1 seed = 1 flow in 1 compile group, 1 program to compile, 1 batch\n")


@pytest.mark.usefixtures("made_up_cells", "no_figures")
def test_a_run_is_cut_into_batches_once_and_builds_every_problem_at_most_once_before_it_begins(
    file, tmp_path, monkeypatch
):
    counts = Counter()

    def count(module, name):
        function = getattr(module, name)

        def counted(*arguments, **options):
            counts[module.__name__, name] += 1
            return function(*arguments, **options)

        monkeypatch.setattr(module, name, counted)

    count(experiments.planning.plan, "cut_into_batches")
    count(experiments.planning.problems, "build_problem")
    count(experiments.planning.cost_model, "build_problem")
    assert main(["run", str(file), "--out", str(tmp_path / "run"), "--no-cache"]) == 0
    assert counts == {
        ("experiments.planning.plan", "cut_into_batches"): 1,
        ("experiments.planning.problems", "build_problem"): 3,  # one per loss, to check the data
        ("experiments.planning.cost_model", "build_problem"): 3,  # one per compile group, of which only the shapes
    }


def test_long_axes_are_shortened_and_keys_of_a_zip_are_shown_below_it(file):
    sweep = load(file, axes=["root_seed=[1, 2, 3, 4, 5, 6, 7]"], zips=["data.noise=[0.0, 0.1]", "data.samples=[3, 4]"])
    assert text_of(sweep).splitlines()[2:5] == [
        "  axis root_seed: 1, 2, 3, ..., 7 (7 values)",
        "  axis noise: 0.0, 0.1",
        "    with samples: 3, 4",
    ]
    assert shortened(list("abcdef")) == list("abcdef")


def test_results_are_no_larger_than_planned_and_more_than_half_as_large(file):
    sweep = load(file)
    stored = sum(array.nbytes for array in fakes.cell_arrays(fakes.TIMES).values())
    planned = stored_bytes(sweep.cells[0].configuration)
    assert stored <= planned < 2 * stored
    assert f"results up to {3 * planned / 1e3:.0f} kB" in text_of(sweep)


def test_the_work_of_a_group_is_that_of_its_risk_without_building_it(file):
    sweep = load(file, ["network.input_shape=30", "data.samples=8"])
    for group, found in zip(sweep.groups, works(sweep), strict=True):
        risk = build_problem(group[0].configuration)[2]
        known = lf.describe(risk)
        assert (found.least_cost, found.flows) == (15 * known.step_cost, 12)
        flows = known.lanes * known.lane_bytes
        assert found.working_bytes == jax.local_device_count() * (known.data_bytes + flows)


def test_of_many_groups_only_some_are_looked_at(file, monkeypatch):
    looked = []
    monkeypatch.setattr(
        experiments.planning.cost_model, "build_problem", lambda c: looked.append(c) or build_problem(c), raising=True
    )
    sweep = load(file, ["loss={kind='lp', p=3}"], [f"loss.p={[3 + i / 100 for i in range(100)]}"])
    assert len(works(sweep)) == len(sweep.groups) == 100
    assert 20 <= len(looked) <= 32


def test_flows_take_at_least_fifteen_steps_at_the_rate_of_the_machine(file):
    few, many = works(load(file)), works(load(file, ["seeds=1200"]))
    cost = sum(12 * group.least_cost for group in few)
    assert least_seconds(few, 1e9) == pytest.approx(cost / 1e9 / jax.local_device_count())
    assert least_seconds(many, 1e9) == pytest.approx(100 * least_seconds(few, 1e9))


@pytest.mark.parametrize(("name", "measured"), [("losses_on_ecg", 40), ("data_conditions", 30), ("quickstart", 5)])
def test_the_plan_promises_no_more_than_measured_runs_took(name, measured):
    assert least_seconds(works(load(CONFIGURATIONS / f"{name}.toml")), MEASURED_ON) <= measured


@pytest.mark.parametrize(
    ("least", "text"),
    [(2.9, "at least 2 s"), (38, "at least 30 s"), (89, "at least 80 s"), (204, "at least 3 min"),
     (4000, "at least 60 min"), (40000, "at least 10 h"), (864000, "at least 10 days")],
)  # fmt: skip
def test_least_times_are_rounded_down_to_one_digit(least, text):
    assert time_text(least) == text


def test_no_time_is_claimed_for_devices_whose_rate_is_not_known(file, monkeypatch):
    known = lf.describe

    def on_gpu(risk):
        found = known(risk)
        object.__setattr__(found, "device", "gpu (some)")
        return found

    monkeypatch.setattr(experiments.planning.plan_text, "least_seconds", lambda work, rate: 38.0)
    assert "time: at least 30 s, not counting compilation; the run says" in text_of(load(file))
    monkeypatch.setattr(lf, "describe", on_gpu)
    assert text_of(load(file)).splitlines()[-1].startswith("  time: not known yet; the run says")


def test_runs_of_descents_are_called_descents(file, capsys):
    descent = ['dynamics={kind = "descent", optimizer = {kind = "sgd", learning_rate = 0.01}, steps = 10}']
    file.write_text(re.sub(r"\[flow\]\ntimes.*", "", file.read_text()))
    sweep = load(file, descent)
    assert " = 36 descents in 3 compile groups" in (plan := text_of(sweep))
    assert "flow" not in plan
    (batch, *_) = cut = plan_of(sweep).batches
    course = Course(cut, dict.fromkeys(range(len(cut)), 0), lambda batch: "cell", sweep.noun)
    Lines(course)(batch, 0, "failed")
    assert capsys.readouterr().err.startswith("0/36 descents  cell")


def test_flows_that_do_not_fit_into_memory_are_a_mistake_of_the_user(file, monkeypatch):
    def refuse(risk):
        raise lf.FlowError("a flow needs 10 GiB")

    monkeypatch.setattr(lf, "describe", refuse)
    with pytest.raises(UserError, match="10 GiB"):
        text_of(load(file))


def test_the_rate_of_the_machine_is_measured_in_a_moment():
    started = time.process_time()
    rate = machine_rate.__wrapped__()
    assert time.process_time() - started < 0.2
    assert 1e7 < rate < 1e13
