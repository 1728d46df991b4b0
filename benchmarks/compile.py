"""Compile time of the ensemble: with an empty and with a filled persistent cache, each in a new process.

Compile time is the first call less a later one of the same process: tracing, compiling or reading the cache. Of one
flow, XLA's options for quick compilation (`compiling`), with and without optimisations of LLVM, against XLA's own:
which of them compiles and which runs faster.
"""

import tempfile
import time
from typing import Any

import jax

from benchmarks import text
from benchmarks.problems import PROBLEMS, problem, starts
from benchmarks.runtime import child
from benchmarks.timing import Candidate, Say, in_turns, median, ratio

__all__ = ["drawings", "measure", "section"]

_SEEDS = 64
_LOSSES = {"square": None, "pseudo-Huber(delta = 1)": 1.0}
_CACHES = ("empty", "filled")
_FLOWS = 64
"""Under one vmap."""


def measure(quick: bool, say: Say) -> dict[str, Any]:
    """For each loss and state of the cache: seconds of the first call and of later ones."""
    found: dict[str, Any] = {"seeds": _SEEDS, "losses": {}}
    for name, delta in list(_LOSSES.items())[: 1 if quick else None]:
        with tempfile.TemporaryDirectory() as folder:
            found["losses"][name] = {
                state: child(seeds=_SEEDS, turns=2, delta=delta, cache=folder) for state in _CACHES
            }
        say(f"  {name}: " + ", ".join(f"{s} cache {v['first']:.1f} s" for s, v in found["losses"][name].items()))
    return found | {"emitters": _emitters(1 if quick else 3, say)}


def _emitters(turns: int, say: Say) -> dict[str, Any] | None:
    """CPU seconds that `gradient_flow` compiles, and runs, by the quick options and by XLA's own; None without them."""
    from lcnn_flow import gradient_flow
    from lcnn_flow.numerics.compiling import quick_options

    risk = problem(**PROBLEMS["SMALL"])
    quick = quick_options(jax.default_backend(), risk)
    if quick is None:
        return None
    params = jax.block_until_ready(starts(risk.arch, _FLOWS))
    program, made = jax.jit(jax.vmap(gradient_flow, in_axes=(None, 0))), {}

    def compiled(name: str, options: Any) -> None:
        jax.clear_caches()  # or the second compilation would be none
        made[name] = program.lower(risk, params).compile(compiler_options=options)

    names = {"plain": quick_options(jax.default_backend(), risk, work=0), "quick": quick, "own": None}
    build = [Candidate(name, lambda n=name, o=options: compiled(n, o)) for name, options in names.items()]
    compiling = in_turns(build, turns, patience=60, clock=time.process_time)
    call = [Candidate(name, lambda n=name: jax.block_until_ready(made[n](risk, params)), _FLOWS) for name in names]
    in_turns(call, 1)
    found = {"compile": compiling, "run": in_turns(call, 5 * turns, clock=time.process_time)}
    for name in ("plain", "quick"):
        say(f"  {name} over own: " + ", ".join(f"{p} {ratio(x[name], x['own']):.2f}" for p, x in found.items()))
    return found


def section(data: dict[str, Any]) -> str:
    """This part of RESULTS.md."""
    rows = []
    for name, caches in data["losses"].items():
        compiled = [caches[state]["first"] - median(caches[state]["later"]) for state in _CACHES]
        rows.append([name, *map(text.duration, compiled), text.times(caches["filled"]["later"])])
    head = ["loss", "compile, empty cache", "compile, filled cache", f"a later call, {data['seeds']} seeds"]
    return "\n\n".join(
        [
            "## Compile time",
            f"First call of the ensemble on SMALL, {data['seeds']} seeds, in a new process, less a later call. Other "
            "data, seeds, loss parameters and tolerances of the same shapes compile nothing anew.",
            text.table(head, rows),
            *_both_emitters(data.get("emitters")),
        ]
    )


def _both_emitters(data: dict[str, Any] | None) -> list[str]:
    if data is None:
        return []
    parts = ("compile", "run")
    compiling, run = (ratio(data[part]["quick"], data[part]["own"]) for part in parts)
    plain_compiling, plain_run = (ratio(data[part]["plain"], data[part]["own"]) for part in parts)
    return [
        "## Quick compilation",
        f"`gradient_flow` on SMALL, {_FLOWS} flows under `jax.vmap`: with the options for quick compilation, which a "
        f"flow alone, searches and classification use on CPUs, it takes {compiling:.2f} of the CPU time to trace and "
        f"compile ({text.duration(median(data['compile']['quick']))}), and {run:.2f} of the time to run. Without "
        f"optimisations of LLVM, as where little is computed, {plain_compiling:.2f} and {plain_run:.2f}.",
    ]


def drawings(data: dict[str, Any]) -> list[Any]:
    """None: the table says it all."""
    del data
    return []
