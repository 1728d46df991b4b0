"""All solutions of one generic member of a family, carried around random triangles of parameters until there are N(k).

With G = c = 0 and d, u generic, one solution is known by construction: u is chosen to fit it. The solutions of all
parameters form an irreducible variety, so loops carry any one to any other, and the number to be found is known.
"""

import itertools
import math
from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from lcnn_flow.errors import ArchitectureError
from lcnn_flow.landscape.chart import choose_chart, distinct, newton, quadratic_form
from lcnn_flow.landscape.counts import generic_count
from lcnn_flow.landscape.system import TapSums
from lcnn_flow.landscape.tracker import Parameters, track

__all__ = ["StartSet", "family_sums", "find_start_set"]

_LANES = 64
_AT_REST = 1e-10
_MOST_LOOPS = 200


class StartSet(NamedTuple):
    """All N solutions of the critical point equations for one pair of parameters d, u.

    Attributes:
        points: one solution per column: the entries of all unit filters, then mu; (sum k_l + 1, N).
        diagonal: d, (prod k_l,).
        load: u, (prod k_l,).
    """

    points: np.ndarray
    diagonal: np.ndarray
    load: np.ndarray


def family_sums(sizes: tuple[int, ...]) -> TapSums:
    """The tap sums of the architecture with stride 1; for G = c = 0 every architecture of the family would do."""
    taps = tuple(sum(index) for index in itertools.product(*map(range, sizes)))
    return TapSums(sizes, taps, taps[-1] + 1)


def find_start_set(
    sizes: tuple[int, ...], seed: int = 1, progress: Callable[[int, int], None] | None = None
) -> StartSet:
    """The N(k) solutions for random d and u.

    Args:
        sizes: filter sizes, every one at least 2.
        seed: seed of the random parameters and loops; other seeds give other start sets.
        progress: called as progress(found, N) after every loop.

    Raises:
        ArchitectureError: the solutions did not come together in 200 loops.
    """
    rng, wanted, sums = np.random.default_rng(seed), generic_count(sizes), family_sums(sizes)
    here, points = _first_solution(sums, rng)
    for _ in range(_MOST_LOOPS):
        if points.shape[1] >= wanted:
            return StartSet(points, here[0], here[1])
        corners = [here, _drawn(sums, rng), _drawn(sums, rng), here]
        carried = points
        for start, end in itertools.pairwise(corners):
            carried = _carried(sums, carried, start, end)
        points = _merged(sums, points, carried, here)
        if progress is not None:
            progress(points.shape[1], wanted)
    found = points.shape[1]
    raise ArchitectureError(
        f"the start set of filters {sizes} has {found} of {wanted} solutions after {_MOST_LOOPS} loops: "
        f"use another seed"
    )


def _drawn(sums: TapSums, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    parts = rng.normal(size=(4, sums.entries)) * math.sqrt(0.5)
    return parts[0] + 1j * parts[1], parts[2] + 1j * parts[3]


def _first_solution(sums: TapSums, rng: np.random.Generator) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """A solution to begin with: random filters, mu = 1, a random d, and the u nearest to a random one that fits."""
    d, u = _drawn(sums, rng)
    filters = [rng.normal(size=k) + 1j * rng.normal(size=k) for k in sums.sizes]
    filters = [w / np.linalg.norm(w) for w in filters]
    columns = []
    for layer, size in enumerate(sums.sizes):
        columns += [reduce(np.kron, [row if m == layer else w for m, w in enumerate(filters)]) for row in np.eye(size)]
    tangents = np.stack(columns)
    u = u + np.linalg.lstsq(tangents, tangents @ (d * reduce(np.kron, filters) - u), rcond=1e-10)[0]
    return (d, u), np.concatenate([*filters, [1.0]])[:, None]


def _carried(sums: TapSums, points: np.ndarray, start: tuple[Any, ...], end: tuple[Any, ...]) -> np.ndarray:
    nothing = np.zeros((1, sums.width, sums.width))
    line = Parameters(start[0], start[1], end[0], end[1], nothing, nothing[0])
    ends = track(sums, points, line, np.zeros(points.shape[1], int), _LANES)
    return ends.points[:, ends.arrived]


def _merged(sums: TapSums, old: np.ndarray, new: np.ndarray, here: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The known solutions together with the new ones that differ from them, all polished."""
    both = np.concatenate([old, new], axis=1)
    chart = choose_chart(sums.sizes, both)
    form = quadratic_form(sums, here[0], np.zeros((sums.width, sums.width)))
    coordinates, length = newton(chart, form, here[1], chart.coordinates(both))
    coordinates = coordinates[length < _AT_REST]
    return chart.unit_points(coordinates[distinct(coordinates)])
