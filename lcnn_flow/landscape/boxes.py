"""Proves that every box contains exactly one zero of the equations, and that different boxes contain different zeros.

Krawczyk's test (R. Krawczyk, Computing 4, 1969; complex: every coordinate a square): with a float inverse Y of F'(x),
the box x + [-r, r] holds exactly one zero, and a regular one, if |Y F(x)| + sqrt(2) |I - Y F'(box)| r < r in the
maximum norm; the zero then lies within |Y F(x)| / (1 - |I - Y F'(box)|) of x. Equations and chart are real, so the
conjugate of a box that excludes real points holds another zero.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import acb, acb_mat, arb, arb_mat, ctx

from lcnn_flow.critical.balls import above
from lcnn_flow.landscape.ball_system import BallSystem
from lcnn_flow.landscape.chart import Chart, evaluate, quadratic_form
from lcnn_flow.landscape.problem import BITS, SquareProblem

__all__ = ["Box", "Boxes", "prove_zeros"]

_REAL = 1e-9
"""Imaginary parts, relative to 1 + |z|, up to which a solution is tried as a real one first."""
_SAME_PAIR = 1e-6
_FARTHEST = 1e-6
"""How far, relative to 1 + |z|, a zero may lie from the solution that it was found by."""
_REFINEMENTS = 4
_NARROWEST = 2.0**-90
_FLOAT_DISTANCE = 1e-11
"""Distance, relative to 1 + |z|, of centres rounded to floats that keeps boxes apart without a closer look."""


@dataclass(frozen=True)
class Box:
    """Coordinates (z, mu) with one zero within `radius`, of real numbers or of complex ones that are not real."""

    centre: list[Any]
    radius: float
    derivative: Any
    """F' on the box in which the zero is unique."""

    @property
    def is_real(self) -> bool:
        """Whether the zero is real."""
        return isinstance(self.centre[0], arb)

    @property
    def balls(self) -> list[Any]:
        """The coordinates of the zero."""
        return [x + _cell(x, self.radius) for x in self.centre]

    @property
    def is_finite(self) -> bool:
        """Whether mu is proved not to be 0, which means that the zero is a finite critical point."""
        return not self.balls[-1].contains(0)

    @property
    def rounded(self) -> np.ndarray:
        """The centre in floats."""
        return np.asarray([complex(float(x.real.mid()), float(x.imag.mid())) for x in map(acb, self.centre)])


@dataclass(frozen=True)
class Boxes:
    """What has been proved about the solutions of one problem."""

    real: tuple[Box, ...]
    pairs: tuple[Box, ...]
    """One of each pair of conjugates."""
    failed: int
    """Approximate solutions, by Newton's method in floats, of which nothing was shown."""
    foreign: int
    """Coordinates that are no approximate solutions of this problem, and of which nothing was shown."""
    clashes: int
    """Pairs of boxes that may hold the same zero."""

    @property
    def zeros(self) -> int:
        """Number of zeros, all different if nothing clashes."""
        return len(self.real) + 2 * len(self.pairs)

    @property
    def finite(self) -> int:
        """Number of zeros that are proved to be finite critical points."""
        return sum(box.is_finite for box in self.real) + 2 * sum(box.is_finite for box in self.pairs)


def prove_zeros(problem: SquareProblem, chart: Chart, coordinates: np.ndarray) -> Boxes:
    """Tries to prove, for every approximate solution, that there is an exact one nearby.

    Args:
        problem: the exact numbers; solutions of another one are not proved.
        chart: of the coordinates.
        coordinates: (solutions, n + 1), of conjugates one or both.
    """
    form = quadratic_form(problem.sums, np.zeros(problem.sums.entries), problem.float_gram)
    load = problem.float_moment[np.asarray(problem.sums.taps)]
    values, derivatives = evaluate(chart, form, load, coordinates)
    guides = _inverses(derivatives)
    real, pairs, failed, foreign = [], [], 0, 0
    explained = np.zeros(len(coordinates), bool)
    with ctx.workprec(BITS):
        system = BallSystem(problem, chart)
        for i, (z, guide) in enumerate(zip(coordinates, guides, strict=True)):
            if explained[i]:
                continue
            size = 1 + np.linalg.norm(z)
            box = _krawczyk(system, np.real(z), np.real(guide)) if np.max(np.abs(z.imag)) <= _REAL * size else None
            if box is not None:
                real.append(box)
                continue
            box = _krawczyk(system, z, guide)
            if box is None or not _excludes_real(box):
                near = np.linalg.norm(guide @ values[i]) <= _FARTHEST * size
                failed, foreign = failed + near, foreign + (not near)
                continue
            pairs.append(box)
            later = np.flatnonzero(~explained[i + 1 :]) + i + 1
            apart = np.linalg.norm(coordinates[later] - np.conj(z), axis=1)
            if later.size and np.min(apart) <= _SAME_PAIR * size:
                explained[later[np.argmin(apart)]] = True
        clashes = _clashes(real, pairs)
    return Boxes(tuple(real), tuple(pairs), int(failed), int(foreign), clashes)


def _inverses(matrices: np.ndarray) -> list[np.ndarray]:
    """Inverses in floats; NaN for singular matrices."""
    result = []
    for matrix in matrices:
        try:
            result.append(np.linalg.inv(matrix))
        except np.linalg.LinAlgError:
            result.append(np.full(matrix.shape, np.nan, complex))
    return result


def _krawczyk(system: BallSystem, point: np.ndarray, guide: np.ndarray) -> Box | None:
    """The box of the zero near a real or complex point; None if there is no proof."""
    if not (np.all(np.isfinite(point)) and np.all(np.isfinite(guide))):
        return None
    is_real, size = not np.iscomplexobj(point), 1 + float(np.linalg.norm(point))
    x = [arb(float(c)) if is_real else acb(float(c.real), float(c.imag)) for c in point]
    matrix: Any = arb_mat if is_real else acb_mat
    inverse = matrix([[arb(float(c)) if is_real else acb(float(c.real), float(c.imag)) for c in row] for row in guide])
    moved, error = 0.0, math.inf
    for _ in range(_REFINEMENTS):
        step = (inverse * system.value(x)).entries()
        error = _largest(step)
        if error <= _NARROWEST * size:
            break
        moved += error
        if not moved <= _FARTHEST * size:
            return None
        x = [_middle(c - d) for c, d in zip(x, step, strict=True)]
    else:
        error = _largest((inverse * system.value(x)).entries())
    radius = max(4 * error, _NARROWEST * size)
    derivative = system.derivative([c + _cell(c, radius) for c in x])
    rest = _row_sums(inverse * derivative)
    if not error + above(arb(2).sqrt() * arb(rest)) * radius < radius * (1 - 1e-9):
        return None
    return Box(x, above(arb(error) / (1 - arb(rest))), derivative)


def _cell(x: Any, radius: float) -> Any:
    ball = arb(0, radius)
    return ball if isinstance(x, arb) else acb(ball, ball)


def _middle(x: Any) -> Any:
    return x.mid() if isinstance(x, arb) else acb(x.real.mid(), x.imag.mid())


def _largest(entries: Sequence[Any]) -> float:
    return max(above(x.abs_upper()) for x in entries)


def _row_sums(product: Any) -> float:
    """Upper bound of |I - A| in the row-sum norm."""
    rows = [[x - 1 if i == j else x for j, x in enumerate(row)] for i, row in enumerate(product.tolist())]
    return max(above(sum((x.abs_upper() for x in row), arb(0))) for row in rows)


def _excludes_real(box: Box) -> bool:
    return any(not x.imag.contains(0) for x in box.balls)


def _clashes(real: list[Box], pairs: list[Box]) -> int:
    """Pairs of boxes, conjugates included, that are not proved to be disjoint; real boxes are disjoint from others."""
    mirrored = [Box([_conjugate(x) for x in box.centre], box.radius, None) for box in pairs]
    return sum(_overlaps(group) for group in (real, [*pairs, *mirrored]))


def _conjugate(x: Any) -> Any:
    return acb(x.real, -x.imag)


def _overlaps(boxes: list[Box]) -> int:
    if not boxes:
        return 0
    centres, found = np.stack([box.rounded for box in boxes]), 0
    for i, box in enumerate(boxes[:-1]):
        apart = np.max(np.abs(centres[i + 1 :] - centres[i]), axis=1)
        sizes = 1 + np.linalg.norm(centres[i + 1 :], axis=1) + np.linalg.norm(centres[i])
        for j in np.flatnonzero(~(apart > _FLOAT_DISTANCE * sizes)) + i + 1:
            found += all(a.overlaps(b) for a, b in zip(box.balls, boxes[j].balls, strict=True))
    return found
