"""The plan of a run as text, which `validate` prints: counts of flows, programs and batches, sizes, and least time."""

import math
from collections.abc import Sequence

from experiments.planning.cost_model import Work, least_seconds, machine_rate
from experiments.planning.plan import Plan
from experiments.sweeps.axes import Axis
from experiments.sweeps.sizes import stored_bytes

__all__ = ["plan_text", "shortened", "time_text"]

_UNITS = (("s", 1), ("min", 60), ("h", 3600), ("days", 86400))
_LONG_AXIS = 6


def plan_text(plan: Plan) -> str:
    """The plan in a few lines, with a lower bound on the time of one process that uses all devices of this machine.

    Raises:
        UserError: the library refused a value or a data file, or a flow does not fit into memory.
    """
    sweep = plan.sweep
    cells, seeds = len(sweep.cells), sweep.configuration.seeds
    programs = sum(group.programs for group in plan.work)
    counts = [
        f"{_count(cells, 'cell')} x {_count(seeds, 'seed')} = {_count(cells * seeds, sweep.noun)} in "
        + _count(len(sweep.groups), "compile group"),
        f"{_count(programs, 'program')} to compile",
        _count(len(plan.batches), "batch", "batches"),
    ]
    lines = [", ".join(counts)]
    for axis in sweep.axes:
        lines.append(f"  axis {_values(axis)}")
        lines += [f"    with {_values(key)}" for key in axis.further]
    stored = sum(stored_bytes(cell.configuration) for cell in sweep.cells)
    lines.append(f"  results up to {_size(stored)}; working memory about {_size(_memory(plan))} besides JAX")
    lines.append(f"  {_time(plan.work)}")
    return "\n".join(lines)


def _count(number: int, word: str, words: str | None = None) -> str:
    return f"{number} {word if number == 1 else words or f'{word}s'}"


def _values(key: Axis) -> str:
    return f"{key.name}: {', '.join(shortened([str(label) for label in key.labels]))}"


def shortened(labels: Sequence[str]) -> list[str]:
    """All labels if there are at most six, else the first three and the last one."""
    return list(labels) if len(labels) <= _LONG_AXIS else [*labels[:3], "...", f"{labels[-1]} ({len(labels)} values)"]


def _memory(plan: Plan) -> int:
    """Bytes of the flows that run at the same time, and of the results of the largest batch."""
    per_flow = [stored_bytes(cell.configuration) // cell.configuration.seeds for cell in plan.sweep.cells]
    largest = max(sum(per_flow[cell] for cell in batch.cells) * (batch.stop - batch.start) for batch in plan.batches)
    return largest + max(group.working_bytes for group in plan.work)


def _size(size: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size / 1e3:.0f} kB"


def _time(work: Sequence[Work]) -> str:
    least = least_seconds(work, machine_rate()) if all(group.on_cpu for group in work) else 0.0
    known = f"{time_text(least)}, not counting compilation" if least >= 1 else "not known yet"
    return f"time: {known}; the run says how long is left as soon as each program has run once"


def time_text(least: float) -> str:
    """A lower bound as text, rounded down to one digit, in the largest unit in which it is at least one and a half."""
    unit, length = next((pair for pair in reversed(_UNITS) if least >= 1.5 * pair[1]), _UNITS[0])
    digit = 10 ** int(math.log10(least / length))
    return f"at least {int(least / length / digit) * digit} {unit}"
