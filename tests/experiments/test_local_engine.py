"""The engine of one process: two batches at once while a program is new, one where all are compiled."""

import threading
import time
from concurrent.futures import Future

import fakes
import jax
import pytest

import experiments.running.engines.local as local
from experiments.planning.plan import plan_of
from experiments.running.engines.base import Outcome, Task
from experiments.running.engines.local import LocalEngine

PATIENCE = 30.0


class Batches:
    """Stands for `start_batch`: a batch that has begun is computed until it is released, and packed at once."""

    def __init__(self):
        self.begun, self.changed, self.released = [], threading.Condition(), set()

    def __call__(self, sweep, batch, on_progress, certifier):
        with self.changed:
            self.begun.append(batch.number)
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: batch.number in self.released, PATIENCE)
        return lambda: Outcome(b"", str(batch.number))

    def release(self, *numbers):
        with self.changed:
            self.released |= set(numbers)
            self.changed.notify_all()

    def wait_for(self, count):
        """The numbers of the batches that have begun, as soon as there are `count`."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.begun) >= count, PATIENCE), self.begun
        return self.begun


@pytest.fixture
def batches(monkeypatch):
    monkeypatch.setattr(local, "start_batch", stand_in := Batches())
    monkeypatch.setattr(jax, "local_device_count", lambda: 2)
    yield stand_in
    stand_in.release(*range(100))


def plan_with_two_programs(folder, batches=3):
    """`batches` batches of each of two losses: those of one loss share a program."""
    losses = "[{ kind = 'square' }, { kind = 'lp', p = 4 }]"
    text = fakes.toml_of_module("convergence", 4 * batches, more=f"[sweep]\nloss = {losses}\n[compute]\nbatch_size = 4")
    return plan_of(fakes.sweep_of(folder, text))


def quiet(batch, done, note):
    """No progress."""


def test_a_plan_begins_with_one_batch_of_every_program(tmp_path):
    plan = plan_with_two_programs(tmp_path)
    assert [plan.programs[batch.number] for batch in plan.batches] == [0, 0, 0, 1, 1, 1]
    assert [batch.number for batch in plan.in_order] == [0, 3, 1, 2, 4, 5]


def test_two_batches_are_computed_at_once_while_a_program_is_new_and_one_after_that(tmp_path, batches):
    plan = plan_with_two_programs(tmp_path)
    engine = LocalEngine(plan, quiet)
    assert engine.capacity == 3
    futures = [engine.submit(Task("", batch)) for batch in plan.in_order]
    assert sorted(batches.wait_for(2)) == [0, 3]
    batches.release(3)
    assert futures[1].result(PATIENCE).device == "3"
    time.sleep(0.1)
    assert sorted(batches.begun) == [0, 3]  # the program of 1 is known: it waits for 0
    batches.release(0)
    assert batches.wait_for(3)[2:] == [1]
    time.sleep(0.1)
    assert len(batches.begun) == 3
    batches.release(*range(6))
    engine.close(now=False)
    assert [future.result(0).device for future in futures] == ["0", "3", "1", "2", "4", "5"]


def test_one_program_is_computed_by_one_thread(tmp_path, batches):
    plan = plan_of(fakes.sweep_of(tmp_path, fakes.toml_of_module("convergence", 8, more="[compute]\nbatch_size = 4")))
    engine = LocalEngine(plan, quiet)
    assert engine.capacity == 2
    batches.release(0, 1)
    futures = [engine.submit(Task("", batch)) for batch in plan.batches]
    engine.close(now=False)
    assert [future.result(0).device for future in futures] == ["0", "1"]


def test_one_device_computes_one_batch_at_a_time(tmp_path, batches, monkeypatch):
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    plan = plan_with_two_programs(tmp_path)
    engine = LocalEngine(plan, quiet)
    futures = [engine.submit(Task("", batch)) for batch in plan.in_order]
    for count in range(1, 7):
        assert batches.wait_for(count) == [batch.number for batch in plan.in_order[:count]]
        time.sleep(0.02)
        assert len(batches.begun) == count
        batches.release(batches.begun[-1])
    engine.close(now=False)
    assert all(future.done() for future in futures)


def test_an_engine_that_is_left_computes_nothing_more_and_does_not_wait(tmp_path, batches):
    plan = plan_with_two_programs(tmp_path)
    engine = LocalEngine(plan, quiet)
    futures: list[Future[Outcome]] = [engine.submit(Task("", batch)) for batch in plan.in_order]
    batches.wait_for(2)
    engine.close(now=True)
    batches.release(*range(6))
    assert {future.result(PATIENCE).device for future in futures[:2]} == {"0", "3"}
    engine._thread.join(PATIENCE)
    assert not engine._thread.is_alive()
    assert sorted(batches.begun) == [0, 3]
    assert not any(future.done() for future in futures[2:])


def test_an_error_of_the_engine_itself_belongs_to_its_task_alone(tmp_path, batches, monkeypatch):
    def start(sweep, batch, on_progress, certifier):
        if batch.number == 0:
            raise MemoryError("no more")
        return batches(sweep, batch, on_progress, certifier)

    monkeypatch.setattr(local, "start_batch", start)
    plan = plan_with_two_programs(tmp_path, batches=1)
    engine = LocalEngine(plan, quiet)
    batches.release(1)
    failed, other = [engine.submit(Task("", batch)) for batch in plan.batches]
    engine.close(now=False)
    with pytest.raises(MemoryError, match="no more"):
        failed.result(0)
    assert other.result(0).device == "1"
