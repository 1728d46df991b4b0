"""What marks look like: colours that colour-blind readers can tell apart, line styles and markers that survive grey.

The palette is that of Okabe and Ito (2008), without its yellow, which is too faint for lines.
"""

from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from lcnn_flow.arguments import described
from lcnn_flow.critical.classification import Kind
from lcnn_flow.errors import PlotError
from lcnn_flow.limits.verdict import Verdict

__all__ = ["INK", "KIND_LOOKS", "TIME", "VERDICT_LOOKS", "Look", "axes_for", "look", "put_legend"]

INK = "#333333"
TIME = "flow time $t$ (learning rate × steps)"
"""Label of an axis of time."""

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", INK)
_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (7, 2)), (0, (3, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True)
class Look:
    """Colour, line style and marker of one series."""

    colour: str
    line: str | tuple[Any, ...]
    marker: str


def look(number: int) -> Look:
    """Look of series `number`; after seven the line styles shift, so that no two of 49 are alike.

    Args:
        number: of the series, counted from 0.

    Returns:
        `Look`: colour, line style and marker.
    """
    i, shift = number % len(_COLOURS), number // len(_COLOURS)
    return Look(_COLOURS[i], _LINES[(i + shift) % len(_LINES)], _MARKERS[(i + shift) % len(_MARKERS)])


VERDICT_LOOKS = {
    Verdict.CONVERGED: look(0),
    Verdict.AT_SADDLE: look(3),
    Verdict.DEGENERATE: look(4),
    Verdict.DIVERGED: look(1),
    Verdict.TIME_LIMIT: look(5),
    Verdict.STEP_LIMIT: look(2),
    Verdict.NOT_FINITE: look(6),
    Verdict.UNDECIDED: look(7),
}
KIND_LOOKS = {
    Kind.MINIMUM: Look("#0072B2", "-", "o"),
    Kind.STRICT_SADDLE: Look("#D55E00", "--", "X"),
    Kind.DEGENERATE: Look("#CC79A7", "-.", "s"),
    Kind.NOT_CRITICAL: Look("#777777", ":", "v"),
    Kind.AT_KINK: Look("#E69F00", ":", "D"),
}


def axes_for(function: str, ax: Axes | None) -> Axes:
    """The axes to draw on: those given, or those of a new figure.

    Raises:
        PlotError: something else was given.
    """
    if ax is None:
        _, made = plt.subplots(layout="constrained")
        return made
    if not isinstance(ax, Axes):
        raise PlotError(f"{function}: ax is {described(ax)}: pass axes of matplotlib, such as ax=plt.gca(), or none")
    return ax


def put_legend(ax: Axes, **options: Any) -> None:
    """A legend of what has a label, an entry per label; none where nothing has."""
    handles, labels = ax.get_legend_handles_labels()
    entries = dict(zip(labels, handles, strict=True))
    if entries:
        ax.legend(list(entries.values()), list(entries), frameon=False, fontsize="small", **options)
