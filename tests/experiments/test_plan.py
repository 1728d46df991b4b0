"""The plan of a run against counts by hand, and its range of times against runs that were measured."""

import time
from pathlib import Path

import fakes
import jax
import pytest

import experiments.planning.cost_model
import lcnn_flow as lf
from experiments.computing.build import build_problem
from experiments.errors import UserError
from experiments.planning.batches import batches
from experiments.planning.cost_model import machine_rate, seconds, steps_of, work_of
from experiments.planning.loading import load
from experiments.planning.plan import plan_text, shortened, time_text
from experiments.sweeps.sweep import stored_bytes

CONFIGURATIONS = Path(__file__).parents[2] / "configs"
MEASURED_ON = 40e9
"""Rate of the machine on which the runs below were measured."""


@pytest.fixture
def file(tmp_path):
    """A configuration of three losses, 12 seeds each."""
    path = tmp_path / "some.toml"
    path.write_text(fakes.CONFIGURATION)
    return path


def works(sweep):
    """The work of all groups of a sweep."""
    return work_of(sweep.groups(), batches(sweep))


def test_the_plan_counts_cells_flows_groups_programs_and_batches(file):
    lines = plan_text(load(file, axes=["data.noise=[0.0, 0.1]"])).splitlines()
    assert lines[0] == "6 cells x 12 seeds = 72 flows in 3 compile groups, 3 programs to compile, 3 batches"
    assert lines[1:3] == ["  axis loss: square, l_4, pseudo_huber(0.1)", "  axis noise: 0.0, 0.1"]


def test_batches_of_different_shapes_are_programs_of_their_own(file):
    # 64 // 12 = 5 cells share a batch: 13 cells are 5 + 5 + 3, two shapes
    sweep = load(file, ["loss={kind='square'}"], [f"data.noise={[i / 100 for i in range(13)]}"])
    assert ", 2 programs to compile, 3 batches" in plan_text(sweep)
    one = load(file, ["loss={kind='square'}", "seeds=1"])
    assert plan_text(one).startswith("1 cell x 1 seeds = 1 flows in 1 compile group, 1 program to compile, 1 batch\n")


def test_long_axes_are_shortened_and_keys_of_a_zip_are_shown_below_it(file):
    sweep = load(file, axes=["root_seed=[1, 2, 3, 4, 5, 6, 7]"], zips=["data.noise=[0.0, 0.1]", "data.samples=[3, 4]"])
    assert plan_text(sweep).splitlines()[2:5] == [
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
    assert f"results up to {3 * planned / 1e3:.0f} kB" in plan_text(sweep)


def test_the_work_of_a_group_is_that_of_its_risk_without_building_it(file):
    sweep = load(file, ["network.input_shape=30", "data.samples=8"])
    for group, found in zip(sweep.groups(), works(sweep), strict=True):
        risk = build_problem(group[0].configuration)[2]
        known = lf.describe(risk)
        assert (found.step_cost, found.rows, found.parameters) == (known.step_cost, 8 * 24, 9)
        flows = known.lanes * known.lane_bytes
        assert found.working_bytes == jax.local_device_count() * (known.data_bytes + flows)


def test_of_many_groups_only_some_are_looked_at(file, monkeypatch):
    looked = []
    monkeypatch.setattr(
        experiments.planning.cost_model, "build_problem", lambda c: looked.append(c) or build_problem(c), raising=True
    )
    sweep = load(file, ["loss={kind='lp', p=3}"], [f"loss.p={[3 + i / 100 for i in range(100)]}"])
    assert len(works(sweep)) == len(sweep.groups()) == 100
    assert 20 <= len(looked) <= 32


@pytest.mark.parametrize(
    ("name", "least", "most"), [("losses_on_ecg", 110, 130), ("data_conditions", 73, 73), ("quickstart", 13, 16)]
)
def test_the_range_of_times_holds_measured_runs_within_a_factor_of_three(name, least, most):
    low, high = seconds(works(load(CONFIGURATIONS / f"{name}.toml")), MEASURED_ON)
    assert low <= least <= most <= high
    assert low >= least / 3
    assert high <= 3 * most


def test_more_flows_a_slower_machine_and_certificates_take_longer(file):
    few, many = works(load(file)), works(load(file, ["seeds=10000"]))
    assert seconds(few, MEASURED_ON) < seconds(many, MEASURED_ON) < seconds(many, MEASURED_ON / 10)
    alone = seconds(works(load(file, ["analysis.certify=0"])), MEASURED_ON)
    assert alone < seconds(few, MEASURED_ON)


def test_steps_follow_from_loss_times_and_tolerance(file, tmp_path):
    def steps(*overrides, path=file):
        return steps_of(load(path, ["loss={kind='square'}", *overrides]).configuration)

    limits = tmp_path / "limits.toml"
    limits.write_text("\n".join(line for line in fakes.CONFIGURATION.splitlines() if not line.startswith("times")))
    assert steps(path=limits) == 45
    assert steps() == steps("flow.rtol=1e-6") == 250
    assert steps("flow.rtol=1.6e-7") == pytest.approx(250 * 6.25**0.25)
    assert (steps("flow.rtol=1e-3"), steps("flow.rtol=1e-12")) == (150, 600)
    assert steps("loss={kind='lp', p=1.5}") == 1500


@pytest.mark.parametrize(
    ("least", "most", "text"),
    [
        (0.2, 0.9, "about 1 s"),
        (12, 37, "about 10-40 s"),
        (38, 204, "about 40 s to 3 min"),
        (91, 170, "about 2-3 min"),
        (4000, 40000, "about 70 min to 10 h"),
        (86400, 864000, "about 20 h to 10 days"),
        (20000, 20001, "about 6 h"),
    ],
)
def test_times_are_said_with_one_digit(least, most, text):
    assert time_text(least, most) == text


def test_no_time_is_claimed_for_devices_that_the_model_does_not_know(file, monkeypatch):
    known = lf.describe

    def on_gpu(risk):
        found = known(risk)
        object.__setattr__(found, "device", "gpu (some)")
        return found

    assert "(cost model" in plan_text(load(file))
    monkeypatch.setattr(lf, "describe", on_gpu)
    assert plan_text(load(file)).splitlines()[-1] == "  time not known: the cost model is one of CPUs"


def test_flows_that_do_not_fit_into_memory_are_a_mistake_of_the_user(file, monkeypatch):
    def refuse(risk):
        raise lf.FlowError("a flow needs 10 GiB")

    monkeypatch.setattr(lf, "describe", refuse)
    with pytest.raises(UserError, match="10 GiB"):
        plan_text(load(file))


def test_the_rate_of_the_machine_is_measured_in_a_moment():
    started = time.process_time()
    rate = machine_rate.__wrapped__()
    assert time.process_time() - started < 0.2
    assert 1e7 < rate < 1e13
