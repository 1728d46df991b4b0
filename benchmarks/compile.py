"""Compile time of the ensemble: with an empty and with a filled persistent cache, each in a new process.

Compile time is the first call less a later one of the same process: tracing, compiling or reading the cache.
"""

import tempfile

from benchmarks import text
from benchmarks.runtime import child
from benchmarks.timing import Say, median

__all__ = ["drawings", "measure", "section"]

_SEEDS = 64
_LOSSES = {"square": None, "pseudo-Huber(delta = 1)": 1.0}
_CACHES = ("empty", "filled")


def measure(quick: bool, say: Say) -> dict:
    """For each loss and state of the cache: seconds of the first call and of later ones."""
    found: dict = {"seeds": _SEEDS, "losses": {}}
    for name, delta in list(_LOSSES.items())[: 1 if quick else None]:
        with tempfile.TemporaryDirectory() as folder:
            found["losses"][name] = {
                state: child(seeds=_SEEDS, turns=2, delta=delta, cache=folder) for state in _CACHES
            }
        say(f"  {name}: " + ", ".join(f"{s} cache {v['first']:.1f} s" for s, v in found["losses"][name].items()))
    return found


def section(data: dict) -> str:
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
        ]
    )


def drawings(data: dict) -> list:
    """None: the table says it all."""
    del data
    return []
