"""The largest step of gradient descent at which a minimum is stable: 2 / lambda_max of the Hessian."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from lcnn_flow.observables.measures import sharpness
from lcnn_flow.risk.base import check_single
from lcnn_flow.risk.function import as_risk

__all__ = ["max_stable_step"]


def max_stable_step(risk: Any, params: Any) -> Float[Array, ""]:
    """2 / lambda_max(Hess L) at `params`, infinite if no eigenvalue is positive; works under jit and vmap.

    Gradient descent w - eta grad L(w) with a larger eta does not stay near this point, since along the eigenvector the
    distance to it grows by |1 - eta lambda_max| > 1 a step; in units of (squared parameter)/risk.

    Args:
        risk: an `EmpiricalRisk`, a `Risk`, or a function of params.
        params: where the Hessian is taken, at a minimum for instance.

    Returns:
        () in units of (squared parameter)/risk.

    Raises:
        RiskError: a function that does not return one real number, or a batch of risks.
        ArchitectureError, FlowError: `params` do not fit.
    """
    risk = as_risk("max_stable_step", risk, params)
    check_single("max_stable_step", risk, "max_stable_step(risk.condition(i), params) for each i")
    risk.check_params(params)
    largest = sharpness(risk, params)
    return jnp.where(largest > 0, 2 / jnp.where(largest > 0, largest, 1), jnp.inf)
