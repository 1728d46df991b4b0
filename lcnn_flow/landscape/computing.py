"""`census`: finds all critical points of a problem, and proves that there are no others.

Theorem. If the equations of (G, c) have N(k) distinct regular zeros, solutions at infinity counted, they have no other
zero. For another one would be a limit of zeros of generic parameters, as all of them form an irreducible variety; near
the given parameters N(k) zeros stay near the regular ones, so there would be more than N(k). For a fixed G the same
holds for the finite zeros, if their number for generic c is known. So the conclusion rests on disjoint boxes with one
zero each, and not on the paths by which the zeros were found.
"""

import hashlib
from typing import Any

import numpy as np
from flint import arb, ctx

from lcnn_flow.landscape.ball_system import BallSystem
from lcnn_flow.landscape.boxes import Box, Boxes, prove_zeros
from lcnn_flow.landscape.chart import Chart
from lcnn_flow.landscape.euler import expected_index_sum
from lcnn_flow.landscape.orbit import Orbit, orbit_of
from lcnn_flow.landscape.problem import BITS, SquareProblem, check_countable, square_problem
from lcnn_flow.landscape.result import COMPLETE, INCOMPLETE, NUMERICAL, Census
from lcnn_flow.landscape.solutions import Solutions, find_solutions, finite_generic_count
from lcnn_flow.risk.base import check_single

__all__ = ["MAX_PATHS", "census", "census_of_solutions", "digest_of"]

MAX_PATHS = 1500


def census(risk: Any, max_paths: int = MAX_PATHS, seed: int = 0) -> Census:
    """Finds all critical orbits with v != 0 of a small square-loss problem, and proves that there are no others.

    Host side, concrete values only. The work grows with N(k) of `critical_count`: from hundredths of a second for two
    filters of two taps to minutes for N(k) above a thousand. Orbits are told apart by their filters up to scale:
    exchanged filters make different orbits.

    Args:
        risk: the empirical risk of a single-channel linear network with the square loss, any strides, one or two
            dimensions; JAX must be set to float64.
        max_paths: the largest N(k) that is tried.
        seed: of the choice of charts, and of paths; the result does not depend on it but for accidents, which show as
            "incomplete".

    Returns:
        `Census`: the orbits by increasing risk, the status of the proof and its reason.

    Raises:
        RiskError: another loss, channels, an activation, a batch of risks, P without full rank, or P^T y = 0.
        ArchitectureError: N(k) above `max_paths`.
    """
    risk = check_countable("census", risk)
    check_single("census", risk, "lf.census_ensemble(risks)")
    problem = square_problem("census", risk, max_paths)
    return census_of_solutions(problem, find_solutions([problem], seed)[0])


def census_of_solutions(problem: SquareProblem, solutions: Solutions) -> Census:
    """The census that follows from approximate solutions; all its claims are proved for the data of this problem."""
    boxes = prove_zeros(problem, solutions.chart, solutions.coordinates)
    with ctx.workprec(BITS):
        at_zero = float((problem.energy / (2 * problem.weight)).mid())
        orbits, lowest = _real_orbits(problem, solutions.chart, [box for box in boxes.real if box.is_finite], at_zero)
    status, reason = _conclusion(problem, solutions, boxes, orbits)
    load = problem.float_moment[np.asarray(problem.sums.taps)]
    return Census(
        arch=problem.arch,
        status=status,
        reason=reason,
        expected_count=problem.count,
        complex_found=boxes.zeros - boxes.clashes,
        finite=boxes.finite,
        at_infinity=boxes.zeros - boxes.finite,
        singular_endpoints=max(0, problem.count - len(solutions.coordinates)),
        orbits=tuple(orbits),
        expected_index_sum=expected_index_sum(problem.sums.sizes, load),
        lowest=lowest,
        risk_at_zero=at_zero,
        digest=digest_of(problem),
    )


def digest_of(problem: SquareProblem) -> str:
    """A name for the architecture and the exact data."""
    with ctx.workprec(BITS):
        numbers = [*problem.gram.entries(), *problem.moment.entries(), problem.energy, problem.weight]
        words = [repr(problem.arch), str(problem.gram_exponent), str(problem.moment_exponent)]
        words += [x.mid().str(60, radius=False) for x in numbers]
    return hashlib.sha256(" ".join(words).encode()).hexdigest()


def _real_orbits(
    problem: SquareProblem, chart: Chart, boxes: list[Box], at_zero: float
) -> tuple[list[Orbit], tuple[int, ...]]:
    """The real orbits, ordered by risk, and the numbers of the minima below which no other orbit is proved to lie."""
    system = BallSystem(problem, chart)
    pairs = sorted((orbit_of(problem, system, box) for box in boxes), key=lambda pair: _order(pair[0], at_zero))
    if not pairs:
        return [], ()
    least: arb = min((risk.upper() for _, risk in pairs), key=float)
    lowest = (i for i, (orbit, risk) in enumerate(pairs) if orbit.hessian_index == 0 and not risk > least)
    return [orbit for orbit, _ in pairs], tuple(lowest)


def _order(orbit: Orbit, at_zero: float) -> tuple[Any, ...]:
    """By risk, and where that is equal up to rounding by what does not depend on how the orbit was found."""
    units = [x for w in orbit.params for x in np.round(np.ravel(w) / np.linalg.norm(w), 6)]
    return round(orbit.risk / at_zero, 12), orbit.hessian_index, *units


def _conclusion(problem: SquareProblem, solutions: Solutions, boxes: Boxes, orbits: list[Orbit]) -> tuple[str, str]:
    """The status of the census and its reason."""
    count, zeros, clear = problem.count, boxes.zeros, sum(box.is_finite for box in boxes.real)
    short = f"found {zeros} of {count} solutions"
    if boxes.clashes:
        return INCOMPLETE, f"{short}, and {boxes.clashes} pairs of boxes are not disjoint"
    if zeros > count:
        return INCOMPLETE, f"found {zeros} solutions where there are {count}: data outside the theorem"
    if clear < len(boxes.real):
        return INCOMPLETE, f"{short}; of {len(boxes.real) - clear} real ones mu is not shown to differ from 0"
    undecided = sum(orbit.hessian_index < 0 for orbit in orbits)
    if zeros == count or boxes.finite == problem.finite_count:
        which = f"all {count} complex solutions are certified"
        if zeros < count:
            which = f"all {boxes.finite} finite solutions are certified, which are all where P^T P is a multiple of I"
        if undecided:
            return NUMERICAL, f"{which}, but the index of {undecided} orbits is not"
        return COMPLETE, which
    if boxes.failed and zeros + boxes.failed >= count:
        return NUMERICAL, f"all {count} complex solutions were found, and {zeros} of them certified"
    if len(solutions.coordinates) < count and boxes.finite and boxes.finite == finite_generic_count(problem):
        return NUMERICAL, (
            f"all {boxes.finite} solutions found are certified, as many finite ones as a random problem with the same "
            "P^T P has; solutions at infinity are not isolated"
        )
    return INCOMPLETE, f"{short}; the others are not isolated or were not reached"
