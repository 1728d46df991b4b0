"""Newton's method on the invariant leaf: from the end of an integrated flow to its limit, exact to rounding.

The conserved quantities c(w) pick the leaf of the flow. A zero of grad Phi,

    Phi(w) = L(w) + sum_l (mu_l/2) (c_l(w) - c_0l)^2,

at which at most one filter vanishes is a critical point of L with c(w) = c_0; where the critical point is
non-degenerate on the leaf, the Hessian of Phi is non-singular. The factors mu_l > 0 carry the units.
With channels an orthogonal gauge group survives, and rank-deficient data leave directions without curvature:
there the step of least norm is taken.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lcnn_flow.invariants import conserved, layer_units
from lcnn_flow.lapack import eigh
from lcnn_flow.network import spread
from lcnn_flow.risk import EmpiricalRisk

__all__ = [
    "LARGEST_MOVE",
    "MOST_ITERATIONS",
    "Polished",
    "implicit_derivative",
    "judge_step",
    "polish",
]

MOST_ITERATIONS = 12
LARGEST_MOVE = 0.1
_CONTRACTION = 0.25


class Polished(NamedTuple):
    """Result of `polish`."""

    vector: Float[Array, " n"]
    """Raveled filters after the iteration; meaningful only where `converged`."""
    converged: Bool[Array, ""]
    """The steps contract as those of a regular zero, down to rounding, and the move is small."""
    nonsingular: Bool[Array, ""]
    """The matrix of the last step is non-singular to eps^(2/3)."""
    distance: Float[Array, ""]
    """Euclidean distance from the start."""


class _Iteration(NamedTuple):
    vector: Array
    last: Array
    going: Array
    settled: Array
    nonsingular: Array
    count: Array


def polish(risk: EmpiricalRisk, start: Float[Array, " n"], invariants: Float[Array, " d"]) -> Polished:
    """Newton's method for grad Phi = 0 from the raveled filters `start`, on the leaf c(w) = `invariants`.

    Lengths are measured in units of each layer's norm. The iteration counts as converged when the second step is no
    longer than the first, every later one at most a quarter of the one before until it reaches the rounding floor,
    and the whole move is at most a tenth. At a degenerate critical point the steps never shrink by more than a half
    each, so it does not count as converged there.
    """
    units = layer_units(risk, start)

    def newton(state: _Iteration) -> _Iteration:
        gradient, matrix, _ = _leaf_equation(risk, state.vector, invariants, units)
        step, weakest, nonsingular = _solve(matrix, gradient)
        length = jnp.linalg.norm(step)
        scale = jnp.linalg.norm(units * spread(risk.arch, risk.layer_scales(state.vector)))
        usable, settled = judge_step(length, state.last, state.count, scale, weakest)
        return _Iteration(
            jnp.where(usable, state.vector + units * step, state.vector),
            length,
            usable & ~settled & (state.count + 1 < MOST_ITERATIONS),
            usable & settled,
            nonsingular,
            state.count + 1,
        )

    yes = jnp.asarray(True)
    first = _Iteration(start, jnp.asarray(jnp.inf, start.dtype), yes, ~yes, ~yes, jnp.asarray(0))
    last = lax.while_loop(lambda state: state.going, newton, first)
    move = last.vector - start
    near = jnp.linalg.norm(move / units) <= LARGEST_MOVE
    return Polished(last.vector, last.settled & near, last.nonsingular, jnp.linalg.norm(move))


def judge_step(
    length: Float[Array, "..."],
    last: Float[Array, "..."],
    count: Int[Array, ""],
    scale: Float[Array, "..."],
    weakest: Float[Array, "..."],
) -> tuple[Bool[Array, "..."], Bool[Array, "..."]]:
    """Whether a Newton step is that of a regular zero, and whether it is nothing but rounding of the gradient.

    Args:
        length: of the step; all lengths in units of the norms.
        last: of the step before, infinite before the first.
        count: steps before this one.
        scale: size of the terms that the gradient is made of.
        weakest: smallest eigenvalue of the matrix, in the same units.
    """
    eps = jnp.finfo(scale.dtype).eps
    floor = jnp.minimum(eps * (8 + 32 * scale / weakest), jnp.sqrt(eps))  # at a degenerate point it has no bound
    settled = length <= floor
    contracting = length <= last * jnp.where(count == 1, 1.0, _CONTRACTION)
    return jnp.isfinite(length) & (contracting | settled), settled


@jax.custom_jvp
def implicit_derivative(
    limit: Float[Array, " n"], start: Float[Array, " n"], risk: EmpiricalRisk, factor: Float[Array, ""]
) -> Float[Array, " n"]:
    """`limit`, with the derivative that the implicit function theorem gives it on the leaf of `start`.

    Locally the limit depends on the initial filters only through the conserved quantities: its derivative with
    respect to them and to the risk is -M^{-1} d(grad Phi), M = Hess Phi. `factor` multiplies it: 1, or NaN or 0
    where it is not sound.
    """
    del start, risk, factor
    return limit


@implicit_derivative.defjvp
def _implicit_derivative_jvp(primals: tuple, tangents: tuple):
    limit, start, risk, factor = primals
    _, start_dot, risk_dot, _ = tangents
    units = layer_units(risk, limit)
    _, matrix, pull = _leaf_equation(risk, limit, conserved(risk.arch, start), units)

    def equation(initial: Array, minimised: EmpiricalRisk) -> Array:
        leaf = jnp.matmul(conserved(risk.arch, initial), pull, precision=lax.Precision.HIGHEST)
        return units * minimised.gradient(limit) - leaf

    _, change = jax.jvp(equation, (start, risk), (start_dot, risk_dot))
    return limit, factor * units * _solve(matrix, change)[0]


def _leaf_equation(risk: EmpiricalRisk, vector: Array, invariants: Array, units: Array) -> tuple[Array, Array, Array]:
    """grad Phi and Hess Phi in units of each layer's norm, and the pull to the leaf a unit of offset, mu_l grad c_l.

    mu_l makes the pull as stiff as the risk, whatever the units of both. Hess Phi is taken on the leaf, where the
    offsets vanish; off it Newton's method is that of Gauss, with the same order.
    """
    slopes = jax.jacfwd(lambda x: conserved(risk.arch, x))(vector) * units[None, :]
    hessian = risk.hessian(vector) * jnp.outer(units, units)
    squares = jnp.sum(slopes**2, axis=1, keepdims=True)
    pull = slopes * jnp.where(squares > 0, jnp.linalg.norm(hessian) / jnp.where(squares > 0, squares, 1), 0)
    offset = conserved(risk.arch, vector) - invariants
    gradient = units * risk.gradient(vector) + jnp.matmul(offset, pull, precision=lax.Precision.HIGHEST)
    return gradient, hessian + jnp.matmul(slopes.T, pull, precision=lax.Precision.HIGHEST), pull


def _solve(matrix: Array, gradient: Array) -> tuple[Array, Array, Array]:
    """Newton step of least norm, the smallest absolute eigenvalue in use, whether the matrix is non-singular."""
    eigenvalues, axes = eigh(matrix)
    sizes = jnp.abs(eigenvalues)
    used = sizes > jnp.finfo(matrix.dtype).eps ** (2 / 3) * jnp.max(sizes)
    inverse = jnp.where(used, 1 / jnp.where(used, eigenvalues, 1), 0)
    components = jnp.matmul(axes.T, gradient, precision=lax.Precision.HIGHEST)
    step = -jnp.matmul(axes, inverse * components, precision=lax.Precision.HIGHEST)
    weakest = jnp.min(jnp.where(used, sizes, jnp.max(sizes)))
    return step, weakest, jnp.all(used)
