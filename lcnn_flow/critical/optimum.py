"""The optimum over all end-to-end filters, attainable by the architecture or not.

The risk l(v) of the end-to-end filter is convex for a convex loss. For the square loss its minimum is a least-squares
solution; otherwise it is computed by Newton's method with a Levenberg-Marquardt shift.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lcnn_flow.losses.base import Loss
from lcnn_flow.losses.named import GeneralizedHuber, Square
from lcnn_flow.risk.outer import PatchForm, QuadraticForm

__all__ = ["Optimum", "least_filter_risk"]

_STEPS = 500
_LARGEST_SHIFT = 1e12


class Optimum(NamedTuple):
    """Minimum of the risk over all end-to-end filters."""

    filter: Float[Array, "c q"]
    """A minimiser."""
    risk: Float[Array, ""]
    found: Bool[Array, ""]
    """Whether the gradient there is at its rounding floor."""
    quadratic: Bool[Array, ""]
    """Whether the risk is that of the square loss."""
    matrix: Float[Array, "rows q"]
    """The patch matrix multiplied by the square roots of the weights, or its triangular factor."""

    def gap(self, form: PatchForm | QuadraticForm, V: Float[Array, "c q"]) -> Float[Array, ""]:
        """l(V) - min l, NaN if the minimum was not found; computed without cancellation for the square loss."""
        exact = jnp.sum(jnp.matmul(self.matrix, (V - self.filter).T, precision=lax.Precision.HIGHEST) ** 2) / 2
        gap = jnp.where(self.quadratic, exact, form.value(V) - self.risk)
        return jnp.where(self.found, gap, jnp.nan)


class _State(NamedTuple):
    V: Array
    risk: Array
    gradient: Array
    shift: Array
    count: Int[Array, ""]
    active: Bool[Array, ""]


def least_filter_risk(loss: Loss, form: PatchForm | QuadraticForm) -> Optimum:
    """min over V of l(V), usable under jit; not found if the loss is not known to be convex."""
    yes = jnp.asarray(True)
    if isinstance(form, QuadraticForm):
        matrix, image = form.factor, form.image
    else:
        root = jnp.sqrt(form.weights)[:, None]
        matrix, image = root * form.patches, root * form.targets
    if isinstance(loss, Square):
        rounding = float(jnp.finfo(matrix.dtype).eps) * max(matrix.shape)
        solution = jnp.linalg.lstsq(matrix, image, rcond=rounding)[0].T
        return Optimum(solution, form.value(solution), yes, yes, matrix)
    convex = _is_convex(loss)
    V, risk, found = _newton(form, jnp.zeros((image.shape[1], matrix.shape[1]), matrix.dtype))
    return Optimum(V, risk, found & convex, ~yes, matrix)


def _is_convex(loss: Loss) -> Bool[Array, ""]:
    """Whether the loss is known to be convex; usable under jit, where parameters of the loss have no known values."""
    if isinstance(loss, GeneralizedHuber):
        return jnp.all(jnp.asarray(loss.b) >= 0)
    return jnp.asarray(loss.theory.convex is True)


def _newton(form: PatchForm | QuadraticForm, start: Array) -> tuple[Array, Array, Array]:
    """Minimiser, minimum, and whether the gradient there is at the rounding floor."""
    eps = jnp.finfo(start.dtype).eps
    identity = jnp.eye(start.shape[1], dtype=start.dtype)[None]

    def step(state: _State) -> _State:
        hessian = form.hessian(state.V)
        size = jnp.maximum(jnp.max(jnp.abs(hessian)), jnp.finfo(start.dtype).tiny)
        shifted = hessian + state.shift * size * identity
        V = state.V - jnp.linalg.solve(shifted, state.gradient[..., None])[..., 0]
        risk, gradient = form.value(V), form.gradient(V)
        lower, flatter = risk < state.risk, jnp.sum(gradient**2) < jnp.sum(state.gradient**2)
        same = risk <= state.risk * (1 + 4 * eps)  # equal up to rounding, so the gradient decides
        better = jnp.all(jnp.isfinite(gradient)) & (lower | (same & flatter))
        shift = jnp.where(better, jnp.maximum(state.shift / 8, eps), state.shift * 8)
        active = ~(better & (jnp.linalg.norm(gradient) <= floor)) & (shift < _LARGEST_SHIFT) & (state.count < _STEPS)
        return _State(
            jnp.where(better, V, state.V),
            jnp.where(better, risk, state.risk),
            jnp.where(better, gradient, state.gradient),
            shift,
            state.count + 1,
            active,
        )

    first = form.gradient(start)
    floor = 4 * eps * form.patch_size * form.rms_derivative(start)
    begin = _State(
        start,
        form.value(start),
        first,
        jnp.asarray(1e-3, start.dtype),
        jnp.asarray(0),
        jnp.linalg.norm(first) > floor,
    )
    end = lax.while_loop(lambda state: state.active, step, begin)
    return (
        end.V,
        end.risk,
        jnp.linalg.norm(end.gradient) <= jnp.sqrt(eps) * form.patch_size * form.rms_derivative(end.V),
    )
