"""Paths of the roots of filters along flows, in the complex plane.

The roots of every layer are those of the polynomial w_l(z^S), S the spacing of its taps in the end-to-end filter v, and
the roots of v are those of all layers together (see `complex_plane`). Between recorded times they are matched pair by
pair, the nearest first, in the chordal metric |a - b| / sqrt((1 + |a|^2)(1 + |b|^2)) of the Riemann sphere, in which a
root that passes through infinity does not jump.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lcnn_flow.arguments import described
from lcnn_flow.errors import PlotError
from lcnn_flow.plot.complex_plane import (
    chordal,
    coalesced_roots,
    frame_of,
    layer_roots,
    marks_at,
    name_plane,
    one_variable,
    ring_marks,
    unit_circle,
)
from lcnn_flow.plot.looks import INK, axes_for, look

__all__ = ["followed", "root_path_marks", "root_paths"]

_JUMP = 0.25
"""Chordal distance between neighbouring times from which on two roots are not taken for one; antipodes are 1 apart."""


def root_paths(network: Any, flow: Any, ax: Axes | None = None, coalesced: float = 1e-3) -> Axes:
    """Paths of the roots of every layer along flows, from dots at the start to a mark at the last recorded time.

    All roots together are those of the end-to-end filter. A path is interrupted where the roots of neighbouring times
    lie too far apart to tell which is which: record more times then.

    Args:
        network: an architecture in one dimension with single channels, or a risk that has one.
        flow: result of `gradient_flow` or `gradient_flow_ensemble` with `times`, or of a descent; a few flows at most
            can be told apart.
        ax: where to draw; a new figure if None.
        coalesced: two roots at the last time nearer than this in the chordal metric are marked as one.

    Returns:
        The axes.

    Raises:
        PlotError: a flow without a trajectory, or filters that are no polynomials of one variable.
    """
    trajectory = getattr(flow, "trajectory", None)
    if trajectory is None:
        raise PlotError(
            f"lf.plot.root_paths: flow is {described(flow)} without a trajectory: write gradient_flow(..., times=...)"
        )
    arch, leading = one_variable("lf.plot.root_paths", network, trajectory.params)
    layers = [np.asarray(w, float).reshape(-1, leading[-1], np.shape(w)[-1]) for w in trajectory.params]
    ax = axes_for("lf.plot.root_paths", ax)
    root_path_marks(ax, layers, [stride[0] for stride in arch.cumulative_strides], coalesced)
    return name_plane(ax)


def root_path_marks(ax: Axes, layers: Sequence[np.ndarray], spacings: Sequence[int], coalesced: float = 1e-3) -> None:
    """Draws the paths of the roots of all layers; equal scales on both axes, roots beyond the frame are cut off.

    Args:
        ax: where to draw.
        layers: taps of every layer, (flows, T, taps) each; times with NaN are left out.
        spacings: of the taps of every layer in the product.
        coalesced: see `root_paths`.
    """
    known = np.all([np.isfinite(w).all(axis=2) & (w != 0).any(axis=2) for w in layers], axis=0)
    courses = [
        [[layer_roots(w, spacing) for w in taps[flow][known[flow]]] for flow in np.flatnonzero(known.any(axis=1))]
        for taps, spacing in zip(layers, spacings, strict=True)
    ]  # by layer, flow and time
    starts, ends = ([[course[time] for course in found] for found in courses] for time in (0, -1))
    reach = frame_of(_together([roots for part in (*starts, *ends) for roots in part]))
    unit_circle(ax)
    for number, found in enumerate(courses):
        style = look(number)
        for path in (path for course in found for path in followed(course)):
            line = _within(path, reach)
            ax.plot(np.real(line), np.imag(line), color=style.colour, linewidth=1.1, alpha=0.75, zorder=2)
        marks_at(ax, _together(starts[number]), reach, ".", 4, INK, "start")
        marks_at(ax, _together(ends[number]), reach, style.marker, 6, style.colour, f"layer {number + 1}", named=True)
    doubled = [coalesced_roots(parts, coalesced) for parts in zip(*ends, strict=True)]
    ring_marks(ax, _together(doubled), reach, coalesced)
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")


def followed(found: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Paths of roots from their sets at consecutive times; a path may begin later and end earlier than the others.

    Args:
        found: roots at every time, complex, in any order and number.

    Returns:
        Paths, each of the places at consecutive times.
    """
    paths: list[list[complex]] = []
    alive: list[int] = []
    for roots in found:
        continued = _matched(np.asarray([paths[number][-1] for number in alive], complex), roots)
        alive = [alive[continued[place]] if place in continued else -1 for place in range(len(roots))]
        for place, root in enumerate(roots):
            if alive[place] < 0:
                paths.append([])
                alive[place] = len(paths) - 1
            paths[alive[place]].append(complex(root))
    return [np.asarray(path) for path in paths]


def _matched(before: np.ndarray, now: np.ndarray) -> dict[int, int]:
    """For roots of now the number of that before which each continues: pairs by their distance, the nearest first."""
    distance = chordal(before, now)
    pairs: dict[int, int] = {}
    for flat in np.argsort(distance, axis=None, kind="stable"):
        old, new = (int(place) for place in np.unravel_index(flat, distance.shape))
        if distance[old, new] > _JUMP:
            break
        if new not in pairs and old not in pairs.values():
            pairs[new] = old
    return pairs


def _within(path: np.ndarray, reach: float) -> np.ndarray:
    """The path, interrupted between neighbours that are both beyond the frame: their line might cross the picture."""
    beyond = np.abs(path) > np.sqrt(2) * reach
    return np.insert(path, np.flatnonzero(beyond[:-1] & beyond[1:]) + 1, np.nan)


def _together(found: Sequence[np.ndarray]) -> np.ndarray:
    """Roots of several flows as one set."""
    return np.concatenate([*found, np.zeros(0, complex)])
