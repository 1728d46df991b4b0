"""The tests of a limit for many flows at once, restricted to regular limits.

Newton's method on the invariant leaf is that of `polish`, but M = Hess Phi is inverted as a positive definite matrix.
If M is positive definite at a critical point, so is the Hessian across the symmetry directions, with smallest
eigenvalue at least 1 / trace(M^{-1}). Reason: on the tangent space of the leaf both quadratic forms agree; the Hessian
vanishes along the symmetry directions, which are transversal to the leaf; and a vector orthogonal to them is not longer
than its projection along them onto that tangent space. Index, nullity and isolation therefore follow without
eigenvectors. A flow that does not pass is undecided, not rejected: `flow.search` tests it again. Single channel only.
Derived.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lcnn_flow.limits.newton import CONTRACTION, LARGEST_MOVE, MOST_ITERATIONS
from lcnn_flow.numerics.factors import factor
from lcnn_flow.numerics.kernels import as_kernel, matrix_vector, outer_products, slice_of, unrolled_sum
from lcnn_flow.numerics.norms import safe_norm
from lcnn_flow.numerics.tridiagonal import smallest_eigenvalue
from lcnn_flow.risk.chain_rule import gradient_and_hessian
from lcnn_flow.risk.linear import LinearRisk

__all__ = ["RegularLimit", "regular_limit"]


class RegularLimit(NamedTuple):
    """Result of `regular_limit`, with lanes in the last axis."""

    vector: Float[Array, "n lanes"]
    passed: Bool[Array, " lanes"]
    """Whether Newton's method converged nearby to an isolated minimum on the leaf, by the thresholds of `polish`."""
    distance: Float[Array, " lanes"]
    smallest_curvature: Float[Array, " lanes"]
    """Smallest Hessian eigenvalue across the symmetry directions."""


class _Iteration(NamedTuple):
    vector: Array
    last: Array
    active: Array
    settled: Array
    count: Array


class _Linearized(NamedTuple):
    hessian: Array
    pull: Array
    inverse: Array
    """M^{-1} in units of each layer's norm."""
    weakest: Array
    """1 / trace(M^{-1}), a lower bound of the eigenvalues of M."""
    nonsingular: Array


def regular_limit(
    risk: LinearRisk, vector: Float[Array, "n lanes"], invariants: Float[Array, "d lanes"]
) -> RegularLimit:
    """Newton's method from `vector` on the leaf with these conserved quantities, and the tests of its result."""
    arch, form, eps = risk.arch, risk.driver(vector.shape[1]), jnp.finfo(vector.dtype).eps
    units = risk.units(vector)
    scale = safe_norm(units * risk.space.per_entry(risk.layer_scales(vector)))
    signs = _signs(risk)[:, :, None].astype(vector.dtype)

    def linearized(vector: Array) -> _Linearized:
        hessian = gradient_and_hessian(arch, form, vector)[1]
        scaled = as_kernel(_in_units)(hessian, units)
        stiffness = as_kernel(_size)(scaled)
        conserved_gradients, pull = as_kernel(_pull)(signs, vector * units, stiffness)
        factors = factor(as_kernel(outer_products)(conserved_gradients, pull, scaled))  # Hess Phi
        inverse = factors.inverse
        weakest = 1 / jnp.trace(inverse)
        nonsingular = factors.definite & (weakest > arch.depth * eps ** (2 / 3) * stiffness)
        return _Linearized(hessian, pull, inverse, weakest, nonsingular)

    def newton(state: _Iteration) -> _Iteration:
        here = linearized(state.vector)
        offset = risk.symmetry.conserved(state.vector) - invariants
        residual = as_kernel(_residual)(units, risk.gradient(state.vector), offset, here.pull)
        step = -matrix_vector(here.inverse, residual)
        length = safe_norm(step)
        fine, settled = _judge_step(length, state.last, state.count, scale, here.weakest)
        usable = fine & here.nonsingular & state.active
        return _Iteration(
            jnp.where(usable[None], state.vector + units * step, state.vector),
            length,
            usable & ~settled,
            state.settled | (usable & settled),
            state.count + 1,
        )

    yes = jnp.ones(vector.shape[1:], bool)
    first = _Iteration(vector, jnp.full(vector.shape[1:], jnp.inf, vector.dtype), yes, ~yes, jnp.asarray(0))
    last = lax.while_loop(lambda s: jnp.any(s.active) & (s.count < MOST_ITERATIONS), newton, first)
    move = last.vector - vector
    there = linearized(last.vector)  # singular at the limit need not mean singular one step before
    return RegularLimit(
        last.vector,
        last.settled & there.nonsingular & (safe_norm(move / units) <= LARGEST_MOVE),
        safe_norm(move),
        _smallest_across(there.hessian, signs * last.vector[None]),
    )


def _judge_step(
    length: Float[Array, "..."],
    last: Float[Array, "..."],
    count: Int[Array, ""],
    scale: Float[Array, "..."],
    weakest: Float[Array, "..."],
) -> tuple[Bool[Array, "..."], Bool[Array, "..."]]:
    """Whether a Newton step is consistent with a regular zero, and whether it consists of rounding errors only.

    Args:
        length: length of the step; all lengths are in units of each layer's norm.
        last: length of the previous step, infinite before the first.
        count: number of previous steps.
        scale: size of the terms of which the gradient is the sum.
        weakest: smallest eigenvalue of the matrix, in the same units.
    """
    eps = jnp.finfo(scale.dtype).eps
    floor = jnp.minimum(eps * (8 + 32 * scale / weakest), jnp.sqrt(eps))  # bounded also at degenerate points
    settled = length <= floor
    contracting = length <= last * jnp.where(count == 1, 1.0, CONTRACTION)
    return jnp.isfinite(length) & (contracting | settled), settled


def _in_units(hessian: Float[Array, "n n lanes"], units: Float[Array, "n lanes"]) -> Float[Array, "n n lanes"]:
    return hessian * units[:, None] * units[None]


def _size(hessian: Float[Array, "n n lanes"]) -> Float[Array, " lanes"]:
    """Frobenius norm of every matrix."""
    rows = unrolled_sum(len(hessian), lambda k: slice_of(hessian, k) ** 2)
    return jnp.sqrt(unrolled_sum(len(rows), lambda k: slice_of(rows, k)))


def _pull(signs: Array, vector: Float[Array, "n lanes"], stiffness: Float[Array, " lanes"]) -> tuple[Array, Array]:
    """Gradients of the conserved quantities (d, n, lanes), and the force towards the leaf, scaled to be as stiff as the
    risk."""
    conserved_gradients = signs * vector[None]
    squares = unrolled_sum(conserved_gradients.shape[1], lambda k: slice_of(conserved_gradients, k, 1) ** 2)
    factors = jnp.where(squares > 0, stiffness[None] / jnp.where(squares > 0, squares, 1), 0)
    return conserved_gradients, conserved_gradients * factors[:, None]


def _residual(units: Array, gradient: Array, offset: Float[Array, "d lanes"], pull: Array) -> Float[Array, "n lanes"]:
    """grad Phi in units of each layer's norm."""
    return unrolled_sum(len(pull), lambda k: slice_of(offset, k)[None] * slice_of(pull, k), units * gradient)


def _smallest_across(hessian: Float[Array, "n n lanes"], directions: Float[Array, "d n lanes"]) -> Array:
    """Smallest eigenvalue orthogonal to the directions along which the Hessian vanishes, whose eigenvalues are
    raised."""
    if len(directions) > 0:
        across = jnp.swapaxes(directions, 0, 1)
        gram = factor(as_kernel(outer_products)(across, across)).inverse
        dual = as_kernel(outer_products)(gram, directions)
        hessian = as_kernel(_lifted)(hessian, dual, directions, as_kernel(_size)(hessian))
    return smallest_eigenvalue(hessian)


def _lifted(hessian: Array, dual: Array, directions: Array, size: Array) -> Array:
    return hessian + 2 * size[None, None] * outer_products(dual, directions)


def _signs(risk: LinearRisk) -> Float[Array, "d n"]:
    """Signs (d, n): row l times the filters is the symmetry direction xi_l, which is also the gradient of h_l."""
    depth = risk.space.num_layers
    layers = np.eye(depth - 1, depth) - np.eye(depth - 1, depth, k=1)
    return risk.space.per_entry(jnp.asarray(layers.T)).T
