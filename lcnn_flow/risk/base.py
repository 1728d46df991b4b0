"""The interface of a risk, as flows and the tests of their limits use it.

`gradient_flow` needs a `RiskLike`. A `CompositeRisk` depends on its parameters through an image, as the risk of a
linear network depends on the filters through the end-to-end filter. A `LaneRisk` can run in lanes. Vectors are raveled
parameters, see `numerics.parameter_space`.
"""

from abc import abstractmethod
from typing import Any, Protocol, TypeGuard, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from lcnn_flow.errors import RiskError
from lcnn_flow.numerics.parameter_space import ParameterSpace
from lcnn_flow.numerics.pytrees import Pytree
from lcnn_flow.risk.outer import FilterRisk, PatchForm, QuadraticForm
from lcnn_flow.symmetry.base import Symmetry

__all__ = [
    "CompositeRisk",
    "LaneRisk",
    "RiskBase",
    "RiskLike",
    "check_single",
    "is_composite",
    "is_risk",
    "runs_in_lanes",
]


@runtime_checkable
class RiskLike(Protocol):
    """A differentiable function of parameters; a pytree whose data are leaves."""

    @property
    def space(self) -> ParameterSpace:
        """The parameter space; static."""
        ...

    @property
    def symmetry(self) -> Symmetry:
        """The symmetry of the risk for any data; static."""
        ...

    def __call__(self, params: PyTree) -> Float[Array, ""]:
        """The risk at parameters in the user's tree."""
        ...

    def layers(self, params: PyTree) -> tuple[Any, ...]:
        """The layers of parameters in the user's tree; leading axes are allowed."""
        ...

    def check_params(self, params: PyTree) -> None:
        """Raises an error unless `params` are a single point of the space."""
        ...

    def value(self, vector: Float[Array, " n"]) -> Float[Array, ""]:
        """L at the raveled parameters."""
        ...

    def gradient(self, vector: Float[Array, " n"]) -> Float[Array, " n"]:
        """grad L at the raveled parameters."""
        ...

    def hessian(self, vector: Float[Array, " n"]) -> Float[Array, "n n"]:
        """Hess L at the raveled parameters, symmetric."""
        ...

    @property
    def step_cost(self) -> int:
        """Approximate multiply-adds of one step of Rodas4; static."""
        ...

    @property
    def knows_scales(self) -> bool:
        """Whether `layer_scales` follow from the data; static. Otherwise the scale of the gradient is estimated from a
        flow's energy and path length."""
        ...

    def layer_scales(self, vector: Float[Array, " n"]) -> Float[Array, " N"]:
        """Size that the gradient in each layer would have without cancellation, from the data."""
        ...

    def uncancelled(self, vector: Float[Array, " n"]) -> Float[Array, " N"]:
        """The same, estimated from the effect of rounding on the gradient; used for time units and as a floor of
        tolerances."""
        ...

    def units(self, vector: Float[Array, " n"], start: Float[Array, " n"] | None) -> Float[Array, " n"]:
        """Units of the parameters in which thresholds are expressed, for a flow from `start`; all positive."""
        ...

    def parameter_scale(self, start: Float[Array, " n"]) -> Float[Array, ""]:
        """Expected size of a layer near a limit, estimated at the start; 0 if unknown."""
        ...

    def contrast(self, vector: Float[Array, " n"]) -> Float[Array, ""]:
        """Ratio, at least 1, of the length scale of the flow to the length scale on which the curvature of the risk
        changes."""
        ...

    def largest_norm(self, start: Float[Array, " n"]) -> Float[Array, ""]:
        """A proved bound on the norm of all parameters along the flow; infinite if none is known."""
        ...

    def curvature_scale(self, vector: Float[Array, " n"]) -> Float[Array, ""]:
        """Size that the Hessian, in `units`, would have without cancellation; 0 if unknown."""
        ...

    def nudged(
        self, vector: Float[Array, " n"], units: Float[Array, " n"], k: int | Array
    ) -> tuple["RiskLike", Float[Array, " n"]]:
        """Risk and parameters with every number perturbed by one unit of rounding; k = 0 perturbs nothing."""
        ...

    @property
    def has_kinks(self) -> bool:
        """Whether there are points at which the Hessian does not exist; static."""
        ...

    def distance_to_kink(self, vector: Float[Array, " n"]) -> Float[Array, ""]:
        """Distance to the nearest point at which the Hessian does not exist."""
        ...

    def activation_signs(self, vector: Float[Array, " n"]) -> Float[Array, " k"]:
        """1 where the input of an activation with a kink is positive, 0 elsewhere; empty without kinks."""
        ...

    @property
    def can_saturate(self) -> bool:
        """Whether neurons can become constant or linear within rounding, though their activation is neither; static."""
        ...

    def is_saturated(self, vector: Float[Array, " n"]) -> Bool[Array, ""]:
        """Whether some neuron is constant or linear within rounding on all samples; false if none can be."""
        ...

    def is_separated(self, vector: Float[Array, " n"]) -> Bool[Array, ""]:
        """Whether no point of at most this risk is critical, so that the parameters of the flow are not bounded."""
        ...

    def without_data(self) -> "RiskLike":
        """The same function without data that it does not need, so that less is copied."""
        ...

    def batched(self) -> "RiskLike":
        """A tree of the same structure: for every leaf, whether it has the leading axis of a batch of risks."""
        ...


@runtime_checkable
class CompositeRisk(RiskLike, Protocol):
    """A risk L = l o pi. It allows a local Polyak-Lojasiewicz test, classification by the image, and certificates."""

    @property
    def outer(self) -> PatchForm | QuadraticForm:
        """The outer function l, see `risk.outer`."""
        ...

    def image(self, vector: Float[Array, " n"]) -> Float[Array, "c q"]:
        """The image pi(w) of the raveled parameters."""
        ...

    def image_jacobian(self, vector: Float[Array, " n"]) -> Float[Array, "cq n"]:
        """The derivative of the image, with rows in the memory order of the image."""
        ...


@runtime_checkable
class LaneRisk(CompositeRisk, Protocol):
    """A risk whose flows can run in lanes; flows of other risks are integrated in lockstep."""

    def driver(self, lanes: int) -> FilterRisk:
        """The risk as a function of the end-to-end filters of `lanes` flows at once; see `lane_forms`."""
        ...


R = TypeVar("R", bound="RiskBase")


class RiskBase(Pytree):
    """Base class of risks: batches of risks, which have a leading axis on some leaves, and default scales."""

    knows_scales = False
    tested_with_older_emitter = False
    """Whether `numerics.compiling` may leave programs of this risk to XLA's older emitter."""
    has_kinks = False
    can_saturate = False

    @abstractmethod
    def leaf_ranks(self) -> list[tuple[Any, int]]:
        """Every leaf with its rank in a single risk."""

    def layer_scales(self, vector: Float[Array, "n ..."]) -> Float[Array, "N ..."]:
        """Size that the gradient in each layer would have without cancellation; by default `uncancelled`."""
        return self.uncancelled(vector)

    def uncancelled(self, vector: Float[Array, " n"]) -> Float[Array, " N"]:
        """Norm of the gradient in each layer plus its change under a nudge, divided by the rounding unit.

        The change in units of rounding estimates the size of the terms that cancel in the gradient.
        """
        risk: Any = self
        gradient, (other, moved) = risk.gradient(vector), risk.nudged(vector, risk.units(vector, None), 1)
        change = risk.space.norms(other.gradient(moved) - gradient)
        return risk.space.norms(gradient) + change / jnp.finfo(vector.dtype).eps

    def distance_to_kink(self, vector: Float[Array, " n"]) -> Float[Array, ""]:
        """Distance to the nearest point at which the Hessian does not exist; infinite if it exists everywhere."""
        return jnp.asarray(jnp.inf, vector.dtype)

    def activation_signs(self, vector: Float[Array, " n"]) -> Float[Array, " k"]:
        """1 where the input of an activation with a kink is positive, 0 elsewhere; empty without kinks."""
        return jnp.zeros((0,), vector.dtype)

    def is_saturated(self, vector: Float[Array, " n"]) -> Bool[Array, ""]:
        """Whether some neuron is constant or linear within rounding on all samples; false if none can be."""
        del vector
        return jnp.asarray(False)

    def is_separated(self, vector: Float[Array, "n ..."]) -> Bool[Array, "..."]:
        """Whether no point of at most this risk is critical; false where that is not known."""
        return jnp.zeros(vector.shape[1:], bool)

    @property
    def num_conditions(self) -> int | None:
        """Length of the leading axis of a batch of risks; None for a single risk.

        Raises:
            RiskError: leading axes of leaves have different lengths.
        """
        ranks = self.leaf_ranks()
        lengths = {leaf.shape[0] for leaf, rank in ranks if jnp.ndim(leaf) == rank + 1}
        if any(jnp.ndim(leaf) > rank + 1 for leaf, rank in ranks) or len(lengths) > 1:
            raise RiskError(f"a batch of risks needs one leading axis of one length, not lengths {sorted(lengths)}")
        return lengths.pop() if lengths else None

    def batched(self: R) -> R:
        """A tree of the same structure: for every leaf, whether it has the leading axis of a batch of risks."""
        flags = [jnp.ndim(leaf) > rank for leaf, rank in self.leaf_ranks()]
        return jax.tree.unflatten(jax.tree.structure(self), flags)

    def condition(self: R, number: int) -> R:
        """The risk with this number from a batch of risks."""
        leaves = [leaf[number] if jnp.ndim(leaf) > rank else leaf for leaf, rank in self.leaf_ranks()]
        return jax.tree.unflatten(jax.tree.structure(self), leaves)


def is_risk(value: object) -> bool:
    """Whether a value implements `RiskLike`."""
    return hasattr(value, "space")


def check_single(function: str, risk: Any, remedy: str) -> None:
    """Raises RiskError for a batch of risks; `remedy` says what to write instead."""
    if (conditions := risk.num_conditions) is not None:
        raise RiskError(f"{function}: risk is a batch of {conditions} risks, but one is needed: write {remedy}")


def is_composite(risk: object) -> TypeGuard[CompositeRisk]:
    """Whether a risk implements `CompositeRisk`."""
    return hasattr(type(risk), "image_jacobian")


def runs_in_lanes(risk: object) -> bool:
    """Whether a risk implements `LaneRisk`."""
    return hasattr(type(risk), "driver")
