"""Newton's method for critical points on one leaf, deflated so that it does not converge to known points.

On the leaf of balanced filters critical points are zeros of F = grad Phi, Phi = L + (kappa/2) sum_l h_l^2. With known
zeros w_i the method is applied to M(w) F(w), M = prod_i (1 + size^2/|w - w_i|^2), which has the same other zeros and is
not attracted by these; by the formula of Sherman and Morrison its step is that of F, times a number:

    s / (1 + <grad log M, s>),   s = -F'^{-1} F     (P. E. Farrell, A. Birkisson, S. W. Funke, SIAM J. Sci. Comput. 37,
                                                      2015).
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from lcnn_flow.network.parameters import squared_norms
from lcnn_flow.numerics.compiling import quick_to_compile
from lcnn_flow.risk.linear import LinearRisk

__all__ = ["deflated_newton"]

_STEPS = 60
_LONGEST = 0.5
"""Longest step, relative to the norm of the filters and the size of filters that fit."""


@quick_to_compile
def deflated_newton(
    risk: LinearRisk, vectors: Float[Array, "S n"], known: Float[Array, "K n"], counts: Array
) -> Float[Array, "S n"]:
    """The points after 60 steps from every start; not finite where the method failed.

    Args:
        risk: a single risk of a single-channel network.
        vectors: raveled starts.
        known: raveled zeros, filled up to a fixed number.
        counts: (K,), 1 for those that count, 0 for what only fills up.
    """
    size = jnp.maximum(risk.parameter_scale(), jnp.finfo(vectors.dtype).tiny)
    stiffness = risk.value(jnp.zeros_like(vectors[0])) / size**4

    def leaf(vector: Array) -> Array:
        squares = squared_norms(risk.arch, vector)
        return jnp.sum((squares[:-1] - squares[1:]) ** 2) * stiffness / 8

    def gradient(vector: Array) -> Array:
        return risk.gradient(vector) + jax.grad(leaf)(vector)

    def logarithm(vector: Array) -> Array:
        squares = jnp.sum((vector[None] - known) ** 2, axis=1)
        return jnp.sum(counts * jnp.log1p(size**2 / jnp.where(squares > 0, squares, 1)))

    def step(_: int, vector: Array) -> Array:
        matrix = risk.hessian(vector) + jax.hessian(leaf)(vector)
        change = -jnp.linalg.solve(matrix, gradient(vector))
        change = change / (1 + jnp.dot(jax.grad(logarithm)(vector), change))
        length, longest = jnp.linalg.norm(change), _LONGEST * (jnp.linalg.norm(vector) + size)
        return vector + change * jnp.minimum(1, longest / jnp.where(length > 0, length, 1))

    return jax.vmap(lambda vector: lax.fori_loop(0, _STEPS, step, vector))(vectors)
