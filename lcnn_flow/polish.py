"""Newton's method on the invariant leaf: from the end of an integrated flow to its limit, exact to rounding.

The conserved quantities c(w) pick the leaf of the flow. A zero of grad Phi,

    Phi(w) = L(w) + (mu/2) |c(w) - c_0|^2,

at which at most one filter vanishes is a critical point of L with c(w) = c_0; where the critical point is
non-degenerate on the leaf, the Hessian of Phi is non-singular. The factor mu > 0 carries the units.
With channels an orthogonal gauge group survives, and rank-deficient data leave directions without curvature:
there the step of least norm is taken.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from lcnn_flow.architecture import Architecture
from lcnn_flow.invariants import conserved
from lcnn_flow.risk import EmpiricalRisk

__all__ = ["Polished", "implicit_derivative", "polish"]

_MAX_ITERATIONS = 12
_CONTRACTION = 0.25
_MAX_MOVE = 0.1


class Polished(NamedTuple):
    """Result of `polish`."""

    vector: Float[Array, " n"]
    """Raveled filters after the iteration; meaningful only where `converged`."""
    converged: Bool[Array, ""]
    """Every step at most a quarter of the one before, down to rounding, and the move small."""
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

    The iteration counts as converged when every step is at most a quarter of the one before until it reaches the
    rounding floor, and the whole move is at most a tenth of |start|. At a degenerate critical point Newton's steps
    shrink by a half or less each, so it never counts as converged there.
    """
    size = jnp.linalg.norm(start)
    eps = jnp.finfo(start.dtype).eps

    def newton(state: _Iteration) -> _Iteration:
        gradient, matrix, _ = _leaf_equation(risk, state.vector, invariants)
        step, weakest, nonsingular = _solve(matrix, gradient)
        length = jnp.linalg.norm(step)
        noise = eps * (8 * size + 32 * risk.gradient_scale(state.vector) / weakest)
        settled = length <= noise
        contracting = (length <= _CONTRACTION * state.last) | (state.count == 0)
        usable = jnp.isfinite(length) & (contracting | settled)
        return _Iteration(
            jnp.where(usable, state.vector + step, state.vector),
            length,
            usable & ~settled & (state.count + 1 < _MAX_ITERATIONS),
            usable & settled,
            nonsingular,
            state.count + 1,
        )

    yes = jnp.asarray(True)
    first = _Iteration(start, jnp.asarray(jnp.inf, start.dtype), yes, ~yes, ~yes, jnp.asarray(0))
    last = lax.while_loop(lambda state: state.going, newton, first)
    distance = jnp.linalg.norm(last.vector - start)
    return Polished(last.vector, last.settled & (distance <= _MAX_MOVE * size), last.nonsingular, distance)


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
    _, matrix, weight = _leaf_equation(risk, limit, conserved(risk.arch, start))

    def equation(initial: Array, minimised: EmpiricalRisk) -> Array:
        return minimised.gradient(limit) + weight * _leaf_pull(risk.arch, limit, conserved(risk.arch, initial))

    _, change = jax.jvp(equation, (start, risk), (start_dot, risk_dot))
    return limit, factor * _solve(matrix, change)[0]


def _leaf_pull(arch: Architecture, vector: Array, invariants: Array) -> Array:
    """Gradient of |c(w) - invariants|^2 / 2."""
    offset, pull_back = jax.vjp(lambda x: conserved(arch, x) - invariants, vector)
    return pull_back(offset)[0]


def _leaf_equation(risk: EmpiricalRisk, vector: Array, invariants: Array) -> tuple[Array, Array, Array]:
    """grad Phi, Hess Phi and mu; mu is a curvature a squared filter, so that Phi is homogeneous in all units."""
    hessian = risk.hessian(vector)
    square = jnp.sum(vector**2)
    weight = jnp.linalg.norm(hessian) / jnp.where(square > 0, square, 1)
    bend = jax.jacfwd(lambda x: _leaf_pull(risk.arch, x, invariants))(vector)
    gradient = risk.gradient(vector) + weight * _leaf_pull(risk.arch, vector, invariants)
    return gradient, hessian + weight * (bend + bend.T) / 2, weight


def _solve(matrix: Array, gradient: Array) -> tuple[Array, Array, Array]:
    """Newton step of least norm, the smallest absolute eigenvalue in use, whether the matrix is non-singular."""
    eigenvalues, axes = jnp.linalg.eigh(matrix)
    sizes = jnp.abs(eigenvalues)
    used = sizes > jnp.finfo(matrix.dtype).eps ** (2 / 3) * jnp.max(sizes)
    inverse = jnp.where(used, 1 / jnp.where(used, eigenvalues, 1), 0)
    components = jnp.matmul(axes.T, gradient, precision=lax.Precision.HIGHEST)
    step = -jnp.matmul(axes, inverse * components, precision=lax.Precision.HIGHEST)
    weakest = jnp.min(jnp.where(used, sizes, jnp.max(sizes)))
    return step, weakest, jnp.all(used)
