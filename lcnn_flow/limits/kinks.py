"""Whether the tests of a limit used only points at which the Hessian exists."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lcnn_flow.numerics.norms import safe_norm
from lcnn_flow.risk.base import RiskLike

__all__ = ["is_clear_of_kinks"]

_REACH = 10.0
"""Radius that must be free of kinks, relative to the distance that Newton's method moved the point."""


def is_clear_of_kinks(risk: RiskLike, point: Float[Array, " n"], moved: Float[Array, ""]) -> Bool[Array, ""]:
    """Whether the Hessian exists around a point as far as the tests reached; true for risks without kinks.

    Args:
        risk: a risk with `has_kinks` and `distance_to_kink`.
        point: raveled parameters.
        moved: distance between the point and the one from which Newton's method started.
    """
    if not risk.has_kinks:
        return jnp.asarray(True)
    rounding = jnp.sqrt(jnp.finfo(point.dtype).eps) * safe_norm(point)
    return risk.distance_to_kink(point) > _REACH * moved + rounding
