"""Power laws: measured points, both axes logarithmic, with the line that the theory expects."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.lines import Line2D

from experiments.figures.style import Drawing, grid, look

__all__ = ["Line", "scaling"]


class Line(NamedTuple):
    """One series: its label, abscissae, what was measured there, and what the theory expects; all (points,)."""

    label: str
    x: np.ndarray
    y: np.ndarray
    expected: np.ndarray | None = None


def scaling(
    name: str,
    title: str,
    xlabel: str,
    ylabel: str,
    shown: Sequence[tuple[str, Sequence[Line]]],
    caption: str,
    plain_x: bool = False,
) -> Drawing:
    """A panel per entry of `shown`: its title and its series. `plain_x` is not logarithmic."""
    figure, axes = grid(len(shown), 2.6, xlabel, ylabel, alone=3.6)
    handles: dict[str, Line2D] = {}
    for panel, (words, lines) in zip(axes, shown, strict=True):
        for number, line in enumerate(lines):
            style = look(number)
            (drawn,) = panel.plot(
                line.x, line.y, color=style.colour, marker=style.marker, linestyle="", label=line.label, markersize=6
            )
            handles.setdefault(line.label, drawn)
            if line.expected is not None:
                panel.plot(line.x, line.expected, color=style.colour, linestyle="--", linewidth=1.2, zorder=1)
            elif plain_x:
                panel.plot(line.x, line.y, color=style.colour, linestyle=style.line, linewidth=1.2, zorder=1)
        panel.set(xscale="linear" if plain_x else "log", yscale="log", title=words)
    marks = list(handles.values())
    if any(line.expected is not None for _, lines in shown for line in lines):
        marks.append(Line2D([], [], color="#777777", linestyle="--", label="theory"))
    figure.legend(handles=marks, loc="outside upper right", ncols=4)
    return Drawing(name, title, figure, caption)
