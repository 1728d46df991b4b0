"""What the runner adds to the flows: claiming a batch, storing it, accounting for it, collecting the results.

Batches are timed alone and in a run, in turns. Apart from them, thousands of batches that cost nothing to compute and
whose files have the size of a real one show what claiming and storing take; what the same bytes take in bare system
calls tells the share of the disk.
"""

import os
import resource
import tempfile
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from benchmarks import text
from benchmarks.timing import Candidate, Say, in_turns, median, ratio
from experiments.computing.certification import Certifier
from experiments.planning.batches import Batch
from experiments.planning.plan import plan_of
from experiments.running.batch_files import encode
from experiments.running.collect import collect
from experiments.running.compute import compute_batch
from experiments.running.engines.base import Outcome, Task
from experiments.running.engines.local import LocalEngine
from experiments.running.schedule import Schedule
from experiments.running.store import RunDirectory
from experiments.sweeps.sweep import sweep_of_toml

__all__ = ["drawings", "measure", "section"]

_FLOWS = 1000
"""Flows a batch: 10^3 such batches are a run of 10^6 flows."""
_CONFIGURATION = """
seeds = {seeds}
[experiment]
module = "convergence"
[network]
input_shape = 20
kernel_sizes = [3, 3, 3]
[data]
kind = "synthetic"
samples = 64
inputs = {{ kind = "white" }}
targets = {{ kind = "planted" }}
noise = 0.1
[loss]
kind = "square"
[initializer]
kind = "gaussian"
std = 0.5
[analysis]
certify = 0
[compute]
batch_size = {size}
"""


class _Prepared:
    """An engine that has the result of every batch at hand."""

    capacity = 2

    def __init__(self, content: bytes) -> None:
        self._content = content

    def submit(self, task: Task) -> "Future[Outcome]":
        """A task that is done already."""
        del task
        future: Future[Outcome] = Future()
        future.set_result(Outcome(self._content))
        return future

    def close(self, now: bool) -> None:
        """Nothing to end."""
        del now


def measure(quick: bool, say: Say) -> dict[str, Any]:
    """Seconds of real batches, alone, in a run and collected; seconds and memory of many that cost nothing."""
    count = 2 if quick else 40
    sweep = sweep_of_toml(_CONFIGURATION.format(seeds=count * _FLOWS, size=_FLOWS))
    plan = plan_of(sweep)
    known = plan.batches
    arrays = compute_batch(sweep, known[0], _silent, Certifier(0))  # compiles
    packing = [Candidate("pack", lambda: encode(known[0], arrays))]
    content = encode(known[0], arrays)
    found: dict[str, Any] = {
        "flows": _FLOWS,
        "real": count,
        "bytes": len(content),
        "pack": in_turns(packing, 10)["pack"],
    }
    with tempfile.TemporaryDirectory() as folder:
        directories: list[RunDirectory] = []

        def run() -> None:
            directories.append(_directory(f"{folder}/{len(directories)}"))
            engine = LocalEngine(plan, _silent)
            Schedule(directories[-1], known, _task, 0, _silent).run(engine)
            engine.close(False)

        alone = Candidate("batch", lambda: [compute_batch(sweep, b, _silent, Certifier(0)) for b in known], count)
        found |= in_turns([alone, Candidate("in_a_run", run, count)], 1 if quick else 3, 60.0)
        began = time.perf_counter()
        collect(plan, directories[-1])
        found["collect"] = (time.perf_counter() - began) / count
    say(f"  a batch of {_FLOWS} flows: {median(found['batch']):.3f} s, {len(content) / 1e6:.1f} MB")
    found["runs"] = [_tiny(many, content, say) for many in ((100, 1000) if quick else (1_000, 10_000))]
    return found


def _tiny(count: int, content: bytes, say: Say) -> dict[str, Any]:
    """Seconds a batch of a run of batches that are there, and of bare system calls; what it adds to the memory."""
    many = [Batch(number, (number,), 0, _FLOWS, f"{number + 1:064x}") for number in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        schedule = Schedule(_directory(folder), many, _task, 1, _silent)
        before, began = _resident_kib(), time.perf_counter()
        schedule.run(_Prepared(content))
        seconds = (time.perf_counter() - began) / count
        grown = _resident_kib() - before
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        for number in range(count):
            _write(f"{folder}/{number}", content)
        disk = (time.perf_counter() - began) / count
    say(f"  {count} batches that cost nothing: {1e3 * seconds:.2f} ms each, {1e3 * disk:.2f} ms in bare system calls")
    return {"batches": count, "seconds": seconds, "disk": disk, "grown_kib": grown}


def _write(path: str, content: bytes) -> None:
    """The least that a durable file takes: write, force to disk, rename."""
    with open(f"{path}.tmp", "xb", buffering=0) as file:
        file.write(content)
        os.fsync(file.fileno())
    os.replace(f"{path}.tmp", path)


def _task(batch: Batch) -> Task:
    return Task("", batch)


def _directory(folder: str) -> RunDirectory:
    (Path(folder) / "batches").mkdir(parents=True)
    return RunDirectory(Path(folder))


def _resident_kib() -> int:
    """Memory of this process now; where the system does not tell, the most that it ever had."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 2**10
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _silent(*_: object) -> None:
    """Nobody is told."""


def section(data: dict[str, Any]) -> str:
    """This part of RESULTS.md."""
    batch, slower = median(data["batch"]), ratio(data["in_a_run"], data["batch"]) - 1
    rows = [
        [
            f"{run['batches']:,}",
            text.duration(run["seconds"]),
            f"{run['seconds'] / batch:.2%}",
            text.duration(run["disk"]),
            f"{run['grown_kib'] / 2**10:.1f} MiB",
        ]
        for run in data["runs"]
    ]
    head = ["batches", "a batch", "of a real batch", "bare system calls", "memory that the process grew by"]
    return "\n\n".join(
        [
            "## Sweeps",
            f"A batch of {data['flows']:,} flows to their limits, with data, hypotheses and kinds of limits, takes "
            f"{text.times(data['batch'])} ({text.range_of(data['batch'])}), and its file {data['bytes'] / 1e6:.1f} MB. "
            f"In a run of {data['real']} of them on the local engine a batch takes {text.times(data['in_a_run'])} "
            f"({text.range_of(data['in_a_run'])}), {slower:+.1%}: it is packed, {text.duration(median(data['pack']))}, "
            "and stored while the next one is computed. Collecting takes "
            f"{text.duration(data['collect'])} a batch, once.",
            "Batches whose results are at hand, so that nothing hides what claiming and storing take (lock, write, "
            "fsync, rename), beside the same bytes written, forced to disk and renamed by bare system calls:",
            text.table(head, rows),
        ]
    )


def drawings(data: dict[str, Any]) -> list[Any]:
    """None: the table says it all."""
    del data
    return []
