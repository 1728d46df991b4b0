"""The units in which thresholds do not see how norms are shared out between layers."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from lcnn_flow.network.parameters import layer_norms, spread
from lcnn_flow.risk.empirical import EmpiricalRisk

__all__ = ["layer_units"]


def layer_units(risk: EmpiricalRisk, vector: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
    """|w_l| for every entry of layer l: the units in which thresholds do not see how norms are shared out.

    A filter that tends to zero has no unit of its own. Where the end-to-end filter all but vanishes (the product of
    norms is below sqrt(eps) times that of filters that fit the targets, or the targets are zero), layers smaller than
    sqrt(eps) times the largest, or than filters that fit the targets, get the larger of these two as their unit. The
    unit is 1 if there is none.
    """
    norms = layer_norms(risk.arch, vector)
    tiny, fitting = jnp.sqrt(jnp.finfo(vector.dtype).eps), risk.filter_scale()
    reference = jnp.maximum(jnp.max(norms, axis=0), fitting)[None]
    fits = fitting**risk.arch.depth
    gone = (jnp.prod(norms, axis=0)[None] <= tiny * fits) | (fits == 0)
    vanishing = gone & (norms <= tiny * reference)
    fallback = jnp.where(reference > 0, reference, 1)
    return spread(risk.arch, jnp.where(vanishing | (norms == 0), fallback, norms))
