"""The check of a declared symmetry, at the start and at the limit of a flow."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from lcnn_flow.limits.rounding import SAFETY, across_nudges
from lcnn_flow.limits.verdict import Verdict
from lcnn_flow.risk.base import RiskLike

__all__ = ["keeps_symmetry"]

_ROUNDINGS = 64.0


def keeps_symmetry(risk: RiskLike, start: Float[Array, " n"], end: Any) -> Bool[Array, ""]:
    """Whether <xi, grad L> = 0 at the start and, if the limit is exact, Hess L xi = 0 there, up to rounding.

    xi are the directions of the symmetry, including the gradients of conserved quantities. `end` has the attributes
    `limit` and `verdict`.
    """

    def along(risk: RiskLike, vector: Array) -> Array:
        return _product(risk.symmetry.directions(vector).T, risk.gradient(vector))

    def products(risk: RiskLike, vector: Array) -> Array:
        return _product(risk.hessian(vector), risk.symmetry.directions(vector))

    directions, gradient = risk.symmetry.directions(start), risk.gradient(start)
    moving = _vanishes(along, risk, start, start, jnp.linalg.norm(directions, axis=0) * jnp.linalg.norm(gradient))
    lengths = jnp.linalg.norm(risk.symmetry.directions(end.limit), axis=0)
    size = jnp.linalg.norm(risk.hessian(end.limit)) * lengths[None]
    resting = _vanishes(products, risk, end.limit, start, size)
    exact = (end.verdict == int(Verdict.CONVERGED)) | (end.verdict == int(Verdict.AT_SADDLE))
    return moving & (resting | ~exact)


def _vanishes(
    function: Callable[[RiskLike, Array], Array], risk: RiskLike, vector: Array, start: Array, size: Array
) -> Bool[Array, ""]:
    """Whether function(risk, vector) is below its change under nudges plus the rounding error of numbers of size
    `size`."""
    found = across_nudges(function, risk, vector, risk.units(vector, start))
    rounding = SAFETY * jnp.mean(jnp.abs(found.changes), axis=0)
    rounding = rounding + _ROUNDINGS * vector.size * jnp.finfo(vector.dtype).eps * size
    return jnp.all(jnp.abs(found.value) <= rounding)


def _product(matrix: Array, other: Array) -> Array:
    return jnp.matmul(matrix, other, precision=lax.Precision.HIGHEST)
