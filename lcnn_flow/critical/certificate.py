"""Certified critical points: existence, uniqueness, index and basin, by Krawczyk's test in ball arithmetic.

For the square system F of `leaf_system` and any matrix Y, Krawczyk's operator on the box X = x + [-s, s]^n,

    K(X) = x - Y F(x) + (I - Y F'(X)) (X - x),

maps X into its interior only if X holds a zero of F, and then only one. The index is that of F'(X), by Gershgorin's
discs. The distance to other critical points of the same balancedness, and the ball from which flows converge to a
minimum, are bounded in `basin` for linear networks, and in `convex_ball` for all others.

Where rho' has kinks (Huber), F is Lipschitz, and F'(X) stands for all slopes of F between two points of X: the test is
the same. Krawczyk's test is that of R. Krawczyk, Computing 4 (1969); the rest is derived.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from flint import arb, arb_mat, ctx

from lcnn_flow.critical.ball_activations import BALL_ACTIVATIONS
from lcnn_flow.critical.balls import above, below, exact_matrix, middle, row_sum_norm, signature
from lcnn_flow.critical.basin import Basin
from lcnn_flow.critical.convex_ball import ConvexBall
from lcnn_flow.critical.leaf_system import LeafSystem, layer_system, network_system
from lcnn_flow.critical.plain_network import PlainNetwork
from lcnn_flow.critical.plain_numbers import PlainRisk, has_one_filter, plain_numbers_of
from lcnn_flow.errors import ArchitectureError
from lcnn_flow.network.dense import Dense
from lcnn_flow.risk.base import check_single
from lcnn_flow.risk.empirical import EmpiricalRisk
from lcnn_flow.risk.function import as_risk

__all__ = ["Certificate", "certify", "certify_plain", "no_proof"]

_BITS = 128
_MOST_PARAMETERS = 20
"""Of networks that are not linear, or have channels."""
_FLAT = 1e-10
"""Relative size of an eigenvalue, in units of each layer's norm, that explains a failure as degeneracy."""
_FAR = 1e-2
"""Newton step, in units of each layer's norm, that explains a failure by distance from any critical point."""
_STEPS = 6
_WIDEST, _NARROWEST, _BISECTIONS = 4.0, 2.0**-60, 6


@dataclass(frozen=True)
class Certificate:
    """What was proved about critical points near the given parameters.

    Lengths are Euclidean, in units of parameters, rounded so that the statements hold as they stand; NaN unless
    certified. Where the flow conserves nothing (most activations, and weight decay), the words "of this balancedness"
    hold for all parameters.
    """

    status: str
    """"certified", "degenerate" (the Hessian is singular beyond the symmetries) or "inconclusive"."""
    reason: str
    """Why not certified; empty if it is."""
    balancedness: tuple[float, ...] = ()
    """What the flow conserves (`theory.balancedness`) at the certified point: the given values, or those of the given
    parameters (there exact, here rounded). Empty where it conserves nothing."""
    existence_radius: float = math.nan
    """A critical point with exactly this balancedness lies within this distance of the given parameters."""
    uniqueness_radius: float = math.nan
    """No other one with this balancedness lies within this distance of the given parameters; 0 if nothing was shown."""
    hessian_index: int = -1
    """Its number of negative Hessian eigenvalues; all others across the symmetries are positive. -1: not certified.

    Where a residual may lie on a kink of rho' (Huber), it is that of all slopes of the gradient near the point.
    """
    trapping_radius: float = math.nan
    """For minima: every trajectory of this balancedness that enters the ball of this radius around the given parameters
    converges to it. 0 if no such ball was found; NaN for saddles."""

    def __str__(self) -> str:
        if self.status != "certified":
            return f"{self.status}: {self.reason}"
        words = f"certified: a critical point of index {self.hessian_index} within {self.existence_radius:.1e}"
        leaf = " of this balancedness" if self.balancedness else ""
        if self.uniqueness_radius > 0:
            words += f", no other{leaf} within {self.uniqueness_radius:.1e}"
        if self.trapping_radius > 0:
            words += f", flows{leaf} that come within {self.trapping_radius:.1e} converge to it"
        return words


def certify(
    risk: Any, params: Any, balancedness: Sequence[float] | np.ndarray | jax.Array | None = None
) -> Certificate:
    """Tries to prove that a non-degenerate critical point lies at `params`; host side, concrete values only.

    For an `EmpiricalRisk` with any loss of `losses.ALL_LOSSES`, with or without weight decay: of linear networks of a
    single channel in one or two dimensions, with any strides; and of up to 20 parameters of other networks, with the
    activations of `lcnn_flow.activations` (relu and leaky relu only where no hidden neuron may have the input 0), with
    channels and biases. Linear networks with channels have no isolated critical points. Of a function known by its
    values alone nothing is shown. Data, numbers of loss and activation, and parameters are taken as the exact values of
    their floats (those of the risk: float32 values where JAX was told to use no float64); everything is computed in
    ball arithmetic with 128 bits. With 20 parameters of a network with an activation that takes about a second per 100
    samples.

    Args:
        risk: what is minimised.
        params: parameters at or near a critical point, such as `flow.limit`.
        balancedness: (k,) wanted values of what the flow conserves (`theory.balancedness`), such as
            (|w_l|^2 - |w_{l+1}|^2)/2, l = 1, ..., N-1, for linear networks; those of `params` by default. Empty where
            it conserves nothing.

    Returns:
        A `Certificate`. "inconclusive" means that nothing was shown, not that something is false.

    Raises:
        ArchitectureError: shapes of params or balancedness do not fit.
        RiskError: a custom loss, a batch of risks, or a minibatch.
    """
    if not isinstance(risk, EmpiricalRisk):
        as_risk("certify", risk, params)
        return Certificate("inconclusive", "the function is known by its values alone, and a proof needs its formula")
    check_single("certify", risk, "certify(risk.condition(i), ...) for each i")
    layers = risk.layers(params)
    if leading := risk.space.leading_axes(layers):
        one = "certify(risk, tuple(w[i] for w in params)) for each i"
        raise ArchitectureError(f"certify takes one point, and params are {math.prod(leading)} of them: write {one}")
    risk.check_params(params)
    if (reason := no_proof(risk)) is not None:
        return Certificate("inconclusive", reason)
    plain = plain_numbers_of(risk)
    if balancedness is not None and np.shape(balancedness) != (plain.num_conserved,):
        given = np.shape(balancedness)
        raise ArchitectureError(f"balancedness has shape {given}: this risk needs ({plain.num_conserved},)")
    return certify_plain(plain, [np.asarray(w, float) for w in layers], balancedness)


def no_proof(risk: EmpiricalRisk) -> str | None:
    """Why nothing can be shown for any point of this risk; None where something can."""
    network = risk.network
    if has_one_filter(risk):
        return None
    hidden = network.widths[1:-1] if isinstance(network, Dense) else (network.channels or ())[1:-1]
    if network.is_linear and not getattr(risk, "weight_decay", None) and max(hidden, default=1) > 1:
        return "continuous gauge group: with channels no critical point is isolated"
    if network.activation is not None and network.activation.name not in BALL_ACTIVATIONS:
        return f"ball arithmetic does not know the activation {network.activation.name!r}"
    if network.num_parameters > _MOST_PARAMETERS:
        return f"the network has {network.num_parameters} parameters, and at most {_MOST_PARAMETERS} are tried"
    return None


def certify_plain(
    risk: PlainRisk | PlainNetwork,
    params: Sequence[np.ndarray],
    balancedness: Sequence[float] | np.ndarray | jax.Array | None = None,
) -> Certificate:
    """`certify` for plain arrays of the host: for worker processes, which compile nothing."""
    if not all(np.all(np.isfinite(w)) for w in params):
        return Certificate("inconclusive", "the parameters are not finite")
    if balancedness is not None and not np.all(np.isfinite(balancedness)):
        return Certificate("inconclusive", "the balancedness is not finite")
    with ctx.workprec(_BITS):
        if isinstance(risk, PlainNetwork):
            system = network_system(risk, params, balancedness)
            regular = functools.partial(ConvexBall, system)
        else:
            system, balls = layer_system(risk, params, balancedness)
            regular = functools.partial(ConvexBall, system) if risk.decay else functools.partial(Basin, system, balls)
        if not system.is_regular_leaf(system.given):
            zero = sum(not np.any(w) for w in params)
            return Certificate("degenerate", f"{zero} filters vanish: the symmetry directions are dependent there")
        return _krawczyk(system, regular)


@runtime_checkable
class _Regular(Protocol):
    """A test of balls around a critical point."""

    def holds(self, radius: float) -> bool:
        """Whether the ball is shown to hold no other critical point, and to trap flows if it is a minimum."""
        ...


@dataclass
class _Preconditioner:
    """Floats that steer the test, from the midpoint of F'; nothing rests on their accuracy."""

    inverse: arb_mat
    axes: np.ndarray
    """Eigenvectors over the roots of the eigenvalues."""
    flatness: float
    """Smallest over largest absolute eigenvalue."""


def _krawczyk(system: LeafSystem, regular: Callable[[list[arb], np.ndarray], _Regular]) -> Certificate:
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
    if not system.is_regular_leaf(box):
        words = "the symmetry directions may be dependent within the radius of existence"
        return Certificate("inconclusive", words)
    moved, reach = system.distance(centre), system.diameter(above(arb(error) / (1 - contraction)))
    existence = above(moved + reach)
    ball = regular(system.box(centre, above(arb(error) / (1 - contraction))), axes)
    alone = max(0.0, below(system.length(_widest(ball.holds)) - existence))  # seen from the given parameters
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
        words = "the Hessian is not bounded here: rho'' of l_p with p < 2 at a residual 0, or a kink of the activation"
        return Certificate("inconclusive", words)
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
        return Certificate("inconclusive", f"no critical point near: Newton's step is {step:.1e} of the parameters")
    words = f"Krawczyk's test fails: Newton's step {step:.1e}, smallest eigenvalue {flatness:.1e} of the largest"
    return Certificate("inconclusive", words)
