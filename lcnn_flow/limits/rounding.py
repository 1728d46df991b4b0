"""Rounding errors of gradients and Hessians, measured by perturbing every number of the problem by one unit of
rounding.

Floating-point data have a relative precision of eps at best, and so does everything computed from them. A change of the
gradient under such a perturbation (a nudge) cannot be distinguished from zero; anything larger can. No assumptions
about scales, cancellation or the conditioning of the data are needed.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from lcnn_flow.risk.base import RiskLike

__all__ = ["SAFETY", "Nudged", "across_nudges", "eigenvalue_rounding"]

_NUDGES = 8
SAFETY = 16.0
"""Multiple of the mean change under nudges that counts as zero: sums of many terms are rounded several times."""


class Nudged(NamedTuple):
    """A quantity and its changes under nudges."""

    value: Array
    changes: Array
    """The changes, with a leading axis of nudges."""


def across_nudges(
    function: Callable[[RiskLike, Array], Array], risk: RiskLike, vector: Float[Array, " n"], units: Float[Array, " n"]
) -> Nudged:
    """The array function(risk, vector) and its changes under nudges; one program computes all of them."""
    values = lax.map(lambda k: function(*risk.nudged(vector, units, k)), jnp.arange(_NUDGES + 1))
    return Nudged(values[0], values[1:] - values[:1])


def eigenvalue_rounding(
    axes: Float[Array, "n n"], changes: Float[Array, "nudges n n"], largest: Float[Array, ""]
) -> Float[Array, " n"]:
    """Size up to which each eigenvalue counts as 0: its change under nudges and the rounding error of the
    decomposition.

    Args:
        axes: eigenvectors, one per column.
        changes: changes of the matrix under nudges.
        largest: largest absolute eigenvalue.
    """

    def along_axes(change: Array) -> Array:
        return jnp.sum(axes * jnp.matmul(change, axes, precision=lax.Precision.HIGHEST), axis=0)

    eigenvalue_changes = jax.vmap(along_axes)(changes)
    decomposition = 4 * len(axes) * jnp.finfo(axes.dtype).eps * largest
    return jnp.maximum(SAFETY * jnp.mean(jnp.abs(eigenvalue_changes), axis=0), decomposition)
