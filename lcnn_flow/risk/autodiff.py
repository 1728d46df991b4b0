"""A risk known only through its values: the quantities that flows and the tests of their limits need are derived from
them.

Gradient and Hessian are computed by automatic differentiation. The scale of the gradient is estimated from the flow,
and directions near a limit in which the Hessian is flat are probed numerically (`limits.kernel_probe`).
"""

from abc import abstractmethod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from lcnn_flow.numerics.compiling import traced_once
from lcnn_flow.numerics.norms import safe_norm
from lcnn_flow.numerics.parameter_space import ParameterSpace
from lcnn_flow.risk.base import RiskBase

__all__ = ["AutodiffRisk"]

_COLUMNS = 256
"""Number of Hessian columns that are computed at once."""


class AutodiffRisk(RiskBase):
    """The parts of a `RiskLike` that can be derived from `value` and `space`."""

    @abstractmethod
    def value(self, vector: Float[Array, " n"]) -> Float[Array, ""]:
        """L at the raveled parameters."""

    @traced_once
    def gradient(self, vector: Float[Array, " n"]) -> Float[Array, " n"]:
        """grad L at the raveled parameters."""
        return jax.grad(self.value)(vector)

    @traced_once
    def hessian(self, vector: Float[Array, " n"]) -> Float[Array, "n n"]:
        """Hess L at the raveled parameters, symmetric; columns are computed in chunks."""
        _, push = jax.linearize(self.gradient, vector)
        identity = jnp.eye(vector.size, dtype=vector.dtype)
        columns = jax.vmap(push)(identity) if vector.size <= _COLUMNS else lax.map(push, identity, batch_size=_COLUMNS)
        return (columns + columns.T) / 2

    def units(self, vector: Float[Array, " n"], start: Float[Array, "n ..."] | None = None) -> Float[Array, " n"]:
        """The norm of each layer, repeated per entry: the larger of the present norm and the norm at the start of the
        flow.

        Layers whose norm is (almost) zero get the largest norm of all layers, or 1 if all are zero.
        """
        risk: Any = self
        space: ParameterSpace = risk.space
        norms = space.norms(vector)
        if start is not None:
            norms = jnp.maximum(norms, space.norms(start))
        largest = jnp.max(norms)
        largest = jnp.where(largest > 0, largest, 1)
        return space.per_entry(jnp.where(norms > jnp.finfo(vector.dtype).eps ** 0.75 * largest, norms, largest))

    def parameter_scale(self, start: Float[Array, " n"]) -> Float[Array, ""]:
        """Length of the steepest-descent step from the start to the minimum of the quadratic model of the risk."""
        gradient, product = jax.jvp(self.gradient, (start,), (self.gradient(start),))
        size = safe_norm(product)
        return jnp.where(size > 0, safe_norm(gradient) ** 2 / jnp.where(size > 0, size, 1), 0)

    def contrast(self, vector: Float[Array, " n"]) -> Float[Array, ""]:
        """1, because the contrast is not known."""
        return jnp.ones((), vector.dtype)

    def largest_norm(self, start: Float[Array, " n"]) -> Float[Array, ""]:
        """Infinity, because no bound is known."""
        return jnp.asarray(jnp.inf, start.dtype)

    def curvature_scale(self, vector: Float[Array, " n"]) -> Float[Array, ""]:
        """0, because the size of the Hessian without cancellation is not known."""
        return jnp.zeros((), vector.dtype)

    def without_data(self) -> Any:
        """The risk itself: its data are part of the function."""
        return self
