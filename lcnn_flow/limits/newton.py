"""Newton's method on the invariant leaf: from the end of an integrated flow to its limit, exact to rounding.

The conserved quantities c(w) determine the leaf of the flow. A zero of grad Phi,

    Phi(w) = L(w) + sum_l (mu_l/2) (c_l(w) - c_0l)^2,

at which at most one filter vanishes is a critical point of L with c(w) = c_0. If the critical point is non-degenerate
on the leaf, the Hessian of Phi is non-singular. The factors mu_l > 0 make the terms comparable in size. With channels
an orthogonal gauge group remains, and rank-deficient data leave directions without curvature; the step of least norm is
taken in these cases.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from lcnn_flow.limits.rounding import SAFETY, across_nudges, eigenvalue_rounding
from lcnn_flow.numerics.compiling import traced_once
from lcnn_flow.numerics.lapack import eigh
from lcnn_flow.numerics.loops import while_loop
from lcnn_flow.risk.base import RiskLike

__all__ = [
    "CONTRACTION",
    "LARGEST_MOVE",
    "MOST_ITERATIONS",
    "Linearized",
    "Polished",
    "implicit_derivative",
    "linearized",
    "polish",
    "times",
]

MOST_ITERATIONS = 12
LARGEST_MOVE = 0.1
CONTRACTION = 0.25
_KNOWN = 0.45
_SHORT = 1e-2
"""Largest Newton step, in units of each layer's norm, from a point that counts as near a critical point."""


class Polished(NamedTuple):
    """Result of `polish`, which starts Newton's method at the end of a flow."""

    vector: Float[Array, " n"]
    """Raveled filters after the iteration; meaningful only if `converged`."""
    converged: Bool[Array, ""]
    """Whether the gradient is at its rounding error in every direction, the point is well determined, and the move is
    small."""
    nonsingular: Bool[Array, ""]
    """Whether all eigenvalues of the matrix of the last step are above their rounding error."""
    stays: Bool[Array, ""]
    """Whether the gradient at the start is at its rounding error along the unstable directions, so that the flow stays.
    """
    nearby: Bool[Array, ""]
    """Whether the first step was short and the gradient was at its rounding error along directions without a step, so
    that a critical point, possibly a degenerate one, is near."""
    rounding: Float[Array, ""]
    """Norm of the changes of the gradient at the start under nudges: a much smaller gradient cannot be reached."""
    blur: Float[Array, ""]
    """`rounding` in units of each layer's norm, times `SAFETY`: gradients up to this norm count as zero."""
    distance: Float[Array, ""]
    """Euclidean distance between the start and the result."""
    relative_distance: Float[Array, ""]
    """`distance` in units of each layer's norm."""


class Linearized(NamedTuple):
    """Gradient and Hessian of Phi in units of each layer's norm, with the eigenvectors of the Hessian."""

    gradient: Array
    changes: Array
    """Changes of the gradient under nudges, (nudges, n)."""
    axes: Array
    eigenvalues: Array
    used: Array
    """Mask of eigenvalues above their rounding error."""

    def along(self, gradient: Array, changes: Array) -> tuple[Array, Array]:
        """Components of a gradient along the eigenvectors, and the size up to which each of them counts as zero."""
        return times(self.axes.T, gradient), SAFETY * jnp.mean(jnp.abs(times(changes, self.axes)), axis=0)


class _Iteration(NamedTuple):
    vector: Array
    last: Array
    active: Array
    settled: Array
    here: Linearized
    """The linearisation at the point before the last step."""
    nearby: Array
    first_gradient: Array
    first_changes: Array
    count: Array


def polish(
    risk: RiskLike, start: Float[Array, " n"], levels: Float[Array, " m"], initial: Float[Array, " n"] | None = None
) -> Polished:
    """Newton's method for grad Phi = 0 from the raveled filters `start`, on the leaf with these `leaf_levels`.

    Lengths are in units of each layer's norm (`risk.units`, which may depend on `initial`, the start of the flow).
    Steps are taken along eigenvectors whose eigenvalues are above their rounding error (`rounding`). The gradient must
    reach its rounding error along all eigenvectors, including those without a step. The second step may be no longer
    than the first, each later one at most a quarter of the previous one, and the whole move at most a tenth. At a
    degenerate critical point steps shrink by a factor of two at most, so the iteration does not count as converged. It
    does not converge either if the rounding error of the gradient determines the point only up to more than eps^0.45
    (9e-8 in float64).
    """
    units, chain = risk.units(start, initial), risk.symmetry.leaf_chain(start)
    eps = jnp.finfo(start.dtype).eps

    def at(vector: Array) -> Linearized:
        return linearized(risk, vector, levels, units, chain)

    def newton(state: _Iteration) -> _Iteration:
        here = at(state.vector)
        components, zero = here.along(here.gradient, here.changes)
        inverse = jnp.where(here.used, 1 / jnp.where(here.used, here.eigenvalues, 1), 0)
        step = -times(here.axes, inverse * components)
        length, open_to = jnp.linalg.norm(step), jnp.linalg.norm(inverse * zero)
        rest = jnp.abs(components) <= zero
        small = jnp.all(rest | (here.used & (length <= 8 * eps)))
        settled = small & (open_to <= eps**_KNOWN)
        contracting = length <= state.last * jnp.where(state.count == 1, 1.0, CONTRACTION)
        usable = jnp.isfinite(length) & (contracting | settled)
        return _Iteration(
            jnp.where(usable, state.vector + units * step, state.vector),
            length,
            usable & ~settled & (state.count + 1 < MOST_ITERATIONS),
            usable & settled,
            here,
            jnp.where(state.count == 0, (length <= _SHORT) & jnp.all(rest | here.used), state.nearby),
            jnp.where(state.count == 0, here.gradient, state.first_gradient),
            jnp.where(state.count == 0, here.changes, state.first_changes),
            state.count + 1,
        )

    yes = jnp.asarray(True)
    blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(at, start))
    far = jnp.asarray(jnp.inf, start.dtype)
    begin = _Iteration(start, far, yes, ~yes, blank, ~yes, blank.gradient, blank.changes, jnp.asarray(0))
    last = while_loop(lambda state: state.active, newton, begin, start)
    move, there = last.vector - start, last.here
    relative = jnp.linalg.norm(move / units)
    components, zero = there.along(last.first_gradient, last.first_changes)
    leaving = there.used & (there.eigenvalues < 0) & (jnp.abs(components) > zero)
    return Polished(
        vector=last.vector,
        converged=last.settled & (relative <= LARGEST_MOVE),
        nonsingular=jnp.all(there.used),
        stays=~jnp.any(leaving),
        nearby=last.nearby,
        rounding=jnp.linalg.norm(jnp.mean(jnp.abs(last.first_changes), axis=0) / units),
        blur=jnp.linalg.norm(zero),
        distance=jnp.linalg.norm(move),
        relative_distance=relative,
    )


@traced_once
def linearized(
    risk: RiskLike, vector: Float[Array, " n"], levels: Float[Array, " m"], units: Float[Array, " n"], chain: Array
) -> Linearized:
    """Gradient and Hessian of Phi at `vector`, for the leaf with these levels."""
    # fixed under nudges, because nudges rotate filters that are nearly zero
    conserved_gradients = _conserved_gradients(risk, vector, units, chain)

    def equation(risk: RiskLike, vector: Array) -> Array:
        gradient, matrix, _ = _leaf_equation(risk, vector, levels, units, conserved_gradients, chain)
        return jnp.concatenate([gradient[None], matrix])

    value, changes = across_nudges(equation, risk, vector, units)
    eigenvalues, axes = eigh(value[1:])
    sizes = jnp.abs(eigenvalues)
    used = sizes > eigenvalue_rounding(axes, changes[:, 1:], jnp.max(sizes))
    return Linearized(value[0], changes[:, 0], axes, eigenvalues, used)


@jax.custom_jvp
def implicit_derivative(
    limit: Float[Array, " n"], start: Float[Array, " n"], risk: RiskLike, factor: Float[Array, ""]
) -> Float[Array, " n"]:
    """`limit`, with the derivative that the implicit function theorem gives on the leaf of `start`.

    Locally the limit depends on the initial filters only through the conserved quantities. Its derivative with respect
    to them and to the risk is -M^{-1} d(grad Phi), M = Hess Phi. The derivative is multiplied by `factor`, which is 1,
    or NaN or 0 if the derivative does not exist.
    """
    del start, risk, factor
    return limit


@implicit_derivative.defjvp
def _implicit_derivative_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    limit, start, risk, factor = primals
    _, start_dot, risk_dot, _ = tangents
    units, chain = risk.units(limit, start), risk.symmetry.leaf_chain(limit)
    conserved_gradients = _conserved_gradients(risk, limit, units, chain)
    _, matrix, pull = _leaf_equation(risk, limit, risk.symmetry.leaf_levels(start), units, conserved_gradients, chain)

    def equation(initial: Array, minimised: RiskLike) -> Array:
        leaf = risk.symmetry.leaf_values(risk.symmetry.leaf_levels(initial), chain)
        return units * minimised.gradient(limit) - jnp.matmul(leaf, pull, precision=lax.Precision.HIGHEST)

    _, change = jax.jvp(equation, (start, risk), (start_dot, risk_dot))
    return limit, factor * units * _solve(matrix, change)


def _conserved_gradients(risk: RiskLike, vector: Array, units: Array, chain: Array) -> Array:
    """Gradients of the conserved quantities in units of each layer's norm, (d, n)."""
    return jax.jacfwd(lambda x: risk.symmetry.leaf_values(risk.symmetry.leaf_levels(x), chain))(vector) * units[None, :]


def _leaf_equation(
    risk: RiskLike, vector: Array, levels: Array, units: Array, conserved_gradients: Array, chain: Array
) -> tuple[Array, Array, Array]:
    """grad Phi and Hess Phi in units of each layer's norm, and mu_l grad c_l, the force towards the leaf per unit
    offset.

    mu_l makes this force as stiff as the risk. Hess Phi is evaluated without the term of the offsets, which vanish on
    the leaf; off the leaf the iteration is therefore a Gauss-Newton method of the same order.
    """
    hessian = risk.hessian(vector) * jnp.outer(units, units)
    squares = jnp.sum(conserved_gradients**2, axis=1, keepdims=True)
    factors = jnp.where(squares > 0, jnp.linalg.norm(hessian) / jnp.where(squares > 0, squares, 1), 0)
    pull = conserved_gradients * factors
    here = lax.optimization_barrier(risk.symmetry.leaf_levels(vector))
    offset = risk.symmetry.leaf_values(here - levels, chain)
    gradient = units * risk.gradient(vector) + jnp.matmul(offset, pull, precision=lax.Precision.HIGHEST)
    return gradient, hessian + jnp.matmul(conserved_gradients.T, pull, precision=lax.Precision.HIGHEST), pull


def _solve(matrix: Array, gradient: Array) -> Array:
    """Newton step of least norm, along eigenvectors whose eigenvalues are above the rounding error of the largest."""
    eigenvalues, axes = eigh(matrix)
    sizes = jnp.abs(eigenvalues)
    used = sizes > 4 * len(sizes) * jnp.finfo(matrix.dtype).eps * jnp.max(sizes)
    inverse = jnp.where(used, 1 / jnp.where(used, eigenvalues, 1), 0)
    return -times(axes, inverse * times(axes.T, gradient))


def times(matrix: Array, other: Array) -> Array:
    """matrix @ other, to working precision on every device."""
    return jnp.matmul(matrix, other, precision=lax.Precision.HIGHEST)
