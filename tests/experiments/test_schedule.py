"""Batches are computed once, whoever works on them; failures are tried again and recorded; nothing stored is lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from experiments.errors import RunError, UserError
from experiments.planning.batches import Batch
from experiments.running.batch_files import encode
from experiments.running.engines.base import Outcome, Task
from experiments.running.schedule import Schedule
from experiments.running.store import RunDirectory

ROOT = Path(__file__).parents[2]


def some_batches(count):
    """Batches with keys of their own."""
    return tuple(Batch(n, (n,), 0, 4, f"{n + 1:064x}") for n in range(count))


def content(batch):
    """The file of a batch: a function of its number."""
    return encode(batch, {f"{batch.number}/x": np.arange(4) * np.pi * batch.number, "wall_time": np.asarray(0.0)})


class FakeEngine:
    """Computes in threads; `plan` maps numbers of batches to the outcomes or exceptions of the next attempts."""

    def __init__(self, batches, workers=3, plan=None, delay=0.0):
        self.batches, self.capacity, self.plan, self.delay = batches, workers, dict(plan or {}), delay
        self.computed = Counter()
        self.pool = ThreadPoolExecutor(workers)

    def submit(self, task: Task) -> Future:
        return self.pool.submit(self._work, task)

    def close(self, now):
        self.pool.shutdown(wait=not now, cancel_futures=True)

    def _work(self, task):
        self.computed[task.batch.number] += 1
        time.sleep(self.delay)
        if self.plan.get(task.batch.number):
            end = self.plan[task.batch.number].pop(0)
            if isinstance(end, BaseException):
                raise end
            if isinstance(end, Outcome):
                return end
        return Outcome(content(self.batches[task.batch.number]), device="fake")


def schedule(folder, batches, retries=1, tell=lambda batch, done, note: None):
    """A schedule of `batches` in `folder`."""
    (folder / "batches").mkdir(exist_ok=True)
    return Schedule(RunDirectory(folder), batches, lambda batch: Task("", batch), retries, tell)


def stored(folder):
    """Bytes of all batch files, by name."""
    return {file.name: file.read_bytes() for file in (folder / "batches").glob("*.npz")}


def test_every_batch_is_computed_once_and_stored(tmp_path):
    batches = some_batches(20)
    engine = FakeEngine(batches)
    finished = schedule(tmp_path, batches).run(engine)
    assert finished == (20, {}, ("fake",), False, 0.0)
    assert set(engine.computed.values()) == {1}
    assert sorted(stored(tmp_path).values()) == sorted(map(content, batches))


def test_what_is_stored_is_not_computed_again(tmp_path):
    batches = some_batches(6)
    schedule(tmp_path, batches[:4]).run(FakeEngine(batches))
    engine = FakeEngine(batches)
    assert schedule(tmp_path, batches).run(engine).computed == 2
    assert set(engine.computed) == {4, 5}


def test_a_batch_that_fails_once_is_tried_again_and_its_lost_worker_harms_nobody(tmp_path):
    batches = some_batches(5)
    engine = FakeEngine(batches, plan={1: [Outcome(error="RuntimeError: out of memory")], 3: [OSError("worker died")]})
    finished = schedule(tmp_path, batches).run(engine)
    assert (finished.computed, finished.failed) == (5, {})
    assert engine.computed == {0: 1, 1: 2, 2: 1, 3: 2, 4: 1}


def test_a_batch_that_fails_again_is_recorded_with_its_error_and_computed_on_resuming(tmp_path):
    batches = some_batches(3)
    error = Outcome(error="RuntimeError: out of memory", trace="Traceback: somewhere")
    finished = schedule(tmp_path, batches).run(FakeEngine(batches, plan={1: [error, error]}))
    assert finished.failed == {batches[1]: "RuntimeError: out of memory"}
    record = json.loads((tmp_path / "failures" / "000001.json").read_text())
    assert record["attempts"] == 2
    assert record["trace"] == "Traceback: somewhere"
    assert RunDirectory(tmp_path).failure(batches[1]) == "RuntimeError: out of memory"
    assert schedule(tmp_path, batches).run(FakeEngine(batches)).computed == 1
    assert RunDirectory(tmp_path).failure(batches[1]) is None


def test_an_error_that_would_come_again_is_not_tried_again(tmp_path):
    batches = some_batches(1)
    engine = FakeEngine(batches, plan={0: [Outcome(error="no such file", retryable=False)]})
    assert schedule(tmp_path, batches, retries=5).run(engine).failed
    assert engine.computed == {0: 1}


def test_two_processes_on_one_directory_compute_every_batch_once(tmp_path):
    batches = some_batches(40)
    engines = [FakeEngine(batches, workers=2, delay=0.005) for _ in range(2)]
    schedules = [schedule(tmp_path, batches) for _ in engines]  # both see all batches missing
    ends = []

    def run(which, engine):
        ends.append(which.run(engine))

    threads = [threading.Thread(target=run, args=pair) for pair in zip(schedules, engines, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert engines[0].computed + engines[1].computed == dict.fromkeys(range(40), 1)
    assert sum(end.computed for end in ends) == 40
    assert min(end.computed for end in ends) > 0


def test_a_full_disk_stops_the_run_with_an_error_and_keeps_what_is_stored(tmp_path, monkeypatch):
    batches = some_batches(6)
    save = RunDirectory.save

    def full(self, batch, content):
        if batch.number >= 3:
            raise OSError(28, "No space left on device")
        save(self, batch, content)

    monkeypatch.setattr(RunDirectory, "save", full)
    with pytest.raises(RunError, match=r"batch [345] cannot be stored: No space left on device"):
        schedule(tmp_path, batches).run(FakeEngine(batches, workers=1))
    assert len(stored(tmp_path)) == 3
    monkeypatch.setattr(RunDirectory, "save", save)
    assert schedule(tmp_path, batches).run(FakeEngine(batches)).computed == 3


def test_a_batch_that_cannot_be_stored_costs_no_other_that_has_ended(tmp_path, monkeypatch):
    batches = some_batches(8)
    save = RunDirectory.save

    def refuse(self, batch, content):
        if batch.number == 2:
            raise OSError(28, "No space left on device")
        save(self, batch, content)

    class AllAtOnce(FakeEngine):
        def submit(self, task):
            future = Future()
            future.set_result(self._work(task))
            return future

    monkeypatch.setattr(RunDirectory, "save", refuse)
    with pytest.raises(RunError, match="batch 2 cannot be stored"):
        schedule(tmp_path, batches).run(AllAtOnce(batches, workers=8))
    assert len(stored(tmp_path)) == 7


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_the_batches_in_hand_be_stored(tmp_path, number, capsys):
    batches = some_batches(50)
    engine = FakeEngine(batches, workers=2, delay=0.02)

    def tell(batch, done, note):
        if batch.number == 5 and done:
            os.kill(os.getpid(), number)

    finished = schedule(tmp_path, batches, tell=tell).run(engine)
    assert finished.stopped
    assert 6 <= finished.computed < 12
    assert len(stored(tmp_path)) == finished.computed
    assert "finished and stored" in capsys.readouterr().err
    assert schedule(tmp_path, batches).run(FakeEngine(batches)).computed == 50 - finished.computed


def test_the_second_signal_stops_at_once(tmp_path):
    batches = some_batches(4)
    engine = FakeEngine(batches, workers=1, delay=5)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    threading.Timer(0.6, os.kill, (os.getpid(), signal.SIGINT)).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        schedule(tmp_path, batches).run(engine)
    assert time.monotonic() - started < 3
    engine.close(now=True)


PROCESS = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
from test_schedule import FakeEngine, schedule, some_batches
batches = some_batches(60)
print("ready", flush=True)
schedule(Path(sys.argv[2]), batches).run(FakeEngine(batches, workers=2, delay=0.02))
"""


def test_a_process_killed_at_any_moment_leaves_whole_batches_and_free_locks(tmp_path):
    whole = {}
    batches = some_batches(60)
    directory = RunDirectory(tmp_path)
    rng = np.random.default_rng(0)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "experiments")])}
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(ROOT / "tests" / "experiments"), str(tmp_path)],
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0, 0.15))
        process.kill()
        process.wait()
        process.stdout.close()
        for batch in batches:
            if directory.has(batch):
                whole[batch.number] = directory.load(batch)
                assert whole[batch.number] is not None
            assert not directory.locks.held(f"{batch.number:06d}")
    assert 0 < len(whole) < 60
    assert schedule(tmp_path, batches).run(FakeEngine(batches)).computed == 60 - len(whole)
    assert sorted(stored(tmp_path).values()) == sorted(map(content, batches))


def test_a_task_that_the_engine_gives_up_is_tried_again_and_never_forgotten(tmp_path):
    class GivesUp(FakeEngine):
        def submit(self, task):
            self.computed[task.batch.number] += 1
            future = Future()
            if task.batch.number == 1 or self.computed[task.batch.number] == 1:
                future.cancel()
                future.set_running_or_notify_cancel()
            else:
                future.set_result(Outcome(content(self.batches[task.batch.number])))
            return future

    batches = some_batches(3)
    finished = schedule(tmp_path, batches).run(GivesUp(batches))
    assert finished.computed == 2
    assert finished.failed == {batches[1]: "the engine gave the task up"}


def test_a_lock_that_cannot_be_had_stops_the_run_with_an_error(tmp_path):
    batches = some_batches(2)
    (tmp_path / "locks" / "000001.lock").mkdir(parents=True)
    with pytest.raises(RunError, match=r"batch 1 cannot be claimed: Is a directory: .*000001.lock"):
        schedule(tmp_path, batches).run(FakeEngine(batches))


def test_a_damaged_file_is_set_aside_only_while_nobody_computes_it_again(tmp_path):
    (batch,) = some_batches(1)
    schedule(tmp_path, [batch]).run(FakeEngine([batch]))
    directory, other = RunDirectory(tmp_path), RunDirectory(tmp_path)
    path = directory.batch_path(batch)
    path.write_bytes(b"PK")
    lock = other.locks.take("000000")
    assert lock is not None
    assert directory.load(batch) is None
    assert path.read_bytes() == b"PK"  # the process that holds the lock replaces the file
    lock.release()
    assert directory.load(batch) is None
    assert not path.exists()
    path.write_bytes(b"PK")
    shutil.rmtree(tmp_path / "batches" / "damaged")
    (tmp_path / "batches" / "damaged").write_text("")
    with pytest.raises(UserError, match="is damaged, and cannot be set aside"):
        directory.load(batch)


def test_a_file_that_another_process_has_healed_is_not_set_aside(tmp_path, monkeypatch):
    (batch,) = some_batches(1)
    schedule(tmp_path, [batch]).run(FakeEngine([batch]))
    directory = RunDirectory(tmp_path)
    path, good = directory.batch_path(batch), content(batch)
    path.write_bytes(b"PK")
    take = directory.locks.take

    def heal_first(name):
        path.write_bytes(good)
        return take(name)

    monkeypatch.setattr(directory.locks, "take", heal_first)
    found = directory.load(batch)
    assert found is not None
    assert path.read_bytes() == good


def test_a_batch_that_fails_while_the_run_is_stopped_is_missing_and_not_failed(tmp_path, monkeypatch):
    batches = some_batches(4)
    engine = FakeEngine(batches, workers=4, delay=0.05, plan={1: [OSError("worker died")]})

    def submit(task):
        if task.batch.number == 3:  # all batches have been submitted
            os.kill(os.getpid(), signal.SIGTERM)
        return FakeEngine.submit(engine, task)

    monkeypatch.setattr(engine, "submit", submit)
    finished = schedule(tmp_path, batches).run(engine)
    assert finished.stopped
    assert (finished.computed, finished.failed) == (3, {})
    assert not (tmp_path / "failures").exists()
    assert schedule(tmp_path, batches).run(FakeEngine(batches)).computed == 1
