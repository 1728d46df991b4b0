"""Pictures of Morse graphs: minima below, saddles of index 1 above the two minima that they join, by their risk."""

import itertools
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lcnn_flow.arguments import described
from lcnn_flow.errors import PlotError
from lcnn_flow.plot.looks import INK, axes_for, look, put_legend

__all__ = ["morse", "morse_marks"]

_SPURIOUS = look(1).colour
_SADDLES = ((look(5), "index 1"), (look(2), "index 2"), (look(3), "index 3"), (look(4), "index 4 and above"))
_NEAR = 0.03
"""Difference of heights, relative to that of the picture, up to which points at one place are put beside each other."""
_BESIDE = 0.22


def morse(graph: Any, ax: Axes | None = None) -> Axes:
    """Minima and saddles of a census by their risk, with the flows down from every saddle of index 1 as lines.

    Args:
        graph: of `lcnn_flow.morse_graph`.
        ax: where to draw; a new figure if None.

    Returns:
        The axes.

    Raises:
        PlotError: something else than a graph.
    """
    if not (hasattr(graph, "census") and hasattr(graph, "edges")):
        raise PlotError(f"lf.plot.morse: graph is {described(graph)}: write lf.morse_graph(risk, census)")
    orbits, ends = graph.census.orbits, np.full((len(graph.census.orbits), 2), np.nan)
    for edge in graph.edges:
        ends[edge.saddle] = [np.nan if end is None else end for end in edge.ends]
    ax = axes_for("lf.plot.morse", ax)
    morse_marks(
        ax,
        np.asarray([orbit.risk for orbit in orbits]),
        np.asarray([orbit.hessian_index for orbit in orbits]),
        ends,
        None if graph.census.global_minima is None else np.asarray(graph.census.global_minima, int),
    )
    ax.set_ylabel("risk (units of the loss)")
    put_legend(ax)
    return ax


def morse_marks(ax: Axes, risk: np.ndarray, index: np.ndarray, ends: np.ndarray, lowest: np.ndarray | None) -> None:
    """Critical points as marks by index, and the flows between them as lines; saddles of higher index stand aside.

    Args:
        ax: where to draw; the places along its horizontal axis mean nothing.
        risk: (points,).
        index: (points,) numbers of negative curvatures; points with another value, -1 or NaN, are left out.
        ends: (points, 2) numbers of the points at which the flows from a saddle of index 1 end, NaN where unknown.
        lowest: numbers of the global minima; None where it is not known that there are no lower ones.
    """
    place = _places(risk, index, ends)
    for saddle in np.flatnonzero(index == 1):
        for end in ends[saddle][np.isfinite(ends[saddle])].astype(int):
            ax.plot(place[[saddle, end]], risk[[saddle, end]], color="#999999", linewidth=1.0, zorder=1)
    is_lowest = np.isin(np.arange(len(risk)), () if lowest is None else lowest)
    words = ("minimum", None) if lowest is None else ("global minimum", "spurious minimum")
    _marks(ax, place, risk, (index == 0) & (is_lowest | (lowest is None)), look(0).colour, "o", words[0])
    if words[1] is not None:
        _marks(ax, place, risk, (index == 0) & ~is_lowest, _SPURIOUS, "o", words[1])
    for number, (style, name) in enumerate(_SADDLES, start=1):
        chosen = (index >= number) if number == len(_SADDLES) else (index == number)
        _marks(ax, place, risk, chosen, style.colour, style.marker, name)
    ax.set_xticks([])
    ax.margins(x=0.08, y=0.08)


def _marks(
    ax: Axes, place: np.ndarray, risk: np.ndarray, chosen: np.ndarray, colour: str, marker: str, name: str | None
) -> None:
    if chosen.any():
        ax.plot(
            place[chosen],
            risk[chosen],
            linestyle="",
            marker=marker,
            markersize=7,
            color=colour,
            markeredgecolor=INK,
            markeredgewidth=0.6,
            label=name,
            zorder=2,
        )


def _places(risk: np.ndarray, index: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Along the horizontal axis: minima that a saddle joins side by side, saddles between them, the others behind."""
    place = np.full(len(risk), np.nan)
    place[_in_order(risk, index, ends)] = np.arange((index == 0).sum())
    middle = (np.sum(index == 0) - 1) / 2
    for saddle in sorted(np.flatnonzero(index == 1), key=lambda number: risk[number]):
        joined = place[ends[saddle][np.isfinite(ends[saddle])].astype(int)]
        known = joined[np.isfinite(joined)]
        place[saddle] = known.mean() if known.size else middle
    for number in np.flatnonzero(index >= 2):
        place[number] = np.sum(index == 0) + 0.4 * (index[number] - 2)
    return _apart(place, risk, index)


def _in_order(risk: np.ndarray, index: np.ndarray, ends: np.ndarray) -> list[int]:
    """Minima in the order in which one goes over the lowest saddles that join them, from the lowest one on."""
    minima = [int(number) for number in np.flatnonzero(index == 0)]
    saddles = sorted(np.flatnonzero(index == 1), key=lambda number: risk[number])
    joined: dict[int, list[int]] = {number: [] for number in minima}
    for a, b in (ends[saddle] for saddle in saddles):
        if a != b and a in joined and b in joined:
            joined[int(a)].append(int(b))
            joined[int(b)].append(int(a))
    found: list[int] = []
    for first in minima:
        waiting = [first]
        while waiting:
            number = waiting.pop()
            if number not in found:
                found.append(number)
                waiting += [other for other in reversed(joined[number]) if other not in found]
    return found


def _apart(place: np.ndarray, risk: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Moves saddles that would hide one another to the side, in turn to the right and to the left."""
    height = np.ptp(risk[np.isfinite(place)]) if np.isfinite(place).any() else 0.0
    moved = place.copy()
    for number in np.flatnonzero(np.isfinite(place) & (index > 0)):
        for step in itertools.count():
            side = _BESIDE * ((step + 1) // 2) * (1 if step % 2 else -1)
            near = np.abs(moved[:number] - place[number] - side) < _BESIDE / 2
            if not np.any(near & (np.abs(risk[:number] - risk[number]) <= _NEAR * height)):
                moved[number] = place[number] + side
                break
    return moved
