"""Timing that survives a busy machine: everything is compiled first, then measured in turns.

In turns means A B C A B C: what slows the machine down for a while slows all of them down, and ratios of times of
the same turn keep their meaning. Statistics are medians, with the fastest and the slowest turn beside them.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Candidate", "Say", "in_turns", "median", "ratio", "spread", "warm_up"]

Say = Callable[[str], None]


@dataclass(frozen=True)
class Candidate:
    """Something to time: `run()` returns when its work is done."""

    name: str
    run: Callable[[], Any]
    flows: int = 1
    """How many flows a run makes: times are divided by it."""


def warm_up(candidates: Sequence[Candidate], say: Say) -> dict[str, Any]:
    """Runs every candidate once, untimed, so that its program is compiled; what each returns, by name.

    One after the other: programs that call back to the host can wait for each other for ever when threads run them.
    """
    results = {}
    for candidate in candidates:
        began = time.perf_counter()
        results[candidate.name] = candidate.run()
        say(f"  compiled and ran {candidate.name} in {time.perf_counter() - began:.1f} s")
    return results


def in_turns(
    candidates: Sequence[Candidate],
    turns: int,
    patience: float = 10.0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds a flow of every candidate, one number a turn.

    Args:
        candidates: already warm.
        turns: most turns.
        patience: seconds; a candidate that has used up more sits out the remaining turns, never the first.
        clock: in seconds.
    """
    used = {candidate.name: 0.0 for candidate in candidates}
    if len(used) < len(candidates):
        raise ValueError("two candidates have the same name")
    seconds: dict[str, list[float]] = {name: [] for name in used}
    for _ in range(turns):
        for candidate in candidates:
            if used[candidate.name] > patience:
                continue
            began = clock()
            candidate.run()
            spent = clock() - began
            used[candidate.name] += spent
            seconds[candidate.name].append(spent / candidate.flows)
    return seconds


def median(seconds: Sequence[float]) -> float:
    """Median over turns."""
    return statistics.median(seconds)


def spread(seconds: Sequence[float]) -> tuple[float, float]:
    """Fastest and slowest turn."""
    return min(seconds), max(seconds)


def ratio(seconds: Sequence[float], reference: Sequence[float]) -> float:
    """Median over the turns that both took part in of the ratio within the turn."""
    return statistics.median(a / b for a, b in zip(seconds, reference, strict=False))
