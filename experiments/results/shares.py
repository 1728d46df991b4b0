"""Shares of starts as texts."""

from lcnn_flow.landscape import wilson_interval

__all__ = ["share"]


def share(count: int, total: int) -> str:
    """ "59 of 64 starts (83% to 97%)": the count with the 95% interval of its share."""
    low, high = wilson_interval(count, total)
    return f"{count} of {total} starts ({100 * low:.0f}% to {100 * high:.0f}%)"
