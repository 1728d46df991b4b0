"""A risk of which nothing is known beyond its values: what flows and the tests of their ends ask is computed from them.

Gradient and Hessian are those of automatic differentiation, the scale of the gradient is told by the flow, and what the
Hessian leaves flat near a limit is probed there (`limits.kernel_probe`).
"""

from abc import abstractmethod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from lcnn_flow.numerics.norms import safe_norm
from lcnn_flow.numerics.parameter_space import ParameterSpace
from lcnn_flow.risk.base import RiskBase

__all__ = ["AutodiffRisk"]

_COLUMNS = 256
"""Columns of a Hessian that are computed at once."""


class AutodiffRisk(RiskBase):
    """The parts of a `RiskLike` that follow from `value` and `space`."""

    @abstractmethod
    def value(self, vector: Float[Array, " n"]) -> Float[Array, ""]:
        """L at raveled parameters."""

    def gradient(self, vector: Float[Array, " n"]) -> Float[Array, " n"]:
        """grad L at raveled parameters."""
        return jax.grad(self.value)(vector)

    def hessian(self, vector: Float[Array, " n"]) -> Float[Array, "n n"]:
        """Hess L at raveled parameters, symmetric; columns in chunks."""
        _, push = jax.linearize(self.gradient, vector)
        identity = jnp.eye(vector.size, dtype=vector.dtype)
        columns = jax.vmap(push)(identity) if vector.size <= _COLUMNS else lax.map(push, identity, batch_size=_COLUMNS)
        return (columns + columns.T) / 2

    def units(self, vector: Float[Array, " n"], start: Any = None) -> Float[Array, " n"]:
        """Norm of each layer, now or at the start of the flow, the larger; of all where a layer is 0; 1 if all are."""
        risk: Any = self
        space: ParameterSpace = risk.space
        norms = space.norms(vector)
        if start is not None:
            norms = jnp.maximum(norms, space.norms(start))
        largest = jnp.max(norms)
        largest = jnp.where(largest > 0, largest, 1)
        return space.spread(jnp.where(norms > jnp.finfo(vector.dtype).eps ** 0.75 * largest, norms, largest))

    def parameter_scale(self, start: Float[Array, " n"]) -> Float[Array, ""]:
        """The step of steepest descent at the start to where a quadratic function would be least."""
        slope, bent = jax.jvp(self.gradient, (start,), (self.gradient(start),))
        size = safe_norm(bent)
        return jnp.where(size > 0, safe_norm(slope) ** 2 / jnp.where(size > 0, size, 1), 0)

    def contrast(self, vector: Float[Array, " n"]) -> Float[Array, ""]:
        """1: nothing is known."""
        return jnp.ones((), vector.dtype)

    def largest_norm(self, start: Float[Array, " n"]) -> Float[Array, ""]:
        """Infinite: nothing is known."""
        return jnp.asarray(jnp.inf, start.dtype)

    def curvature_scale(self, vector: Float[Array, " n"]) -> Float[Array, ""]:
        """0: nothing is known."""
        return jnp.zeros((), vector.dtype)

    def without_data(self) -> Any:
        """The risk as it is: its data are the function."""
        return self
