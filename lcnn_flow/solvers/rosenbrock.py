"""Rosenbrock methods for diffrax: linearly implicit, with one matrix and s linear solves per step, no Newton iteration.

With the increment function F(t, y) = h f(t, y) the stages solve (Hairer and Wanner, Solving Ordinary Differential
Equations II, section IV.7, transformed so that no product with the Jacobian remains)

    (I/gamma - dF/dy) u_i = F(t_0 + alpha_i h, y_0 + sum_j a_ij u_j) + sum_j c_ij u_j + gamma_i h dF/dt,

y_1 = y_0 + sum_i b_i u_i, with error estimate sum_i e_i u_i and the dense output of `RosenbrockInterpolation`.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from lcnn_flow.numerics.kernels import as_kernel, unrolled_sum
from lcnn_flow.solvers.linear_algebra import StageSolver, dense_stage_solver

__all__ = [
    "AbstractRosenbrock",
    "RosenbrockInterpolation",
    "RosenbrockTableau",
    "lower_triangle",
    "mix",
    "rosenbrock_stages",
]


class RosenbrockTableau(NamedTuple):
    """Coefficients of a Rosenbrock method with s stages, in the transformed variables u_i."""

    gamma: float
    a: np.ndarray
    """(s, s), strictly lower triangular."""
    c: np.ndarray
    """(s, s), strictly lower triangular."""
    b: np.ndarray
    """(s,), weights of the solution."""
    e: np.ndarray
    """(s,), weights of the error estimate."""
    alpha: np.ndarray
    """(s,), abscissae."""
    gamma_sum: np.ndarray
    """(s,), weights of the time derivative."""
    dense: np.ndarray
    """(r, s), coefficients of the dense output."""


class RosenbrockInterpolation(diffrax.AbstractLocalInterpolation):
    """Dense output y(theta) = (1-theta) y_0 + theta (y_1 + (1-theta) (d_1 + theta (d_2 + ...)))."""

    t0: PyTree
    t1: PyTree
    y0: PyTree
    y1: PyTree
    d: tuple[PyTree, ...]

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> PyTree:
        """The solution at time t0; if t1 is given, the increment of the solution from t0 to t1."""
        del left
        if t1 is not None:
            return jax.tree.map(jnp.subtract, self.evaluate(t1), self.evaluate(t0))
        length = self.t1 - self.t0
        theta = jnp.where(length == 0, 0.0, (t0 - self.t0) / jnp.where(length == 0, 1.0, length))

        def leaf(y0: Array, y1: Array, *d: Array) -> Array:
            value = d[-1]
            for term in reversed(d[:-1]):
                value = term + theta * value
            return (1 - theta) * y0 + theta * (y1 + (1 - theta) * value)

        return jax.tree.map(leaf, self.y0, self.y1, *self.d)


class AbstractRosenbrock(diffrax.AbstractAdaptiveSolver[None]):
    """Base class of Rosenbrock methods; a subclass defines `tableau`, `order` and `error_order`.

    Attributes:
        stage_solver: solves the stages, see `linear_algebra`. The default accepts any vector field and computes a dense
            Jacobian; `gradient_flow` replaces it by one that uses the symmetry of the Jacobian.
        after_step: (y, args) -> y, applied to the end of every step; it may change y by rounding errors only.
    """

    tableau: eqx.AbstractClassVar[RosenbrockTableau]

    stage_solver: StageSolver = eqx.field(static=True, default=dense_stage_solver)
    after_step: Callable[[PyTree, PyTree], PyTree] | None = eqx.field(static=True, default=None)

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar[Callable[..., RosenbrockInterpolation]] = RosenbrockInterpolation

    def init(self, terms: diffrax.AbstractTerm[Any, Any], t0: Any, t1: Any, y0: PyTree, args: PyTree) -> None:
        """Returns None: no state is carried from step to step."""
        del terms, t0, t1, y0, args

    def func(self, terms: diffrax.AbstractTerm[Any, Any], t0: Any, y0: PyTree, args: PyTree) -> PyTree:
        """The vector field, from which diffrax chooses the first step."""
        return terms.vf(t0, y0, args)

    def step(
        self,
        terms: diffrax.AbstractTerm[Any, Any],
        t0: Any,
        t1: Any,
        y0: PyTree,
        args: PyTree,
        solver_state: None,
        made_jump: Any,
    ) -> tuple[PyTree, PyTree, dict[str, PyTree], None, diffrax.RESULTS]:
        """One step from t0 to t1; its error estimate is infinite if the matrix does not allow a step."""
        del solver_state, made_jump
        tab = self.tableau
        flat, unravel = ravel_pytree(y0)
        control = terms.contr(t0, t1)

        def increment(t: Any, x: Array) -> Array:
            return ravel_pytree(terms.vf_prod(t, unravel(x), args, control))[0]

        solve, fit = self.stage_solver(terms, t0, y0, args, control, tab.gamma)
        _, drift = jax.jvp(lambda t: increment(t, flat), (t0,), (t1 - t0,))

        def increment_with_drift(alpha: Array, point: Array, gamma_sum: Array) -> Array:
            return increment(t0 + alpha * (t1 - t0), point) + gamma_sum * drift

        stages = rosenbrock_stages(tab, flat, increment_with_drift, solve)
        y1 = unravel(flat + mix(tab.b, stages))
        if self.after_step is not None:
            y1 = self.after_step(y1, args)
        error = jnp.where(fit, mix(tab.e, stages), jnp.inf)
        dense = tuple(unravel(mix(row, stages)) for row in tab.dense)
        info = {"y0": y0, "y1": y1, "d": dense}
        return y1, unravel(error), info, None, diffrax.RESULTS.successful


def rosenbrock_stages(
    tableau: RosenbrockTableau,
    y: jax.Array,
    increment: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
    solve: Callable[[jax.Array], jax.Array],
    known: jax.Array | None = None,
) -> jax.Array:
    """The stages u_i of one step from y, as an array (s, n, ...).

    Trailing axes of y, (n, ...), are independent steps that are computed at once.

    Args:
        tableau: coefficients of the method.
        y: initial value of the step.
        increment: (alpha_i, point, gamma_i) -> F at the point, including the term of the time derivative.
        solve: multiplication by (I/gamma - dF/dy)^{-1}.
        known: F at y, if it has already been evaluated.
    """
    a, c, alpha, gamma_sum = (jnp.asarray(x, y.dtype) for x in (tableau.a, tableau.c, tableau.alpha, tableau.gamma_sum))
    separate = as_kernel if y.ndim > 1 else lambda function: function

    def moved(i: jax.Array, y: jax.Array, stages: jax.Array) -> jax.Array:
        return y + mix(a[i], stages)

    def coupled(i: jax.Array, value: jax.Array, stages: jax.Array) -> jax.Array:
        return value + mix(c[i], stages)

    def stage(i: jax.Array, y: jax.Array, stages: jax.Array) -> jax.Array:
        value = increment(alpha[i], separate(moved)(i, y, stages), gamma_sum[i])
        return solve(separate(coupled)(i, value, stages))

    def add(i: jax.Array, stages: jax.Array) -> jax.Array:
        return lax.dynamic_update_index_in_dim(stages, separate(stage)(i, y, stages), i, 0)

    stages = jnp.zeros((len(tableau.b), *y.shape), y.dtype)
    if known is None:
        return lax.fori_loop(0, len(tableau.b), add, stages)
    return lax.fori_loop(1, len(tableau.b), add, stages.at[0].set(solve(known)))


def mix(weights: np.ndarray | Array, stages: jax.Array) -> jax.Array:
    """sum_j weights_j stages_j."""
    weights = jnp.asarray(weights, stages.dtype)
    if stages.ndim == 2:
        return jnp.sum(weights[:, None] * stages, axis=0)
    return unrolled_sum(len(stages), lambda j: weights[j] * stages[j])


def lower_triangle(*rows: tuple[float, ...]) -> np.ndarray:
    """A strictly lower triangular matrix from its rows 2, 3, ...."""
    matrix = np.zeros((len(rows) + 1, len(rows) + 1))
    for i, row in enumerate(rows, start=1):
        matrix[i, : len(row)] = row
    return matrix
