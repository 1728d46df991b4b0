"""Batches cover every flow once, follow from the configuration alone, and are known by what their results depend on."""

from dataclasses import replace

import fakes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import experiments.running.compute
from experiments.computing.certification import Certifier
from experiments.errors import UserError
from experiments.planning.loading import load
from experiments.planning.plan import plan_of
from experiments.running.compute import compute_batch, compute_outcome
from experiments.running.engines.base import Task
from experiments.running.work import work

PLAIN = fakes.CONFIGURATION.replace("times = { start = 1e-3, stop = 1e4, count = 60 }", "")


def sweep_of(folder, overrides=(), axes=(), text=fakes.CONFIGURATION):
    """A checked sweep."""
    file = folder / "some.toml"
    file.write_text(text)
    return load(file, overrides, axes)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seeds=st.integers(1, 200),
    size=st.none() | st.integers(1, 70),
    noise=st.integers(1, 40),
    times=st.booleans(),
)
def test_every_flow_belongs_to_one_batch_and_a_batch_to_one_group(tmp_path, seeds, size, noise, times):
    overrides = [f"seeds={seeds}"] + ([f"compute.batch_size={size}"] if size else [])
    axis = f"data.noise={[0.1 * n for n in range(noise)]}"
    sweep = sweep_of(tmp_path, overrides, [axis], fakes.CONFIGURATION if times else PLAIN)
    found = plan_of(sweep).batches
    assert [batch.number for batch in found] == list(range(len(found)))
    flows = [(cell, seed) for batch in found for cell in batch.cells for seed in range(batch.start, batch.stop)]
    assert len(flows) == len(set(flows)) == len(sweep.cells) * seeds
    assert sum(batch.flows for batch in found) == len(flows)
    group_of = {cell.number: number for number, group in enumerate(sweep.groups) for cell in group}
    for batch in found:
        assert len({group_of[cell] for cell in batch.cells}) == 1
        assert len(batch.cells) == 1 or (batch.start, batch.stop) == (0, seeds)
        assert size is None or batch.stop - batch.start <= size
    assert len({batch.key for batch in found}) == len(found)
    assert plan_of(sweep).batches == found


def test_many_seeds_are_cut_into_equal_batches_where_that_is_possible(tmp_path):
    sweep = sweep_of(tmp_path, ["seeds=1000000", "loss={kind='square'}"], (), PLAIN)
    found = plan_of(sweep).batches
    assert {batch.stop - batch.start for batch in found} == {4000}
    assert len(found) == 250
    prime = sweep_of(tmp_path, ["seeds=10007", "loss={kind='square'}"], (), PLAIN)
    assert [batch.stop - batch.start for batch in plan_of(prime).batches] == [4096, 4096, 1815]


@pytest.mark.parametrize(
    ("override", "changes"),
    [
        ("data.seed=5", True),
        ("initializer.std=0.6", True),
        ("flow.rtol=1e-8", True),
        ("analysis.certify=3", True),
        ("analysis.census=false", False),
        ("analysis.sharpness=false", False),
        ("analysis.sharpness=true", True),
        ("compute.block_size=8", True),
        ("compute.precision=float32", True),
        ("root_seed=1", True),
        ("experiment.module=convergence", True),
        ("experiment.title=Other", False),
        ("compute.retries=7", False),
        ("data.label=ours", False),
    ],
)
def test_the_key_changes_with_what_the_results_depend_on_and_with_nothing_else(tmp_path, override, changes):
    overrides = ["seeds=2", "loss={kind='square'}"]
    first, second = (plan_of(sweep_of(tmp_path, options)).batches for options in (overrides, [*overrides, override]))
    assert len(first) == len(second) == 1
    assert (first[0].key != second[0].key) == changes


def test_the_key_changes_with_a_census(tmp_path):
    overrides = ["seeds=2", "loss={kind='square'}", "network={input_shape=6, kernel_sizes=[2, 2]}"]
    more = [*overrides, "analysis.census=true"]
    (first,), (second,) = (plan_of(sweep_of(tmp_path, options)).batches for options in (overrides, more))
    assert first.key != second.key


def test_the_key_changes_with_the_bytes_of_a_data_file(tmp_path):
    own = ["experiment.module=convergence", f"data={{kind='file', path='{tmp_path / 'mine.npz'}'}}"]
    keys = []
    for number in range(2):
        np.savez(tmp_path / "mine.npz", inputs=np.full((3, 12), float(number)), targets=np.zeros((3, 6)))
        keys.append(plan_of(sweep_of(tmp_path, own)).batches[0].key)
    assert keys[0] != keys[1]


def test_labels_name_the_cell_and_the_seeds_of_a_part(tmp_path):
    sweep = sweep_of(tmp_path, ["compute.batch_size=5"])
    assert [plan_of(sweep).label(batch) for batch in plan_of(sweep).batches[:3]] == [
        "square, seeds 0 to 4",
        "square, seeds 5 to 9",
        "square, seeds 10 to 11",
    ]
    joint = sweep_of(tmp_path, ["seeds=2", "loss={kind='square'}"], ["data.noise=[0.0, 0.1, 0.2]"])
    assert [plan_of(joint).label(batch) for batch in plan_of(joint).batches] == ["noise = 0.0 … noise = 0.2"]


def test_cells_computed_together_have_the_limits_that_they_have_alone(tmp_path, monkeypatch):
    options = ["seeds=4", "loss={kind='square'}", "analysis.certify=1", "network={input_shape=6, kernel_sizes=[2, 2]}"]
    sweep = sweep_of(tmp_path, options, ["data.noise=[0.0, 0.3]"], PLAIN)
    (batch,) = plan_of(sweep).batches
    assert batch.cells == (0, 1)
    told = []
    together = compute_batch(sweep, batch, lambda done, note: told.append(done), Certifier())
    assert max(told) == 7  # the last one counts when the batch is stored
    monkeypatch.setattr(experiments.running.compute, "_STACKED_BYTES", 0)
    alone = compute_batch(sweep, batch, lambda done, note: None, Certifier())
    assert together.keys() == alone.keys()
    for cell in batch.cells:
        assert (together[f"{cell}/verdict"] == 0).all()
        assert np.allclose(together[f"{cell}/limit_filter"], alone[f"{cell}/limit_filter"], rtol=0, atol=1e-12)
        assert np.array_equal(together[f"{cell}/steps"], alone[f"{cell}/steps"])
    assert not np.allclose(together["0/limit_filter"], together["1/limit_filter"], atol=1e-3)


def test_a_worker_refuses_a_batch_that_has_another_key_there(tmp_path):
    plan = plan_of(sweep_of(tmp_path))
    outcome = work(Task(plan.sweep.toml(), replace(plan.batches[0], key="ab" * 32), cache=False))
    assert "the batch has another key here" in outcome.error
    assert (outcome.content, outcome.retryable) == (None, False)


def test_an_error_becomes_the_outcome_with_its_trace_and_a_mistake_is_not_retried(tmp_path, monkeypatch):
    sweep = sweep_of(tmp_path)
    batch = plan_of(sweep).batches[0]

    def fail(error):
        def compute(*_):
            raise error

        return compute

    full = RuntimeError("RESOURCE_EXHAUSTED: 12 GiB\nmore")
    monkeypatch.setattr(experiments.running.compute, "compute_batch", fail(full))
    outcome = compute_outcome(sweep, batch)
    assert (outcome.content, outcome.error) == (None, "RuntimeError: RESOURCE_EXHAUSTED: 12 GiB")
    assert "Traceback" in outcome.trace
    assert outcome.retryable
    monkeypatch.setattr(experiments.running.compute, "compute_batch", fail(UserError("no such file")))
    outcome = compute_outcome(sweep, batch)
    assert (outcome.error, outcome.retryable) == ("no such file", False)
