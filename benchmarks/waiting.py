"""What a person waits for: a command, a first flow, a first run; with an empty and with a filled cache.

Everything runs in processes of its own, from nothing: CPU and wall seconds are those of the whole process and of those
that it starts. A first flow is split into import, data, tracing, compilation and the rest, which runs it.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import text
from benchmarks.timing import Say

__all__ = ["STAGES", "drawings", "first_flow", "measure", "section"]

_ROOT = Path(__file__).resolve().parents[1]
_CACHES = ("empty", "filled")
STAGES = ("import", "data", "trace", "compile", "rest")
_TRACING = ("/jax/core/compile/jaxpr_trace_duration", "/jax/core/compile/jaxpr_to_mlir_module_duration")
_COMPILING = ("/jax/core/compile/backend_compile_duration",)


def measure(quick: bool, say: Say) -> dict[str, Any]:
    """For everything that is waited for and each state of the cache: CPU and wall seconds, and stages of flows."""
    commands = {
        "python -m experiments list": ["-m", "experiments", "list"],
        "first flow": ["-m", "benchmarks.waiting", json.dumps({"times": 0})],
        "first flow, 100 times": ["-m", "benchmarks.waiting", json.dumps({"times": 100})],
        "validate the demo": ["-m", "experiments", "validate", "configs/losses_on_ecg.toml"],
        "run the quickstart": ["-m", "experiments", "run", "configs/quickstart.toml"],
        "run the demo": ["-m", "experiments", "run", "configs/losses_on_ecg.toml"],
    }
    found: dict[str, Any] = {}
    for name, command in list(commands.items())[: 2 if quick else None]:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = {state: _spent(command, Path(folder), state) for state in _CACHES}
        say(f"  {name}: " + ", ".join(f"{state} cache {x['cpu']:.1f} CPU s" for state, x in found[name].items()))
    return found


def _spent(command: list[str], folder: Path, state: str) -> dict[str, Any]:
    """CPU and wall seconds of `python command`, its stages if it prints them, and the compilation of a run."""
    out = folder / state
    where = ["--out", str(out)] if command[-2] == "run" else []
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, *command, *where], cwd=_ROOT, env=environment, capture_output=True, text=True, timeout=1800
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    spent: dict[str, Any] = {"cpu": cpu, "wall": wall}
    if where:
        (session,) = json.loads((out / "manifest.json").read_text())["sessions"]
        spent["stages"] = {"compile": session["compilation_s"]}
    elif command[1] == "benchmarks.waiting":
        spent["stages"] = json.loads(done.stdout.splitlines()[-1])
    return spent


def first_flow(times: int) -> dict[str, float]:
    """Wall seconds of every stage of the first flow of this process, of a network of four parameters.

    Args:
        times: number of times of the trajectory; 0 for the limit alone.
    """
    began = time.perf_counter()
    import jax

    import lcnn_flow as lf

    jax.config.update("jax_enable_x64", True)
    lf.enable_compilation_cache()
    imported = time.perf_counter()
    arch = lf.Architecture(8, (2, 2))
    data = lf.data.synthesize(
        jax.random.key(0), arch, samples=16, inputs=lf.data.White(), targets=lf.data.Planted(std=0.6), noise=0.1
    )
    risk = lf.EmpiricalRisk(arch, lf.losses.Square(), data)
    params = jax.block_until_ready(lf.initializers.gaussian(0.5)(jax.random.key(1), arch))
    made, heard = time.perf_counter(), {"trace": 0.0, "compile": 0.0}

    def hear(event: str, duration_secs: float, **_: object) -> None:
        for stage, events in (("trace", _TRACING), ("compile", _COMPILING)):
            heard[stage] += duration_secs if event in events and duration_secs > 0.1 else 0.0  # the rest is nested

    jax.monitoring.register_event_duration_secs_listener(hear)
    jax.block_until_ready(lf.gradient_flow(risk, params, times=lf.log_times(1e-3, 1e6, times) if times else None))
    rest = time.perf_counter() - made - sum(heard.values())
    return {"import": imported - began, "data": made - imported, **heard, "rest": max(0.0, rest)}


def section(data: dict[str, Any]) -> str:
    """This part of RESULTS.md."""
    rows = []
    for name, caches in data.items():
        totals = [text.duration(caches[state][clock]) for clock in ("cpu", "wall") for state in _CACHES]
        stages = caches["empty"].get("stages", {})
        rows.append([name, *totals, *(text.duration(stages[s]) if s in stages else "" for s in STAGES)])
    head = ["what", *(f"{clock}, {state} cache" for clock in ("CPU", "wall") for state in _CACHES), *STAGES]
    return "\n\n".join(
        [
            "## What a person waits for",
            "Whole processes, from their start to their end. Stages are wall times with an empty cache: of a first "
            "`gradient_flow`, of a network of four parameters; of runs the compilation alone. The demo is "
            "`configs/losses_on_ecg.toml`, as `make demo` runs it.",
            text.table(head, rows),
        ]
    )


def drawings(data: dict[str, Any]) -> list[Any]:
    """None: the table says it all."""
    del data
    return []


if __name__ == "__main__":
    print(json.dumps(first_flow(**json.loads(sys.argv[1]))))
