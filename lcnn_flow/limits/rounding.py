"""What rounding does to gradients and Hessians, measured: the problem is nudged by one unit of rounding in each number.

Floating-point data are known to a relative eps at best, and so is what is computed from them. Whatever changes in the
gradient when filters and data are nudged by that much cannot be told from zero; whatever is larger can. Nothing is
assumed about scales, cancellation or the conditioning of the data.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from lcnn_flow.risk.base import RiskLike

__all__ = ["SAFETY", "Nudged", "across_nudges", "eigenvalue_rounding"]

_NUDGES = 8
SAFETY = 16.0
"""How many times the mean change under nudges counts as zero: sums of many terms round several times."""


class Nudged(NamedTuple):
    """A quantity, and how it changes under nudges."""

    value: Any
    changes: Any
    """With a leading axis of nudges."""


def across_nudges(function: Any, risk: RiskLike, vector: Float[Array, " n"], units: Float[Array, " n"]) -> Nudged:
    """function(risk, vector), an array, and its changes; one program for all nudges."""
    values = lax.map(lambda k: function(*risk.nudged(vector, units, k)), jnp.arange(_NUDGES + 1))
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
