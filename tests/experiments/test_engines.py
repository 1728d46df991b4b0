"""All engines give the same bits, and neither a killed worker nor a killed run loses or changes anything."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import experiments.running.engines.local
from experiments.cli import main
from experiments.planning.batches import Batch
from experiments.planning.loading import load
from experiments.planning.plan import plan_of
from experiments.results.opening import open_results
from experiments.running.engines.base import Outcome, Task
from experiments.running.engines.dask import DaskEngine
from experiments.running.engines.local import LocalEngine
from experiments.running.engines.processes import ProcessEngine
from experiments.running.record import begin
from experiments.running.schedule import Schedule
from experiments.running.store import RunDirectory

ROOT = Path(__file__).parents[2]
CONFIGURATION = """
seeds = 8
[experiment]
module = "no_figures.py:MODULE"
[network]
input_shape = 6
kernel_sizes = [2, 2]
[data]
kind = "synthetic"
samples = 12
inputs = { kind = "white" }
targets = { kind = "planted" }
[loss]
kind = "square"
[initializer]
kind = "gaussian"
std = 0.5
[analysis]
certify = 1
[compute]
batch_size = 4
[sweep]
data.noise = [0.1, 0.2]
"""
MODULE = """
from experiments.modules import Module
MODULE = Module("no_figures", "Do the flows converge?", "They do.", {}, ())
"""
COUNT = 4  # batches


@pytest.fixture(scope="module")
def configuration(tmp_path_factory):
    """A file with the small problem, of a module that draws nothing: what is drawn depends on no engine."""
    file = tmp_path_factory.mktemp("configuration") / "small.toml"
    file.with_name("no_figures.py").write_text(MODULE)
    file.write_text(CONFIGURATION)
    return file


@pytest.fixture(scope="module")
def uninterrupted(configuration):
    """The directory of a run by the engine local that was not interrupted."""
    out = configuration.parent / "uninterrupted"
    done = command("run", configuration, "--out", out)
    assert done.wait() == 0
    return out


def command(*arguments):
    """A process of the command line."""
    return subprocess.Popen(
        [sys.executable, "-m", "experiments", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def same(first, second):
    """Whether two runs have the same results, bit for bit."""
    first, second = (open_results(out).drop_attrs().drop_vars("wall_time") for out in (first, second))
    return bool((first["verdict"] >= 0).all()) and first.equals(second)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--engine", "processes", "--workers", "2"], marks=pytest.mark.slow),  # below they lose a worker
        pytest.param(["--engine", "dask", "--workers", "2"], marks=pytest.mark.slow),
        pytest.param(["--engine", "slurm", "--workers", "2", "--slurm", "cluster=local"], marks=pytest.mark.slow),
    ],
    ids=["processes", "dask", "slurm"],
)
def test_every_engine_gives_the_bits_of_the_engine_local(options, configuration, uninterrupted, tmp_path):
    assert command("run", configuration, "--out", tmp_path / "run", *options).wait() == 0
    assert same(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "dusk"], 'did you mean "dask"?'),
        (["--workers", "2"], "--engine processes"),
        (["--engine", "processes", "--workers", "0"], "at least 1"),
        (["--scheduler", "tcp://localhost:1"], "belongs to --engine dask"),
        (["--slurm", "slurm_partition=gpu"], "belongs to --engine slurm"),
        (["--engine", "slurm", "--slurm", "gpu"], "write --slurm KEY=VALUE"),
    ],
)
def test_engines_and_options_that_do_not_exist_are_mistakes(options, message, configuration, tmp_path, capsys):
    assert main(["run", str(configuration), "--out", str(tmp_path / "run"), "--no-cache", *options]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told


@pytest.mark.slow
def test_an_unknown_parameter_of_slurm_is_a_mistake(configuration, tmp_path):
    options = ["--engine", "slurm", "--slurm", "cluster=local", "--slurm", "slurm_colour=red"]
    done = subprocess.run(
        [sys.executable, "-m", "experiments", "run", configuration, "--out", tmp_path / "run", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )  # in a process of its own: submitit configures logging when it is imported, and closes what pytest captures
    assert done.returncode == 2
    assert "slurm_colour" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_scheduler_that_does_not_answer_is_a_mistake(monkeypatch):
    import experiments.running.engines.dask
    from experiments.errors import UserError

    monkeypatch.setattr(experiments.running.engines.dask, "_ANSWER", 1)
    with pytest.raises(UserError, match="no dask scheduler answers at tcp://"):
        DaskEngine("tcp://127.0.0.1:9")


def kill_worker(engine):
    """Kills one worker process of an engine, which may be computing."""
    if isinstance(engine, DaskEngine):
        pids = list(engine._client.run(os.getpid).values())
    else:
        pids = [pid for pool in engine._pools for pid in pool._processes]
    os.kill(pids[0], signal.SIGKILL)


@pytest.mark.parametrize("kind", [pytest.param(DaskEngine, marks=pytest.mark.slow), ProcessEngine])
def test_a_worker_killed_in_mid_run_loses_nothing(kind, configuration, uninterrupted, tmp_path):
    plan, directory = plan_of(load(configuration)), RunDirectory(tmp_path)
    (tmp_path / "batches").mkdir()
    begin(plan, directory)
    toml = plan.sweep.toml()
    killed = []

    def tell(batch, done, note):
        if done == batch.flows and not killed:
            killed.append(kill_worker(engine))

    engine = kind(workers=2)
    try:
        schedule = Schedule(directory, plan.batches, lambda batch: Task(toml, batch), 1, tell)
        finished = schedule.run(engine)
    finally:
        engine.close(now=False)
    assert killed
    assert (finished.computed, finished.failed) == (COUNT, {})
    assert main(["collect", str(tmp_path)]) == 0
    assert same(tmp_path, uninterrupted)


@pytest.mark.slow
def test_two_processes_that_resume_a_run_at_once_compute_every_batch_once(configuration, uninterrupted, tmp_path):
    import json

    directory = RunDirectory(tmp_path)
    (tmp_path / "batches").mkdir()
    begin(plan_of(load(configuration)), directory)
    both = [command("resume", tmp_path) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    sessions = json.loads((tmp_path / "manifest.json").read_text())["sessions"]
    assert len(sessions) == 2
    assert sum(session["batches"] for session in sessions) == COUNT
    assert same(tmp_path, uninterrupted)


def kill_after(ready, moment, options, configuration, uninterrupted, out):
    """Kills a run `moment` seconds after `ready(out)`, resumes it; returns how many batches were finished by then."""
    process = command("run", configuration, "--out", out, *options)
    wait_for(lambda: ready(out))
    time.sleep(moment)
    children = _children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in children))  # workers end with their parent
    finished = stored(out)
    engine = [option for option in options if option in ("--engine", "--workers", "processes", "2")]
    assert command("resume", out, *engine).wait() == 0
    assert same(out, uninterrupted)
    return finished


def begun(out):
    """Whether a run has stored its manifest."""
    return (out / "manifest.json").exists()


def stored(out):
    """How many batches a run has stored."""
    return len(list((out / "batches").glob("*.npz")))


def wait_for(condition, patience=120):
    """Returns when the condition holds."""
    for _ in range(50 * patience):
        if condition():
            return
        time.sleep(0.02)
    pytest.fail("waited in vain")


def _children(pid):
    """The descendants of a process, as Linux shows them."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            direct = (task / "children").read_text().split()
        except OSError:
            continue
        found += direct + [deeper for child in direct for deeper in _children(child)]
    return found


def test_a_run_killed_in_the_middle_is_resumed_to_the_same_bits(configuration, uninterrupted, tmp_path):
    assert 1 <= kill_after(stored, 0, [], configuration, uninterrupted, tmp_path / "run") <= COUNT


@pytest.mark.slow
@pytest.mark.parametrize("engine", [[], ["--engine", "processes", "--workers", "2"]], ids=["local", "processes"])
def test_a_run_killed_at_25_random_moments_is_resumed_to_the_same_bits(engine, configuration, tmp_path):
    count = 80
    cut = ["--seeds", str(count // 2), "--set", "compute.batch_size=1"]
    whole = tmp_path / "whole"
    process = command("run", configuration, "--out", whole, *cut)
    wait_for(lambda: begun(whole))
    start = time.monotonic()
    wait_for(lambda: stored(whole))
    compiled = time.monotonic()
    wait_for(lambda: stored(whole) == count)
    end = time.monotonic()
    assert process.wait() == 0
    rng = np.random.default_rng(len(engine))
    early = [(begun, moment) for moment in rng.uniform(0, compiled - start, 7)]
    late = [(stored, moment) for moment in rng.uniform(0, end - compiled, 18)]
    finished = [
        kill_after(ready, moment, [*cut, *engine], configuration, whole, tmp_path / str(number))
        for number, (ready, moment) in enumerate([*early, *late])
    ]
    assert sum(0 < number < count for number in finished) > 8  # killed while batches were computed


def test_a_signal_to_the_whole_group_of_processes_ends_no_worker_in_the_middle_of_its_work():
    engine = ProcessEngine(1)
    try:
        future = engine._pools[0].submit(time.sleep, 0.5)
        wait_for(lambda: future.running() and _ignores(engine, signal.SIGTERM) and _ignores(engine, signal.SIGINT))
        for pool in engine._pools:
            for pid in pool._processes:
                os.kill(pid, signal.SIGTERM)
                os.kill(pid, signal.SIGINT)
        assert future.result(timeout=60) is None
    finally:
        engine.close(now=True)


def _ignores(engine, number):
    """Whether all workers ignore a signal, as the system shows it."""
    status = [Path(f"/proc/{pid}/status").read_text() for pool in engine._pools for pid in pool._processes]
    masks = [int(line.split()[1], 16) for text in status for line in text.splitlines() if line.startswith("SigIgn")]
    return bool(masks) and all(mask >> (number - 1) & 1 for mask in masks)


def test_a_task_that_dask_gives_up_ends_with_an_error():
    engine = DaskEngine(workers=1)
    try:
        blocker = engine._client.submit(time.sleep, 2)
        future = engine.submit(Task("", Batch(0, (0,), 0, 1, "")))
        (remote,) = engine._remote
        engine._client.cancel(remote)
        with pytest.raises(ConnectionError, match="gave the task up"):
            future.result(timeout=60)
        del blocker
    finally:
        engine.close(now=True)


def test_certificates_of_a_batch_are_waited_for_while_the_next_one_is_computed(configuration, monkeypatch):
    sweep, next_one = load(configuration), threading.Event()

    def start_batch(sweep, batch, on_progress, certifier):
        if batch.number == 1:
            next_one.set()
        return lambda: Outcome(b"", f"{batch.number}, {next_one.wait(20)}")

    monkeypatch.setattr(experiments.running.engines.local, "start_batch", start_batch)
    engine = LocalEngine(plan_of(sweep), lambda batch, done, note: None)
    toml = sweep.toml()
    futures = [engine.submit(Task(toml, batch)) for batch in plan_of(sweep).batches[:2]]
    engine.close(now=False)
    assert [future.result(30).device for future in futures] == ["0, True", "1, True"]
