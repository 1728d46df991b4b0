"""The interface of a loss rho(r) of a residual r, or of a margin, and the properties that the theory requires."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Real

from lcnn_flow.errors import LossError
from lcnn_flow.numerics.arrays import is_concrete
from lcnn_flow.numerics.pytrees import Pytree

__all__ = ["Loss", "LossTheory"]


@dataclass(frozen=True)
class LossTheory:
    """Properties of a loss with concrete parameters, on the host; `None` where a property is not known.

    Attributes:
        analytic: rho is real analytic on the whole line.
        convex: rho is convex.
        coercive: rho(r) -> infinity as |r| -> infinity.
        smoothness: the smoothness class of rho in words, for example "analytic" or "C^1".
        remark: a consequence worth knowing, or "".
        definable: rho is definable in an o-minimal structure; follows from `analytic` for the losses here.
    """

    analytic: bool | None
    convex: bool | None
    coercive: bool | None
    smoothness: str = "unknown"
    remark: str = ""
    definable: bool | None = None


class Loss(Pytree):
    """A loss: `loss(r)` is rho(r), elementwise on an array of any shape, in the dtype of r; rho is nowhere negative."""

    name: ClassVar[str]
    """Identifier of the kind of loss, its key in `LOSSES`."""
    parameters: ClassVar[tuple[str, ...]] = ()
    """Names of the constructor's numbers."""

    @abstractmethod
    def __call__(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        """rho(r)."""

    @abstractmethod
    def derivative(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        """rho'(r)."""

    @abstractmethod
    def second_derivative(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        """rho''(r)."""

    def argument(self, prediction: Float[Array, "..."], target: Float[Array, "..."]) -> Float[Array, "..."]:
        """The argument of rho: the residual, prediction - target."""
        return prediction - target

    def largest_slope(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Largest |rho'| up to |r|, elementwise, for r >= 0; rho'(r) unless rho' falls off."""
        return self.derivative(r)

    def largest_curvature(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Size of rho'' up to |r|, elementwise, for r >= 0; rho''(r) unless it changes sign."""
        return self.second_derivative(r)

    def largest_residual(self, value: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Largest |r| with rho(r) <= value, elementwise, for values >= 0: the inverse of rho on r >= 0. Derived.

        Raises:
            LossError: a loss without a formula for it.
        """
        raise LossError(f"{type(self).__name__} has no formula for its largest residual: use a loss of losses.LOSSES")

    @property
    @abstractmethod
    def theory(self) -> LossTheory:
        """The known properties of this loss; on the host, for concrete parameters."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={_shown(getattr(self, n))}' for n in self.parameters)})"


def _shown(value: Any) -> str:
    """A parameter as text; for a batch of parameters its shape."""
    if callable(value):
        return getattr(value, "__name__", repr(value))
    if not is_concrete(value):
        return "traced"
    return repr(float(value)) if np.ndim(value) == 0 else f"array of shape {np.shape(value)}"
