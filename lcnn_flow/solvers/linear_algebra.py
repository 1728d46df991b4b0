"""Linear algebra of one Rosenbrock step, whose stages share the matrix I/gamma - h J.

For a gradient flow J = -Hess L, so the matrix I/gamma + h Hess L is symmetric. A step can be trusted only while it is
positive definite; otherwise the step is longer than the unstable modes allow.
"""

from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PyTree

from lcnn_flow.numerics.factors import by_cholesky, factor

__all__ = ["StageSolver", "dense_stage_solver", "inverse_positive_definite"]

StageSolver = Callable[..., tuple[Callable[[Array], Array], Array]]
"""(terms, t, y, args, control, gamma) -> (function from right-hand side to solution, whether the matrix allows a step).
"""


def dense_stage_solver(
    terms: diffrax.AbstractTerm[Any, Any], t: Array | float, y: PyTree, args: PyTree, control: PyTree, gamma: float
) -> tuple[Callable[[Array], Array], Array]:
    """Stage solver for any vector field: dense Jacobian by forward-mode differentiation, and LU factors.

    Args:
        terms: the vector field f, as a term of diffrax.
        t: time.
        y: state at which J = df/dy is taken.
        args: further arguments of f.
        control: length of the step, as `terms.contr` gives it.
        gamma: coefficient of the Rosenbrock method.

    Returns:
        A function that solves (I / gamma - control J) x = b for raveled x and b, and whether its factors are finite.
    """
    flat, unravel = ravel_pytree(y)

    def increment(x: Array) -> Array:
        return ravel_pytree(terms.vf_prod(t, unravel(x), args, control))[0]

    matrix = jnp.eye(flat.size, dtype=flat.dtype) / gamma - jax.jacfwd(increment)(flat)
    factors = jax.scipy.linalg.lu_factor(matrix)
    return lambda rhs: jax.scipy.linalg.lu_solve(factors, rhs), jnp.all(jnp.isfinite(factors[0]))


@jax.custom_jvp
def inverse_positive_definite(matrix: Float[Array, "n n"]) -> tuple[Float[Array, "n n"], Bool[Array, ""]]:
    """The inverse of a symmetric matrix by Cholesky's method, and whether the matrix is positive definite.

    Gauss-Jordan elimination, which uses no factors, is not accurate enough: far along a slow valley the matrix has
    condition numbers of 1e11, and the inverse must still be small across the valley. Under jax.vmap the batch is
    inverted by `factors.factor`; derivatives are those of Cholesky's method.
    """
    return _inverse(matrix)


@inverse_positive_definite.defjvp
def _inverse_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, ...]:
    return jax.jvp(by_cholesky, primals, tangents)


_inverse = jax.custom_batching.custom_vmap(by_cholesky)


@_inverse.def_vmap
def _inverses(size: int, batched: list[bool], matrices: Float[Array, "b n n"]) -> tuple[Any, ...]:
    del size, batched
    found = factor(jnp.moveaxis(matrices, 0, -1))
    return (jnp.moveaxis(found.inverse, -1, 0), found.definite), (True, True)
