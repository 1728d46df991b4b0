"""Progress shows what is compiled, and estimates the remaining time from measured times without compilation."""

import threading
from statistics import median

import fakes
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import experiments.running.compute
from experiments.computing.certification import Certifier
from experiments.planning.batches import Batch
from experiments.planning.plan import plan_of
from experiments.running.compilation import Compilation
from experiments.running.course import Course
from experiments.running.engines.base import Outcome
from experiments.running.progress import Lines
from lcnn_flow.ensemble.devices import _launch


class Run:
    """A made-up run, one batch after the other: every program is compiled once, and batches take the given seconds."""

    def __init__(self, programs, seconds, compiling, flows=64, cells_in_one=1):
        self.now = 0.0
        self.batches = [
            Batch(n, (n,), 64 * (n % cells_in_one), 64 * (n % cells_in_one) + flows, "") for n, _ in enumerate(programs)
        ]
        self.programs, self.seconds, self.compile_seconds = dict(enumerate(programs)), seconds, compiling
        self.course = Course(self.batches, self.programs, lambda batch: f"cell {batch.number}", clock=lambda: self.now)

    def go(self):
        """Yields after every quarter of a batch."""
        ready = set()
        for batch in self.batches:
            compiling = 0.0 if self.programs[batch.number] in ready else self.compile_seconds
            ready.add(self.programs[batch.number])
            self.course.hear(batch, 0, "")
            self.now += compiling
            yield batch
            for quarter in range(1, 5):
                self.now += self.seconds[batch.number] / 4
                if quarter < 4:
                    self.course.hear(batch, quarter * batch.flows // 4, "flows")
                    yield batch
            self.course.ended(batch, Outcome(b"", "cpu", self.seconds[batch.number] + compiling, compiling))
            self.course.hear(batch, batch.flows, "")
            yield batch


def test_the_time_left_is_right_within_a_factor_of_two_in_the_median_once_every_program_has_run():
    rng = np.random.default_rng(0)
    for spread in (0.1, 0.5, 0.8):
        programs = [0, 1, 2, *rng.integers(0, 3, 40).tolist()]
        seconds = [(1.0, 20.0, 4.0)[p] * np.exp(spread * rng.normal()) for p in programs]
        run = Run(programs, seconds, compiling=30.0)
        guesses = [(run.now, run.course.left()) for _ in run.go()]
        ratios = [left.seconds / (run.now - now) for now, left in guesses if not left.unknown and now < run.now]
        assert len(ratios) > 100
        assert 0.5 < median(ratios) < 2
        assert median(abs(np.log2(ratios))) < 1


def test_before_every_program_has_run_the_time_left_is_a_lower_bound_and_says_so():
    run = Run([0, 0, 1, 1, 2], [4.0, 4.0, 8.0, 8.0, 2.0], compiling=10.0)
    total = 26.0 + 3 * 10.0
    assert str(run.course.left()) == ""
    for _ in run.go():
        left, finished = run.course.left(), run.course.flows[0] // 64
        assert left.unknown == 3 - len({run.programs[number] for number in range(finished)})
        if left.unknown:
            assert left.seconds <= total - run.now + 1e-9
            assert str(left) == "" or str(left).startswith("at least ")
        else:
            assert str(left) == f"about {total - run.now:.0f} s left"


def test_compilation_is_said_with_its_number_until_the_first_flows_of_the_program():
    run = Run([0, 0, 1], [4.0, 4.0, 8.0], compiling=10.0)
    steps = run.go()
    said = []
    for batch in steps:
        said.append(run.course.compiling(batch))
    assert said == ["compiling 1 of 2 (10 s)", *[""] * 9, "compiling 2 of 2 (10 s)", *[""] * 4]


def test_batches_that_were_found_and_those_that_failed_take_no_more_time():
    run = Run([0, 0, 0, 1], [4.0] * 4, compiling=10.0)
    first, second, _, other = run.batches
    run.course.found(other)
    run.course.hear(first, 0, "")
    assert run.course.compiling(first) == "compiling 1 of 1 (0 s)"
    run.now = 14.0
    run.course.ended(first, Outcome(b"", "cpu", 14.0, 10.0))
    run.course.hear(first, 64, "")
    assert str(run.course.left()) == "about 8 s left"
    run.course.ended(second, Outcome(error="it broke"))
    assert str(run.course.left()) == "about 4 s left"
    assert run.course.flows == (128, 256)


def test_workers_side_by_side_share_the_time_left():
    run = Run([0] * 8, [4.0] * 8, compiling=0.0)
    run.now = 4.0
    for batch in run.batches[:4]:
        run.course.ended(batch, Outcome(b"", "cpu", 4.0))
        run.course.hear(batch, 64, "")
    assert run.course.left().seconds == pytest.approx(4.0)


def test_the_first_batch_of_a_cell_which_proves_stands_for_its_kind_alone():
    run = Run([0] * 6, [9.0, 1.0, 1.0, 9.0, 1.0, 1.0], compiling=0.0, cells_in_one=3)
    for batch in run.go():
        if batch.number >= 1 and run.course.flows[0] >= 128 and run.course.flows[0] % 64 == 0:
            assert run.course.left().seconds == pytest.approx(22.0 - run.now)


def test_lines_come_every_ten_seconds_with_what_is_going_on(capsys):
    run = Run([0, 1], [24.0, 8.0], compiling=36.0)
    lines = Lines(run.course)
    for _ in run.go():
        lines._print()
    assert capsys.readouterr().err.splitlines() == [
        "0/128 flows  cell 0: compiling 1 of 2 (36 s)  36 s",
        "32/128 flows  cell 0: flows  48 s",
        "64/128 flows  cell 0  60 s",
        "64/128 flows  cell 1: compiling 2 of 2 (36 s)  96 s",
    ]


def test_compilation_is_measured_apart_and_what_overlaps_counts_once():
    told = []
    with Compilation(told.append) as compilation:
        jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((7, 7))).block_until_ready()
        alone = compilation.seconds
        assert 0 < alone < 5
        assert not told  # no large program
        compilation.hear("/jax/core/compile/backend_compile_duration", 2.0)
        threading.Thread(target=compilation.hear, args=("/jax/core/compile/jaxpr_trace_duration", 1.0)).run()
        compilation.hear("/jax/core/compile/backend_compile_duration", 2.0)
    assert 2.0 <= compilation.seconds < 2.5 + alone
    assert told == [pytest.approx(2.0, abs=0.5 + alone)] * 2
    before = compilation.seconds
    jax.jit(lambda x: jnp.cos(x) @ x)(jnp.ones((7, 7))).block_until_ready()
    assert compilation.seconds == before


def test_threads_that_compile_at_the_same_time_count_their_own_programs():
    both, seconds = threading.Barrier(2), {}

    def measure(size, programs):
        with Compilation(lambda _: None) as compilation:
            both.wait(30)
            for number in range(programs):
                jax.jit(lambda x, n=number: jnp.sin(x) @ x + n)(np.ones((size, size))).block_until_ready()
            both.wait(30)
        seconds[size] = compilation.seconds

    threads = [threading.Thread(target=measure, args=given) for given in ((5, 1), (6, 0))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seconds[5] > 0
    assert seconds[6] == 0


def test_what_threads_of_devices_compile_counts_for_the_batch_that_has_launched_them():
    class Program:
        def prepare(self, x):
            pass

        def __call__(self, x):
            return jax.jit(lambda x: jnp.cosh(x) @ x)(x)

    with Compilation(lambda _: None) as compilation:
        assert len(_launch(Program(), (), [(jnp.ones((4, 4)),), (jnp.ones((4, 4)),)])) == 2
        heard = compilation.seconds
    assert heard > 0


def test_what_is_told_of_a_batch_says_how_long_was_compiled_once_something_was(made_up_cells, tmp_path, monkeypatch):
    sweep, told = fakes.sweep_of(tmp_path), []
    made_up = experiments.running.compute.compute_batch

    def compute(sweep, batch, tell, certifier):
        tell(0, "tuning 1/3")
        tell.compiled(12.3)
        tell(3, "")
        return made_up(sweep, batch, tell, certifier)

    monkeypatch.setattr(experiments.running.compute, "compute_batch", compute)
    experiments.running.compute.start_batch(
        sweep, plan_of(sweep).batches[0], lambda *words: told.append(words), Certifier(0)
    )()
    compiled = ", 12 s compiled"
    assert told == [(0, ""), (0, "tuning 1/3"), (0, f"tuning 1/3{compiled}"), (3, f"flows{compiled}")]
