"""Certified critical points: existence, uniqueness, index and basin, by Krawczyk's test in ball arithmetic.

For the square system F of `leaf_system` and any matrix Y, Krawczyk's operator on the box X = x + [-s, s]^n,

    K(X) = x - Y F(x) + (I - Y F'(X)) (X - x),

maps X into its interior only if X holds a zero of F, and then only one. The index is that of F'(X), by Gershgorin's
discs. The distance to other critical points of the same balancedness, and the ball from which flows converge to a
minimum, are bounded in `basin`. Krawczyk's test is that of R. Krawczyk, Computing 4 (1969); the rest is derived.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flint import arb, arb_mat, ctx

from lcnn_flow.critical.ball_losses import BALL_LOSSES
from lcnn_flow.critical.balls import above, below, exact_matrix, middle, row_sum_norm, signature
from lcnn_flow.critical.basin import Basin
from lcnn_flow.critical.leaf_system import LeafSystem
from lcnn_flow.critical.plain_numbers import PlainRisk, plain_risk
from lcnn_flow.errors import ArchitectureError
from lcnn_flow.losses.registry import ALL_LOSSES
from lcnn_flow.risk.empirical import EmpiricalRisk
from lcnn_flow.risk.function import as_risk
from lcnn_flow.risk.linear import LinearRisk, check_linear

__all__ = ["Certificate", "certify", "certify_plain", "no_proof"]

_BITS = 128
_FLAT = 1e-10
"""Relative size of an eigenvalue, in units of each layer's norm, that explains a failure as degeneracy."""
_FAR = 1e-2
"""Newton step, in units of each layer's norm, that explains a failure by distance from any critical point."""
_STEPS = 6
_WIDEST, _NARROWEST, _BISECTIONS = 4.0, 2.0**-60, 6


@dataclass(frozen=True)
class Certificate:
    """What was proved about critical points near the given filters.

    Lengths are Euclidean, in units of filters, rounded so that the statements hold as they stand; NaN unless certified.
    """

    status: str
    """"certified", "degenerate" (the Hessian is singular beyond the symmetries) or "inconclusive"."""
    reason: str
    """Why not certified; empty if it is."""
    balancedness: tuple[float, ...] = ()
    """h_l of the certified point: the given ones, or those of the given filters (there exact, here rounded)."""
    existence_radius: float = math.nan
    """A critical point with exactly this balancedness lies within this distance of the given filters."""
    uniqueness_radius: float = math.nan
    """No other one with this balancedness lies within this distance of the given filters; 0 if nothing was shown."""
    hessian_index: int = -1
    """Its number of negative Hessian eigenvalues; all others across the symmetries are positive. -1: not certified."""
    trapping_radius: float = math.nan
    """For minima: every trajectory of this balancedness that enters the ball of this radius around the given filters
    converges to it. 0 if no such ball was found; NaN for saddles."""

    def __str__(self) -> str:
        if self.status != "certified":
            return f"{self.status}: {self.reason}"
        words = f"certified: a critical point of index {self.hessian_index} within {self.existence_radius:.1e}"
        if self.uniqueness_radius > 0:
            words += f", no other of this balancedness within {self.uniqueness_radius:.1e}"
        if self.trapping_radius > 0:
            words += f", flows of this balancedness that come within {self.trapping_radius:.1e} converge to it"
        return words


def certify(
    risk: Any, params: Any, balancedness: Sequence[float] | np.ndarray | jax.Array | None = None
) -> Certificate:
    """Tries to prove that a non-degenerate critical point lies at `params`; host side, concrete values only.

    For an `EmpiricalRisk` of a single channel, one or two dimensions, any strides, the five named losses; of a function
    known by its values alone nothing is shown. Data, loss parameters and filters are taken as the exact values of their
    floats (those of the risk: float32 values where JAX was told to use no float64); everything is computed in ball
    arithmetic with 128 bits.

    Args:
        risk: what is minimised.
        params: filters at or near a critical point, such as `flow.limit`.
        balancedness: (N-1,) wanted values of (|w_l|^2 - |w_{l+1}|^2)/2; those of `params` by default.

    Returns:
        A `Certificate`. "inconclusive" means that nothing was shown, not that something is false.

    Raises:
        ArchitectureError: shapes of params or balancedness do not fit.
        RiskError: a custom loss, or a batch of risks.
    """
    if not isinstance(risk, LinearRisk):
        as_risk("certify", risk, params)
        return Certificate("inconclusive", "the function is known by its values alone, and a proof needs its formula")
    check_linear("certify", risk, "certify(risk.condition(i), ...) for each i")
    if leading := risk.space.leading_axes(risk.layers(params)):
        one = "certify(risk, tuple(w[i] for w in params)) for each i"
        raise ArchitectureError(f"certify takes one point, and params are {math.prod(leading)} of them: write {one}")
    arch = risk.arch
    arch.check_params(params)
    if balancedness is not None and np.shape(balancedness) != (arch.depth - 1,):
        given = np.shape(balancedness)
        raise ArchitectureError(f"balancedness has shape {given}: this architecture needs ({arch.depth - 1},)")
    if (reason := no_proof(risk)) is not None:
        return Certificate("inconclusive", reason)
    return certify_plain(plain_risk(risk), [np.asarray(w, float) for w in params], balancedness)


def no_proof(risk: EmpiricalRisk) -> str | None:
    """Why nothing can be shown for any point of this risk of a linear network; None where something can."""
    if risk.arch.channels is not None:
        return "continuous gauge group: with channels no critical point is isolated"
    if risk.loss.name in ALL_LOSSES and risk.loss.name not in BALL_LOSSES:
        return f"ball arithmetic does not know the loss {risk.loss.name!r}"
    return None


def certify_plain(
    risk: PlainRisk, filters: Sequence[np.ndarray], balancedness: Sequence[float] | np.ndarray | jax.Array | None = None
) -> Certificate:
    """`certify` for plain arrays of the host: for worker processes, which compile nothing."""
    if not all(np.all(np.isfinite(w)) for w in filters):
        return Certificate("inconclusive", "the filters are not finite")
    if balancedness is not None and not np.all(np.isfinite(balancedness)):
        return Certificate("inconclusive", "the balancedness is not finite")
    zero = sum(not np.any(w) for w in filters)
    if zero >= 2:
        return Certificate("degenerate", f"{zero} filters vanish: the symmetry directions are dependent there")
    with ctx.workprec(_BITS):
        return _krawczyk(LeafSystem(risk, filters, balancedness))


@dataclass
class _Preconditioner:
    """Floats that steer the test, from the midpoint of F'; nothing rests on their accuracy."""

    inverse: arb_mat
    axes: np.ndarray
    """Eigenvectors over the roots of the eigenvalues."""
    flatness: float
    """Smallest over largest absolute eigenvalue."""


def _krawczyk(system: LeafSystem) -> Certificate:
    guide = _precondition(middle(system.derivative(system.given)))
    if isinstance(guide, Certificate):
        return guide
    centre, first, _ = _refine(system, system.given, guide.inverse)
    guide = _precondition(middle(system.derivative(centre)))  # again: F' may have changed on the way
    if isinstance(guide, Certificate):
        return guide
    centre, _, error = _refine(system, centre, guide.inverse)
    start, axes = max(2 * error, _NARROWEST), guide.axes
    box = system.box(centre, start)
    derivative = system.derivative(box)
    contraction = arb(_contraction(guide.inverse, derivative))
    index = signature(derivative, axes)
    if index is None or not error < below(arb(start) * (1 - contraction)):
        return _failure(first, guide.flatness)
    if system.filters_vanishing(box) > 1:
        return Certificate("inconclusive", "two filters may vanish within the radius of existence")
    moved, reach = system.distance(centre), system.diameter(above(arb(error) / (1 - contraction)))
    existence = above(moved + reach)
    basin = Basin(system, system.box(centre, above(arb(error) / (1 - contraction))), axes)
    alone = max(0.0, below(system.length(_widest(basin.holds)) - existence))  # seen from the given filters
    return Certificate(
        "certified",
        "",
        tuple(float(c.mid()) for c in system.balance),
        existence,
        alone,
        index,
        alone if index == 0 else math.nan,
    )


def _precondition(matrix: np.ndarray) -> _Preconditioner | Certificate:
    if not np.all(np.isfinite(matrix)):
        return Certificate("inconclusive", "the Hessian is not bounded here: rho'' of l_p with p < 2 is infinite at 0")
    eigenvalues, axes = np.linalg.eigh(matrix)
    sizes = np.abs(eigenvalues)
    if not np.all(sizes > 1e-3 * np.finfo(float).eps * np.max(sizes)):
        return Certificate("degenerate", "the Hessian is singular beyond the symmetries, to rounding")
    inverse = exact_matrix((axes / eigenvalues) @ axes.T)
    return _Preconditioner(inverse, axes / np.sqrt(sizes), float(np.min(sizes) / np.max(sizes)))


def _refine(system: LeafSystem, centre: list[arb], inverse: arb_mat) -> tuple[list[arb], float, float]:
    """Newton's method with the fixed `inverse` while it contracts: the end, the first step, the one not taken."""
    lengths: list[float] = []
    while True:
        moved, length = system.newton(centre, inverse)
        lengths.append(length)
        if len(lengths) > _STEPS or not length < min([_FAR, *(earlier / 8 for earlier in lengths[:-1])]):
            return centre, lengths[0], length
        centre = moved


def _contraction(inverse: arb_mat, derivative: arb_mat) -> float:
    """An upper bound of |I - Y F'| in the maximum norm."""
    product = inverse * derivative
    for i in range(product.nrows()):
        product[i, i] -= 1
    return row_sum_norm(product)


def _widest(holds: Callable[[float], bool]) -> float:
    """The largest radius found for which the test `holds`, by halving and bisection; 0 if none."""
    high = _WIDEST
    while not holds(high):
        high /= 2
        if high < _NARROWEST:
            return 0.0
    low, high = high, 2 * high
    for _ in range(_BISECTIONS):
        between = (low + high) / 2
        low, high = (between, high) if holds(between) else (low, between)
    return low


def _failure(step: float, flatness: float) -> Certificate:
    if flatness <= _FLAT:
        words = f"the Hessian is singular beyond the symmetries: an eigenvalue of {flatness:.1e} of the largest"
        return Certificate("degenerate", words)
    if not step <= _FAR:
        return Certificate("inconclusive", f"no critical point near: Newton's step is {step:.1e} of the filters")
    words = f"Krawczyk's test fails: Newton's step {step:.1e}, smallest eigenvalue {flatness:.1e} of the largest"
    return Certificate("inconclusive", words)
