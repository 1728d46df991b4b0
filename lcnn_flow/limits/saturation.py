"""Whether flat directions at a limit come from hidden neurons, or losses, that are saturated in floating point.

The derivative of tanh at 20 is 2e-17: weights of a neuron with such inputs for every sample have no influence on the
risk in this precision, and the tests of a limit take the plateau for a manifold of critical points. In exact arithmetic
it has a slope, and the flow goes on, more slowly than any clock can tell. The same holds if the neuron has such inputs
for all samples that are not fitted: the others have no gradient; and for outliers on which the loss itself is flat.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from lcnn_flow.risk.base import RiskLike

__all__ = ["is_clear_of_saturation"]


def is_clear_of_saturation(risk: RiskLike, point: Float[Array, " n"], nullity: Int[Array, ""]) -> Bool[Array, ""]:
    """Whether there are no flat directions, or nothing is saturated; true for risks that never saturate.

    Args:
        risk: a risk with `can_saturate` and `is_saturated`.
        point: raveled parameters of the limit.
        nullity: number of directions across the symmetries without curvature.
    """
    if not risk.can_saturate:
        return jnp.asarray(True)
    return (nullity == 0) | ~risk.is_saturated(point)
