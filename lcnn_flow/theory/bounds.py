"""The a-priori bound on the filters of a gradient flow, as a public function."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from lcnn_flow.errors import RiskError
from lcnn_flow.network.parameters import ParamsLike, as_params
from lcnn_flow.risk.bounds import bound_from
from lcnn_flow.risk.empirical import EmpiricalRisk
from lcnn_flow.risk.linear import check_linear, to_patches

__all__ = ["norm_bound"]


def norm_bound(risk: EmpiricalRisk, params: ParamsLike, smallest: Any = None) -> Float[Array, " N"]:
    """Bound on (|w_1(t)|, ..., |w_N(t)|) for all t >= 0 along the gradient flow from `params`; jit and vmap work.

    With the weights w_i of the rows of the patch matrix P (the sample weights divided by their sum) and
    D = diag(sqrt(w_i)), |D P v| <= |D y| + |D r| bounds |v|, because L(t) <= L(0) bounds |D r|, r = P v - y.

    Args:
        risk: the empirical risk of a single-channel network, 1-D or 2-D, with one of the named losses.
        params: initial filters.
        smallest: a lower bound of |P v|/|v| over the attainable filters v, rows of weight zero left out, for
            data whose P has not full column rank: `hypotheses(risk).attainable_at_least`, which is proved and 0
            where nothing is, or a claim of the caller, on which the bound then rests. The smallest value that a
            search found (`attainable_smallest`) is an upper bound and of no use here. None: the smallest
            singular value of D P decides.

    Returns:
        (N,), in units of filters; +inf where D P has not full column rank (its smallest singular value is at most
        max(shape) * eps times its largest) and `smallest` is None or 0.

    Raises:
        ArchitectureError: shapes of params do not fit.
        RiskError: a network with channels.
        LossError: a loss without `largest_residual`.
    """
    linear = check_linear("norm_bound", risk)
    arch = linear.arch
    arch.check_params(params)
    if arch.channels is not None:
        raise RiskError(
            "norm_bound needs a single channel: with channels, filters may grow along channels that cancel in the "
            "end-to-end filter, so that it bounds no product of norms; write Architecture(..., channels=None)"
        )
    form = linear.outer
    stretch = form.smallest_singular_value
    if smallest is not None:
        weights = to_patches(arch, risk.loss, risk.data).weights
        least_root = jnp.sqrt(jnp.min(jnp.where(weights > 0, weights, jnp.inf)))
        stretch = jnp.maximum(stretch, least_root * jnp.asarray(smallest, stretch.dtype))
    return bound_from(arch, risk.loss, as_params(params), form, stretch)
