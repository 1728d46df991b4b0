"""Predefined observables: functions of the risk, the parameters and, for some of them, the start.

They are passed by name, `record={"sharpness": lf.observables.sharpness}`, and can also be called directly.
"""

import math
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from lcnn_flow.arguments import described
from lcnn_flow.errors import RiskError
from lcnn_flow.network.forward import apply
from lcnn_flow.network.parameters import ravel
from lcnn_flow.numerics.lapack import eigvalsh, singular_values
from lcnn_flow.numerics.pytrees import Pytree
from lcnn_flow.risk.base import RiskLike, is_composite, is_risk

__all__ = ["HeldOutRisk", "effective_rank", "held_out_risk", "kernel_drift", "sharpness"]


def sharpness(risk: RiskLike, params: PyTree) -> Float[Array, ""]:
    """Largest eigenvalue of Hess L over all directions, in units of risk/parameter^2; negative if all eigenvalues are.

    Gradient descent with learning rate eta is stable at a minimum if it is below 2/eta.

    Args:
        risk: any risk.
        params: where the Hessian is taken.

    Returns:
        () in units of risk/parameter^2.
    """
    return eigvalsh(risk.hessian(ravel(risk.layers(params))))[-1]


def effective_rank(risk: RiskLike, params: PyTree) -> Float[Array, ""]:
    """exp(H(p)), p_i = sigma_i / sum sigma: a number between 1 and the rank; 0 for the zero map.

    sigma are the singular values of the end-to-end map from inputs to outputs, and H is the Shannon entropy in nats.
    Source: Roy and Vetterli, The effective rank: a measure of effective dimensionality, EUSIPCO 2007.

    Args:
        risk: the risk of a linear network.
        params: its filters.

    Returns:
        () between 1 and the rank, or 0.

    Raises:
        RiskError: the risk is not that of a linear network.
    """
    network: Any = getattr(risk, "network", None)
    if network is None or not network.is_linear:
        what = described(risk) if network is None else f"that of {network!r}"
        raise RiskError(f"effective_rank needs the risk of a linear network, but risk is {what}: leave it out")
    size = math.prod(network.sample_shape)
    dtype = jnp.result_type(*risk.layers(params))
    outputs = apply(network, params, jnp.eye(size, dtype=dtype).reshape(size, *network.sample_shape))
    sigma = singular_values(outputs.reshape(size, -1))
    total = jnp.sum(sigma)
    shares = sigma / jnp.where(total > 0, total, 1)
    logarithms = jnp.log(jnp.where(shares > 0, shares, 1))
    return jnp.where(total == 0, 0, jnp.exp(-jnp.sum(shares * logarithms)))


def kernel_drift(risk: RiskLike, params: PyTree, start: PyTree) -> Float[Array, ""]:
    """|K(t) - K(0)| / |K(0)| in the Frobenius norm, K = J J^T, J the derivative of the image of the parameters.

    The image is the argument of l in L = l o image. For networks it is the end-to-end filter, and K is its neural
    tangent kernel. A value near 0 means lazy training: the image changes as in a linear model. Not finite if K(0) = 0.

    Args:
        risk: a risk with an image, such as an `EmpiricalRisk`.
        params: parameters at time t.
        start: parameters at time 0.

    Returns:
        () without a unit, at least 0.

    Raises:
        RiskError: the risk has no image.
    """
    if not is_composite(risk):
        raise RiskError(
            f"kernel_drift needs a risk of the form l o image, but risk is {described(risk)}: write "
            "lf.EmpiricalRisk(arch, loss, data)"
        )

    def kernel(tree: PyTree) -> Array:
        jacobian = risk.image_jacobian(ravel(risk.layers(tree)))
        return jnp.matmul(jacobian, jacobian.T, precision=lax.Precision.HIGHEST)

    first = kernel(start)
    return jnp.linalg.norm(kernel(params) - first) / jnp.linalg.norm(first)


class HeldOutRisk(Pytree):
    """The risk on other data as an observable, see `held_out_risk`."""

    other: RiskLike

    def __call__(self, params: PyTree) -> Float[Array, ""]:
        """The held-out risk at `params`."""
        return self.other(params)


def held_out_risk(other: Any) -> HeldOutRisk:
    """The risk `other` at the parameters, for example on test data.

    Other data of the same shapes need no new compilation.

    Args:
        other: a risk of the same network.

    Returns:
        An observable for `record`: a callable of params that returns ().

    Raises:
        RiskError: `other` is not a single risk.
    """
    if not is_risk(other):
        raise RiskError(
            f"held_out_risk: other is {described(other)}: write lf.EmpiricalRisk(arch, loss, test_data), or "
            "lf.Risk(function, params, test_data)"
        )
    if other.num_conditions is not None:
        raise RiskError("held_out_risk: other is a batch of risks, but one is needed: write other.condition(i)")
    return HeldOutRisk(other)
