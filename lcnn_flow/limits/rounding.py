"""What rounding does to gradients and Hessians, measured: the problem is nudged by one unit of rounding in each number.

Floating-point data are known to a relative eps at best, and so is what is computed from them. Whatever changes in the
gradient when filters and data are nudged by that much cannot be told from zero; whatever is larger can. Nothing is
assumed about scales, cancellation or the conditioning of the data.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from lcnn_flow.risk.empirical import EmpiricalRisk
from lcnn_flow.risk.outer import QuadraticForm

__all__ = ["SAFETY", "Nudged", "across_nudges", "eigenvalue_rounding", "nudge"]

_NUDGES = 8
SAFETY = 16.0
"""How many times the mean change under nudges counts as zero: sums of many terms round several times."""
_GOLDEN = 0.6180339887498949


class Nudged(NamedTuple):
    """A quantity, and how it changes under nudges."""

    value: Any
    changes: Any
    """With a leading axis of nudges."""


def across_nudges(function: Any, risk: EmpiricalRisk, vector: Float[Array, " n"], units: Float[Array, " n"]) -> Nudged:
    """function(risk, vector), an array, and its changes; one program for all nudges."""
    values = lax.map(lambda k: function(*nudge(risk, vector, units, k)), jnp.arange(_NUDGES + 1))
    return Nudged(values[0], values[1:] - values[:1])


def eigenvalue_rounding(
    axes: Float[Array, "n n"], changes: Float[Array, "nudges n n"], largest: Float[Array, ""]
) -> Float[Array, " n"]:
    """Up to what size eigenvalues count as 0: their changes under nudges of the matrix, and its decomposition.

    Args:
        axes: eigenvectors, one per column.
        changes: of the matrix.
        largest: absolute eigenvalue.
    """
    bends = jax.vmap(lambda x: jnp.sum(axes * jnp.matmul(x, axes, precision=lax.Precision.HIGHEST), axis=0))(changes)
    decomposition = 4 * len(axes) * jnp.finfo(axes.dtype).eps * largest
    return jnp.maximum(SAFETY * jnp.mean(jnp.abs(bends), axis=0), decomposition)


def nudge(
    risk: EmpiricalRisk, vector: Float[Array, " n"], units: Float[Array, " n"], k: Any
) -> tuple[EmpiricalRisk, Float[Array, " n"]]:
    """Risk and raveled filters with every number changed by one unit of rounding; k = 0 changes nothing.

    Filters are changed relative to their `units`, numbers that come out of a QR decomposition relative to the norm of
    their column.
    """
    size = jnp.where(k > 0, jnp.finfo(vector.dtype).eps, 0).astype(vector.dtype)
    form = risk.filter_risk
    moved = vector + size * units * _signs(vector.shape, k)
    if form is None:
        data = eqx.tree_at(lambda data: (data.inputs, data.targets), risk.data, replace_fn=lambda x: _each(x, size, k))
        return eqx.tree_at(lambda risk: risk.data, risk, data), moved
    if isinstance(form, QuadraticForm):
        columns = jnp.linalg.norm(form.factor, axis=0)[None]
        sides = jnp.sqrt(jnp.diagonal(form.gram)) * _signs(form.gram.shape[:1], k)
        new = (
            form.factor + size * columns * _signs(form.factor.shape, k),
            form.image + size * form.target_size * _signs(form.image.shape, k + 7),
            form.gram + size * jnp.outer(sides, sides),
        )
        where = lambda risk: (risk.filter_risk.factor, risk.filter_risk.image, risk.filter_risk.gram)  # noqa: E731
    else:
        new = _each(form.patches, size, k), _each(form.targets, size, k + 7)
        where = lambda risk: (risk.filter_risk.patches, risk.filter_risk.targets)  # noqa: E731
    return eqx.tree_at(where, risk, new), moved


def _each(x: Array, size: Array, k: Any) -> Array:
    return x + size.astype(x.dtype) * x * _signs(x.shape, k)


def _signs(shape: tuple[int, ...], k: Any) -> Array:
    """Signs without pattern, others for every k."""
    count = 1
    for length in shape:
        count *= length
    turn = 1 + 0.31 * jnp.asarray(k, float)
    places = (jnp.arange(1, count + 1).astype(jnp.float32) * jnp.float32(_GOLDEN)).astype(turn.dtype) * turn
    return jnp.where(places - jnp.floor(places) < 0.5, -1.0, 1.0).reshape(shape)
