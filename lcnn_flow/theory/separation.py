"""Flows of margin losses on data that the network separates: the direction in which the filters diverge.

A network is positively homogeneous of degree D in its parameters where f(a w) = a^D f(w) for a > 0: layers without
biases and with an activation of degree p have D_1 = 1 and D_(l+1) = p D_l + 1, linear ones D = N. Let z_i = y_i f_i(w)
be the margins, L = sum_i w_i rho(z_i), L' = L / min_i w_i and q = rho^-1(L'), a lower bound of all z_i. Once q > 0,

    q / |w|^D,  the smoothed normalised margin, never falls,   |w| grows like (log t)^(1/D),   L -> 0,

and every limit of w/|w| is the direction of a Karush-Kuhn-Tucker point of: minimise |w|^2/2 subject to all z_i >= 1.
Lyu and Li 2020 (Gradient descent maximizes the margin of homogeneous neural networks), for gradient flow of the
exponential and the logistic loss, of locally Lipschitz homogeneous networks with a chain rule, and equal weights w_i;
with weights the same proof holds of L', because q bounds all margins (derived). The point need not be a minimum of that
problem.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lcnn_flow.errors import RiskError
from lcnn_flow.losses.classification import MarginLoss
from lcnn_flow.network.dense import Dense, Network
from lcnn_flow.network.forward import forward
from lcnn_flow.network.parameters import as_params, ravel
from lcnn_flow.numerics.norms import safe_norm
from lcnn_flow.risk.base import check_single
from lcnn_flow.risk.empirical import EmpiricalRisk

__all__ = ["Margin", "homogeneity", "margin"]


class Margin(NamedTuple):
    """Margins and direction of parameters in the margin problem; under vmap every field has leading batch axes."""

    margins: Float[Array, "m ..."]
    """z = target * prediction, of every output of every sample."""
    direction: Any
    """w/|w|, in the tree of the parameters."""
    normalized: Float[Array, ""]
    """min z / |w|^D over the samples of positive weight: the normalised margin, in units of the network's outputs."""
    smoothed: Float[Array, ""]
    """q/|w|^D, at most `normalized`; once it is positive it never falls along the flow."""
    growth: Float[Array, ""]
    """d log(smoothed) / d log|w| along the flow, which tends to 0 as the direction settles; at least 0 where the data
    are separated, NaN where `smoothed` is not positive."""
    alignment: Float[Array, ""]
    """Cosine of the angle between w and -grad L: it tends to 1, as it is at a Karush-Kuhn-Tucker point."""
    separated: Bool[Array, ""]
    """q > 0: all margins are positive and the risk is so small that they stay so."""


def margin(risk: EmpiricalRisk, params: Any) -> Margin:
    """Direction, normalised margin and its growth at `params` for a homogeneous network; works under jit and vmap.

    Of a trajectory: jax.vmap(lambda w: margin(risk, w))(flow.trajectory.params). A flow stops at its verdict, which
    is long before its direction settles; `times` take it as far as wanted, such as lf.log_times(1e-2, 1e60, 40).

    Args:
        risk: a risk with a margin loss, of a homogeneous network.
        params: its filters; their scale has no influence on direction and margin.

    Returns:
        `Margin`: direction, normalised margin and growth.

    Raises:
        RiskError: a batch of risks, a risk without a margin loss or with weight decay, or of a network that is not
            homogeneous.
        ArchitectureError: shapes of params do not fit.
    """
    if not isinstance(risk, EmpiricalRisk) or not isinstance(risk.loss, MarginLoss):
        raise RiskError("margin: the loss is none of margins: write lf.EmpiricalRisk(arch, lf.losses.Logistic(), data)")
    check_single("margin", risk, "margin(risk.condition(i), params) for each i")
    degree = homogeneity(risk.network)
    if degree is None or getattr(risk, "weight_decay", None) is not None:
        raise RiskError(
            f"margin: {risk.network!r} is not positively homogeneous, or the risk has weight decay: leave out biases "
            "and weight_decay, and write activation=None, lf.activations.relu, leaky_relu(a) or Power(p)"
        )
    risk.check_params(params)
    layers = as_params(risk.layers(params))
    return _margin(risk, ravel(layers), degree, params)


def _margin(risk: Any, vector: Float[Array, " n"], degree: float, params: Any) -> Margin:
    loss, data, least = risk.loss, risk.data, risk.least_weight
    predictions = forward(risk.network, risk.space.unravel(vector), data.inputs)[0]
    margins = loss.argument(predictions, data.targets)
    counts = jnp.ones(margins.shape[0], bool) if data.weights is None else data.weights > 0
    smallest = jnp.min(jnp.where(counts.reshape(-1, *(1,) * (margins.ndim - 1)), margins, jnp.inf))
    norm, gradient = safe_norm(vector), risk.gradient(vector)
    size = jnp.where(norm > 0, norm, 1)
    q = loss.margin(risk.value(vector) / least)
    positive = q > 0
    held = jnp.where(positive, q, 1)
    # numbers of the size of L^2, which underflow long before L does, are avoided
    unit_slope = jnp.abs(loss.derivative(held)) * least
    relative = gradient / unit_slope
    length = safe_norm(relative)
    alignment = -jnp.dot(vector / size, relative) / jnp.where(length > 0, length, 1)
    growth = length * norm / (held * jnp.where(alignment > 0, alignment, 1)) - degree
    return Margin(
        margins=margins,
        direction=jax.tree.unflatten(jax.tree.structure(params), risk.space.unravel(vector / size)),
        normalized=smallest / size**degree,
        smoothed=q / size**degree,
        growth=jnp.where(positive, growth, jnp.nan),
        alignment=alignment,
        separated=positive,
    )


def homogeneity(network: Network) -> float | None:
    """The D with f(a w) = a^D f(w) for all a > 0 and all parameters w together; None if there is none."""
    power = 1.0 if network.activation is None else network.activation.degree
    if power is None or power < 1 or (isinstance(network, Dense) and network.bias):
        return None
    degree = 0.0
    for _ in range(network.depth):
        degree = power * degree + 1
    return degree
