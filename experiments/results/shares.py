"""Shares of starts, with confidence intervals that are valid for small counts too."""

import math

__all__ = ["share", "wilson_interval"]

_NORMAL = 1.959963984540054  # 97.5% quantile


def wilson_interval(count: int, total: int) -> tuple[float, float]:
    """95% confidence interval of a share observed as `count` of `total` > 0; Wilson (1927)."""
    seen, square = count / total, _NORMAL**2
    centre = (seen + square / (2 * total)) / (1 + square / total)
    half = _NORMAL / (1 + square / total) * math.sqrt(seen * (1 - seen) / total + square / (4 * total**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def share(count: int, total: int) -> str:
    """ "59 of 64 starts (83% to 97%)": the count with the interval of its share."""
    low, high = wilson_interval(count, total)
    return f"{count} of {total} starts ({100 * low:.0f}% to {100 * high:.0f}%)"
