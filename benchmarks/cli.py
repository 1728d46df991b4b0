"""The command line: which parts to measure, where to write, or to draw again what is stored."""

import argparse
import datetime
import json
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import jax

from benchmarks import compile as compile_time
from benchmarks import descent, gemm, peers, report, scaling, sweeps, waiting, work_precision
from benchmarks.runtime import about, choose, configure, has_gpu

__all__ = ["main", "updated"]

PARTS: dict[str, ModuleType] = {
    "waiting": waiting,
    "peers": peers,
    "work_precision": work_precision,
    "scaling": scaling,
    "gemm": gemm,
    "sweeps": sweeps,
    "compile": compile_time,
    "descent": descent,
}
_HERE = Path(__file__).resolve().parent
_PARTIAL = Path("runs") / "benchmarks"


def main(arguments: list[str] | None = None) -> None:
    """Measures, or draws again; see --help."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures the library and writes RESULTS.md, figures/ and the raw numbers, results.json.",
        epilog="A full run takes up to half an hour on two quiet cores and writes into benchmarks/. "
        f"A part of it (--only, --quick) and --device gpu write into {_PARTIAL}/ instead, so that they replace no "
        "full run on CPUs.",
    )
    parser.add_argument("--only", metavar="PART,PART", help=f"measure these parts only: {', '.join(PARTS)}")
    parser.add_argument(
        "--quick", action="store_true", help="few seeds, few points: that everything runs, in 2 minutes"
    )
    parser.add_argument(
        "--update",
        action="store_true",
        help="with --only: replace these parts of the stored results, with a line that says when, and keep the others",
    )
    parser.add_argument("--draw", action="store_true", help="measure nothing: write again from results.json")
    parser.add_argument("--device", choices=("cpu", "gpu"), help="measure on it; by default on a GPU if JAX sees one")
    parser.add_argument("--out", type=Path, help="folder to write into")
    options = parser.parse_args(arguments)
    chosen = list(PARTS) if options.only is None else options.only.split(",")
    if unknown := [name for name in chosen if name not in PARTS]:
        parser.error(f"no part {', '.join(unknown)}: write some of {','.join(PARTS)}")
    if options.update and (options.only is None or options.quick):
        parser.error("--update replaces the parts that --only names, measured without --quick")
    partial = (options.quick or options.only is not None or options.device == "gpu") and not options.update
    folder = options.out or (_PARTIAL if partial else _HERE)
    stored = folder / "results.json"
    if (options.draw or options.update) and not stored.exists():
        parser.error(f"{stored} does not exist: measure first, or name its folder with --out")
    if options.draw:
        report.write(json.loads(stored.read_text()), PARTS, folder)
    else:
        if options.device is not None:
            choose(options.device)
        configure()
        if options.device == "gpu" and not has_gpu():
            parser.error("JAX sees no GPU: install .[bench,cuda13] (or cuda12) on a machine that has one")
        print(f"measured on {', '.join(sorted({d.device_kind for d in jax.local_devices()}))}", flush=True)
        results = _measure(chosen, options.quick)
        if options.update:
            results = updated(json.loads(stored.read_text()), results)
        report.write(results, PARTS, folder)
    print(f"wrote {folder / 'RESULTS.md'}", flush=True)


def updated(earlier: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
    """Earlier results with the parts of later ones in place of their own; `later` says when those were measured."""
    parts = earlier["parts"] | results["parts"]
    later = earlier.get("later", {}) | dict.fromkeys(results["parts"], results["about"])
    return earlier | {"parts": {name: parts[name] for name in PARTS if name in parts}, "later": later}


def _measure(chosen: list[str], quick: bool) -> dict[str, Any]:
    """Raw numbers of the chosen parts, and what they depend on."""
    began = time.perf_counter()

    def say(line: str) -> None:
        print(f"{time.perf_counter() - began:6.0f} s  {line}", flush=True)

    results: dict[str, Any] = {"parts": {}}
    for name in chosen:
        say(name)
        results["parts"][name] = PARTS[name].measure(quick, say)
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
    results["about"] = about() | {"date": date, "quick": quick, "seconds": time.perf_counter() - began}
    return results
