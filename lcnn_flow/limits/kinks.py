"""Whether the tests of a limit stayed away from points where the Hessian does not exist."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lcnn_flow.numerics.norms import safe_norm

__all__ = ["is_clear_of_kinks"]

_REACH = 10.0
"""How far tests look, in units of what Newton's method moved the point."""


def is_clear_of_kinks(risk: Any, point: Float[Array, " n"], moved: Float[Array, ""]) -> Bool[Array, ""]:
    """Whether the Hessian exists all around a point, as far as the tests reached; true for risks without kinks.

    Args:
        risk: with `has_kinks` and `distance_to_kink`.
        point: raveled parameters.
        moved: how far Newton's method moved a point to it, or from it.
    """
    if not risk.has_kinks:
        return jnp.asarray(True)
    rounding = jnp.sqrt(jnp.finfo(point.dtype).eps) * safe_norm(point)
    return risk.distance_to_kink(point) > _REACH * moved + rounding
