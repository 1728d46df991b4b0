"""What the runner adds to the flows: claiming a batch, storing it, accounting for it, collecting the results.

The overhead is that of thousands of batches that cost nothing to compute and whose files have the size of a real one,
which is timed in the same run.
"""

import resource
import tempfile
import time
from concurrent.futures import Future
from pathlib import Path

from benchmarks import text
from benchmarks.timing import Say, median
from experiments.computing.certification import Certifier
from experiments.planning.batches import Batch, batches
from experiments.running.batch_files import encode
from experiments.running.collect import collect
from experiments.running.compute import compute_batch
from experiments.running.schedule import Schedule
from experiments.running.store import RunDirectory
from experiments.running.work import Outcome, Task
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
[compute]
batch_size = {size}
"""


class _Prepared:
    """An engine that has the result of every batch at hand."""

    capacity = 2
    stores = False

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


def measure(quick: bool, say: Say) -> dict:
    """Seconds of real batches and of collecting them; seconds and memory of many that cost nothing."""
    turns = 2 if quick else 10
    sweep = sweep_of_toml(_CONFIGURATION.format(seeds=turns * _FLOWS, size=_FLOWS))
    known = batches(sweep)
    compute_batch(sweep, known[0], _silent, Certifier(0))  # compiles
    found: dict = {"flows": _FLOWS, "batch": [], "pack": [], "runs": []}
    with tempfile.TemporaryDirectory() as folder:
        directory = _directory(folder)
        for batch in known:
            began = time.perf_counter()
            arrays = compute_batch(sweep, batch, _silent, Certifier(0))
            found["batch"].append(time.perf_counter() - began)
            began = time.perf_counter()
            content = encode(batch, arrays)
            found["pack"].append(time.perf_counter() - began)
            directory.save(batch, content)
        began = time.perf_counter()
        collect(sweep, directory, known)
        found["collect"] = (time.perf_counter() - began) / len(known)
        content = directory.batch_path(known[0]).read_bytes()
    found["bytes"] = len(content)
    say(f"  a batch of {_FLOWS} flows: {median(found['batch']):.3f} s, {len(content) / 1e6:.1f} MB")
    for count in (100, 1000) if quick else (1_000, 10_000):
        many = [Batch(number, (number,), 0, _FLOWS, f"{number + 1:064x}") for number in range(count)]
        with tempfile.TemporaryDirectory() as folder:
            schedule = Schedule(_directory(folder), many, lambda b: Task("", b.number, b.key), 1, _silent)
            before, began = _resident_kib(), time.perf_counter()
            schedule.run(_Prepared(content))
            seconds = (time.perf_counter() - began) / count
            grown = _resident_kib() - before
        found["runs"].append({"batches": count, "seconds": seconds, "grown_kib": grown})
        say(f"  {count} batches that cost nothing: {1e3 * seconds:.2f} ms each")
    return found


def _directory(folder: str) -> RunDirectory:
    (Path(folder) / "batches").mkdir()
    return RunDirectory(Path(folder))


def _resident_kib() -> int:
    """Memory of this process now; where the system does not tell, the most that it ever had."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 2**10
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _silent(*_: object) -> None:
    """Nobody is told."""


def section(data: dict) -> str:
    """This part of RESULTS.md."""
    batch = median(data["batch"])
    rows = [
        [
            f"{run['batches']:,}",
            text.duration(run["seconds"]),
            f"{run['seconds'] / batch:.2%}",
            f"{run['grown_kib'] / 2**10:.1f} MiB" if "grown_kib" in run else "not measured",
        ]
        for run in data["runs"]
    ]
    packing = f"Packing a batch takes {text.duration(median(data['pack']))} more. " if "pack" in data else ""
    head = ["batches", "overhead of a batch", "of a real batch", "memory that the process grew by"]
    return "\n\n".join(
        [
            "## Sweeps",
            f"A batch of {data['flows']:,} flows to their limits, with data, hypotheses and kinds of limits, takes "
            f"{text.times(data['batch'])}, and its file {data['bytes'] / 1e6:.1f} MB. Claiming and storing it (lock, "
            "write, fsync, rename) is measured on batches whose results are at hand; in a run, all of it happens while "
            f"the next batch is computed. {packing}Collecting takes {text.duration(data['collect'])} a batch, once.",
            text.table(head, rows),
        ]
    )


def drawings(data: dict) -> list:
    """None: the table says it all."""
    del data
    return []
