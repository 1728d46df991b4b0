"""Approximate solutions of many problems of one architecture: tracked, polished and compared; nothing is proved here.

Paths run from the start set at (d, u) to the user's (G, c), those of all problems in one queue. Problems that come out
short run again with another gamma, d -> gamma d and mu -> gamma mu, which starts the same paths along other lines.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lcnn_flow.landscape.chart import Chart, choose_chart, closed_under_conjugation, distinct, newton, quadratic_form
from lcnn_flow.landscape.monodromy import StartSet
from lcnn_flow.landscape.problem import SquareProblem
from lcnn_flow.landscape.start_sets import start_set
from lcnn_flow.landscape.tracker import Parameters, track

__all__ = ["Solutions", "find_solutions", "finite_generic_count"]

_LANES = 64
_AT_REST = 1e-7
_TRIES = 5
_INFINITE = 1e-10
"""|mu| of unit filters below which a solution is taken to lie at infinity."""


@dataclass(frozen=True)
class Solutions:
    """Distinct approximate solutions of one problem, closed under conjugation."""

    chart: Chart
    coordinates: np.ndarray
    """(solutions, n + 1)."""
    lost: int
    """Paths of the last pass that ended at no regular solution."""
    passes: int

    @property
    def finite(self) -> int:
        """Number of solutions that are not at infinity."""
        return int(np.sum(np.abs(self.chart.unit_points(self.coordinates)[-1]) > _INFINITE))


def find_solutions(problems: Sequence[SquareProblem], seed: int = 0, start: StartSet | None = None) -> list[Solutions]:
    """Approximate solutions of every problem; all have the same architecture.

    Args:
        problems: one or more.
        seed: of the gammas of later passes, and of the charts.
        start: another start set of the family than the library's.
    """
    sums = problems[0].sums
    if len(sums.sizes) < 2:
        return [_only(problem, seed) for problem in problems]
    begin = start_set(sums.sizes) if start is None else start
    rng = np.random.default_rng(seed)
    points: list[np.ndarray] = [np.zeros((begin.points.shape[0], 0), complex) for _ in problems]
    found: dict[int, Solutions] = {}
    lost: dict[int, list[int]] = {i: [] for i in range(len(problems))}
    open_ = list(range(len(problems)))
    for attempt in range(_TRIES):
        gamma = np.exp(2j * np.pi * rng.random()) if attempt or seed else 1.0
        ends = _tracked(begin, gamma, [problems[i] for i in open_])
        for i, new in zip(open_, ends, strict=True):
            solved, lost_now = _told_apart(problems[i], points[i], new, seed)
            lost[i].append(lost_now)
            found[i] = Solutions(solved.chart, solved.coordinates, lost_now, attempt + 1)
            points[i] = solved.chart.unit_points(solved.coordinates)
        open_ = [i for i in open_ if not _is_enough(problems[i], found[i], lost[i])]
        if not open_:
            break
    return [found[i] for i in range(len(problems))]


def finite_generic_count(problem: SquareProblem, seed: int = 11) -> int:
    """Number of finite solutions for the G of the problem and a random tensor A^T c; found, but not proved."""
    sums, begin = problem.sums, start_set(problem.sums.sizes)
    rng = np.random.default_rng(seed)
    load = rng.normal(size=sums.entries) + 1j * rng.normal(size=sums.entries)
    nothing = np.zeros((1, sums.width))
    line = Parameters(begin.diagonal, begin.load, 0 * load, load, problem.float_gram[None], nothing)
    ends = track(sums, begin.points, line, np.zeros(begin.points.shape[1], int), _LANES)
    points = ends.points[:, ends.arrived]
    chart = choose_chart(sums.sizes, points, seed)
    form = quadratic_form(sums, np.zeros(sums.entries), problem.float_gram)
    coordinates, length = newton(chart, form, load, chart.coordinates(points))
    coordinates = coordinates[length < _AT_REST]
    coordinates = coordinates[distinct(coordinates)]
    return int(np.sum(np.abs(chart.unit_points(coordinates)[-1]) > _INFINITE))


def _is_enough(problem: SquareProblem, found: Solutions, lost: list[int]) -> bool:
    """Whether another pass is useless: all solutions are found, or the same paths failed again."""
    if len(found.coordinates) >= problem.count:
        return True
    if problem.finite_count is not None and found.finite >= problem.finite_count:
        return True
    return len(lost) > 1 and lost[-1] == lost[-2] and len(found.coordinates) + lost[-1] == problem.count


def _tracked(begin: StartSet, gamma: complex, problems: list[SquareProblem]) -> list[np.ndarray]:
    """The end points of the paths of every problem, (sum k_l + 1, paths) each."""
    sums, count = problems[0].sums, begin.points.shape[1]
    points = begin.points.copy()
    points[-1] *= gamma
    nothing = np.zeros(sums.entries, complex)
    gram = np.stack([problem.float_gram for problem in problems])
    moment = np.stack([problem.float_moment for problem in problems])
    line = Parameters(begin.diagonal * gamma, begin.load, nothing, nothing, gram, moment)
    which = np.repeat(np.arange(len(problems)), count)
    ends = track(sums, np.tile(points, (1, len(problems))), line, which, _LANES)
    return [
        ends.points[:, i * count : (i + 1) * count][:, ends.arrived[i * count : (i + 1) * count]]
        for i in range(len(problems))
    ]


def _told_apart(problem: SquareProblem, old: np.ndarray, new: np.ndarray, seed: int) -> tuple[Solutions, int]:
    """All distinct solutions so far, and the number of paths of the last pass that gave no new solution."""
    sums = problem.sums
    both = np.concatenate([old, new], axis=1)
    chart = choose_chart(sums.sizes, both, seed)
    form = quadratic_form(sums, np.zeros(sums.entries), problem.float_gram)
    load = problem.float_moment[np.asarray(sums.taps)]
    coordinates, length = newton(chart, form, load, chart.coordinates(both))
    good = length < _AT_REST
    lost = problem.count - int(np.sum(good[old.shape[1] :]))
    closed = closed_under_conjugation(coordinates[good])
    return Solutions(chart, closed, lost, 0), lost


def _only(problem: SquareProblem, seed: int) -> Solutions:
    """The only solution if at most one filter has more than one tap: v = G^{-1} c."""
    v = np.linalg.solve(problem.float_gram, problem.float_moment)
    length = np.linalg.norm(v)
    filters = v / length if problem.sums.sizes else np.zeros(0)
    mu = 1 / length if problem.sums.sizes else 1 / v[0]
    points = np.concatenate([filters, [mu]]).astype(complex)[:, None]
    chart = choose_chart(problem.sums.sizes, points, seed)
    return Solutions(chart, chart.coordinates(points), 0, 1)
