"""Newton's method on the invariant leaf: from the end of an integrated flow to its limit, exact to rounding.

The conserved quantities c(w) pick the leaf of the flow. A zero of grad Phi,

    Phi(w) = L(w) + sum_l (mu_l/2) (c_l(w) - c_0l)^2,

at which at most one filter vanishes is a critical point of L with c(w) = c_0; where the critical point is
non-degenerate on the leaf, the Hessian of Phi is non-singular. The factors mu_l > 0 carry the units.
With channels an orthogonal gauge group survives, and rank-deficient data leave directions without curvature:
there the step of least norm is taken.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from lcnn_flow.limits.rounding import SAFETY, across_nudges, eigenvalue_rounding
from lcnn_flow.numerics.lapack import eigh
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
"""Newton steps, in units of each layer's norm, from places near a critical point."""


class Polished(NamedTuple):
    """Result of `polish`."""

    vector: Float[Array, " n"]
    """Raveled filters after the iteration; meaningful only where `converged`."""
    converged: Bool[Array, ""]
    """The gradient is at its rounding in every direction, the place is known well, and the move is small."""
    nonsingular: Bool[Array, ""]
    """All eigenvalues of the matrix of the last step are above their rounding."""
    stays: Bool[Array, ""]
    """At the start the gradient is at its rounding along the unstable directions: the flow is not leaving."""
    nearby: Bool[Array, ""]
    """The first step was short, and the gradient at its rounding where no step could be taken: a critical point is
    near, be it degenerate."""
    rounding: Float[Array, ""]
    """Norm of what nudges change in the gradient at the start: none much smaller can be reached."""
    blur: Float[Array, ""]
    """The same in units of each layer's norm, times `SAFETY`: what counts as zero."""
    distance: Float[Array, ""]
    """Euclidean distance from the start."""
    relative_distance: Float[Array, ""]
    """The same in units of each layer's norm."""


class Linearized(NamedTuple):
    """The leaf equation in the eigenvectors of its matrix, in units of each layer's norm."""

    gradient: Array
    changes: Array
    """Of the gradient under nudges, (nudges, n)."""
    axes: Array
    eigenvalues: Array
    used: Array
    """Eigenvalues above their rounding."""

    def along(self, gradient: Array, changes: Array) -> tuple[Array, Array]:
        """A gradient along the axes, and what of it counts as zero."""
        return times(self.axes.T, gradient), SAFETY * jnp.mean(jnp.abs(times(changes, self.axes)), axis=0)


class _Iteration(NamedTuple):
    vector: Array
    last: Array
    going: Array
    settled: Array
    here: Linearized
    """At the vector before the last step."""
    nearby: Array
    first_gradient: Array
    first_changes: Array
    count: Array


def polish(risk: RiskLike, start: Float[Array, " n"], levels: Float[Array, " m"], initial: Any = None) -> Polished:
    """Newton's method for grad Phi = 0 from the raveled filters `start`, on the leaf with these `leaf_levels`.

    Lengths are measured in units of each layer's norm (`risk.units`, which `initial`, where the flow began, may tell).
    Steps are taken along the eigenvectors whose eigenvalues are above their rounding (`rounding`); the gradient must
    come down to its rounding along all of them, also along those that no step is taken in. The second step may be no
    longer than the first, every later one at most a quarter of the one before, and the whole move at most a tenth. At a
    degenerate critical point the steps never shrink by more than a half each, so it does not count as converged there;
    nor does a point whose place the rounding of the gradient leaves open to more than eps^0.45 (9e-8 in float64).
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
    last = lax.while_loop(lambda state: state.going, newton, begin)
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


def linearized(
    risk: RiskLike, vector: Float[Array, " n"], levels: Float[Array, " m"], units: Float[Array, " n"], chain: Array
) -> Linearized:
    """The leaf equation at `vector`, for the leaf with these levels."""
    slopes = _slopes(risk, vector, units, chain)  # held under nudges: those of filters that all but vanish would turn

    def equation(risk: RiskLike, vector: Array) -> Array:
        gradient, matrix, _ = _leaf_equation(risk, vector, levels, units, slopes, chain)
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
    units, chain = risk.units(limit, start), risk.symmetry.leaf_chain(limit)
    slopes = _slopes(risk, limit, units, chain)
    _, matrix, pull = _leaf_equation(risk, limit, risk.symmetry.leaf_levels(start), units, slopes, chain)

    def equation(initial: Array, minimised: RiskLike) -> Array:
        leaf = risk.symmetry.leaf_values(risk.symmetry.leaf_levels(initial), chain)
        return units * minimised.gradient(limit) - jnp.matmul(leaf, pull, precision=lax.Precision.HIGHEST)

    _, change = jax.jvp(equation, (start, risk), (start_dot, risk_dot))
    return limit, factor * units * _solve(matrix, change)


def _slopes(risk: RiskLike, vector: Array, units: Array, chain: Array) -> Array:
    """Gradients of the conserved quantities in units of each layer's norm, (d, n)."""
    return jax.jacfwd(lambda x: risk.symmetry.leaf_values(risk.symmetry.leaf_levels(x), chain))(vector) * units[None, :]


def _leaf_equation(
    risk: RiskLike, vector: Array, levels: Array, units: Array, slopes: Array, chain: Array
) -> tuple[Array, Array, Array]:
    """grad Phi and Hess Phi in units of each layer's norm, and the pull to the leaf per unit of offset, mu_l grad c_l.

    mu_l makes the pull as stiff as the risk, whatever the units of both. Hess Phi is taken on the leaf, where the
    offsets vanish; off it Newton's method is that of Gauss, with the same order.
    """
    hessian = risk.hessian(vector) * jnp.outer(units, units)
    squares = jnp.sum(slopes**2, axis=1, keepdims=True)
    pull = slopes * jnp.where(squares > 0, jnp.linalg.norm(hessian) / jnp.where(squares > 0, squares, 1), 0)
    here = lax.optimization_barrier(risk.symmetry.leaf_levels(vector))
    offset = risk.symmetry.leaf_values(here - levels, chain)
    gradient = units * risk.gradient(vector) + jnp.matmul(offset, pull, precision=lax.Precision.HIGHEST)
    return gradient, hessian + jnp.matmul(slopes.T, pull, precision=lax.Precision.HIGHEST), pull


def _solve(matrix: Array, gradient: Array) -> Array:
    """Newton step of least norm: along eigenvectors whose eigenvalues are above the rounding of the largest."""
    eigenvalues, axes = eigh(matrix)
    sizes = jnp.abs(eigenvalues)
    used = sizes > 4 * len(sizes) * jnp.finfo(matrix.dtype).eps * jnp.max(sizes)
    inverse = jnp.where(used, 1 / jnp.where(used, eigenvalues, 1), 0)
    return -times(axes, inverse * times(axes.T, gradient))


def times(matrix: Array, other: Array) -> Array:
    """matrix @ other, to working precision on every device."""
    return jnp.matmul(matrix, other, precision=lax.Precision.HIGHEST)
