"""Numbers and tables in Markdown, as RESULTS.md writes them."""

import math
from collections.abc import Sequence

from benchmarks.timing import median, spread

__all__ = ["duration", "error", "figure", "number", "range_of", "table", "times"]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float, digits: int = 2) -> str:
    """Significant digits without an exponent: 0.012, 3.4, 120, 56,000."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "-"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, places):,.{max(places, 0)}f}"


def duration(seconds: float) -> str:
    """A time with its unit: 52 us, 3.1 ms, 12 s."""
    for unit, size in (("us", 1e-6), ("ms", 1e-3)):
        if seconds < 1000 * size:
            return f"{number(seconds / size)} {unit}"
    return f"{number(seconds)} s"


def times(seconds: Sequence[float]) -> str:
    """Median time over turns."""
    return duration(median(seconds))


def range_of(seconds: Sequence[float]) -> str:
    """Fastest to slowest turn, or that there was one turn only."""
    low, high = spread(seconds)
    return f"{duration(low)} to {duration(high)}" if len(seconds) > 1 else "one run"


def error(value: float | None) -> str:
    """A distance: 3e-15."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.0e}"


def figure(name: str, title: str, caption: str) -> str:
    """A figure with its caption below."""
    return f"![{title}](figures/{name}.svg)\n\n*{title}.* {caption}"
