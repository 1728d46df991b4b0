"""Median and spread of many curves: a line from median to median, in a band from the 10% to the 90% quantile."""

import numpy as np
from matplotlib.axes import Axes

from lcnn_flow.plot.looks import Look

__all__ = ["band", "quantiles"]


def quantiles(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """10%, 50% and 90% quantiles over the first axis; NaN where fewer than half of the entries are finite.

    Args:
        values: (seeds, ...).

    Returns:
        Three arrays (...).
    """
    known = np.isfinite(values)
    enough = known.mean(axis=0) >= 0.5
    filled = np.where(enough, np.where(known, values, np.nan), 0.0)
    low, middle, high = (np.where(enough, q, np.nan) for q in np.nanquantile(filled, [0.1, 0.5, 0.9], axis=0))
    return low, middle, high


def band(ax: Axes, times: np.ndarray, values: np.ndarray, look: Look, label: str = "", spread: bool = True) -> None:
    """The median of curves against times after 0, which has no place on a logarithmic axis.

    Args:
        ax: where to draw.
        times: (T,), of all curves.
        values: (seeds, T).
        look: colour and line style.
        label: of the median in the legend.
        spread: whether the band is drawn too.
    """
    after = times > 0
    low, middle, high = (q[after] for q in quantiles(values))
    if spread:
        ax.fill_between(times[after], low, high, color=look.colour, alpha=0.16, linewidth=0)
    ax.plot(times[after], middle, color=look.colour, linestyle=look.line, label=label or None)
