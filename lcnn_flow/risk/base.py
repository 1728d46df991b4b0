"""What flows and the tests of their ends ask of a risk, whatever it is a function of.

`RiskLike` is all that `gradient_flow` needs; `CompositeRisk` is a risk that depends on its parameters through an image,
as that of a linear network does through the end-to-end filter; `LaneRisk` may run in lanes. Vectors are raveled
parameters, see `numerics.parameter_space`.
"""

from abc import abstractmethod
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lcnn_flow.errors import RiskError
from lcnn_flow.numerics.parameter_space import ParameterSpace
from lcnn_flow.numerics.pytrees import Pytree
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
        """Static: what the parameters are."""
        ...

    @property
    def symmetry(self) -> Symmetry:
        """Static: what leaves the risk unchanged whatever the data."""
        ...

    def __call__(self, params: Any) -> Float[Array, ""]:
        """The risk at parameters in the user's tree."""
        ...

    def layers(self, params: Any) -> tuple[Any, ...]:
        """The layers of parameters in the user's tree, which may have leading axes."""
        ...

    def check_params(self, params: Any) -> None:
        """Raises where `params` are not one point of the space."""
        ...

    def value(self, vector: Float[Array, " n"]) -> Float[Array, ""]:
        """L."""
        ...

    def gradient(self, vector: Float[Array, " n"]) -> Float[Array, " n"]:
        """grad L."""
        ...

    def hessian(self, vector: Float[Array, " n"]) -> Float[Array, "n n"]:
        """Hess L, symmetric."""
        ...

    @property
    def knows_scales(self) -> bool:
        """Static: whether `layer_scales` are known; if not, a flow's energy and path length tell its gradient's."""
        ...

    def layer_scales(self, vector: Float[Array, " n"]) -> Float[Array, " N"]:
        """Size of the gradient in each layer if nothing cancelled, from the data."""
        ...

    def uncancelled(self, vector: Float[Array, " n"]) -> Float[Array, " N"]:
        """The same, from what rounding does to it: the units of time, and a floor of tolerances."""
        ...

    def units(self, vector: Float[Array, " n"], start: Float[Array, " n"] | None) -> Float[Array, " n"]:
        """Units of the parameters in which thresholds are meant, for a flow from `start`; all positive."""
        ...

    def parameter_scale(self, start: Float[Array, " n"]) -> Float[Array, ""]:
        """Size of a layer near a limit, as far as it is known at the start; 0 where nothing is."""
        ...

    def contrast(self, vector: Float[Array, " n"]) -> Float[Array, ""]:
        """How much shorter the scale on which the risk bends is than that of the flow; at least 1."""
        ...

    def largest_norm(self, start: Float[Array, " n"]) -> Float[Array, ""]:
        """A proved bound on the norm of all parameters along the flow; infinite where none is known."""
        ...

    def curvature_scale(self, vector: Float[Array, " n"]) -> Float[Array, ""]:
        """Size of the Hessian in `units` if nothing cancelled; 0 where it is not known."""
        ...

    def nudged(
        self, vector: Float[Array, " n"], units: Float[Array, " n"], k: Any
    ) -> tuple["RiskLike", Float[Array, " n"]]:
        """Risk and parameters with every number changed by one unit of rounding; k = 0 changes nothing."""
        ...

    @property
    def has_kinks(self) -> bool:
        """Static: whether there are points where the Hessian does not exist."""
        ...

    def distance_to_kink(self, vector: Float[Array, " n"]) -> Float[Array, ""]:
        """Distance to the nearest of them."""
        ...

    def without_data(self) -> "RiskLike":
        """The same function without what it does not need: less to copy around."""
        ...

    def batched(self) -> "RiskLike":
        """In place of every leaf whether it carries the axis of a batch of risks."""
        ...


@runtime_checkable
class CompositeRisk(RiskLike, Protocol):
    """L = l o pi: local Polyak-Lojasiewicz test, classification by the image, certificates."""

    @property
    def outer(self) -> Any:
        """l, see `risk.outer`."""
        ...

    def image(self, vector: Float[Array, " n"]) -> Float[Array, "c q"]:
        """pi."""
        ...

    def image_jacobian(self, vector: Float[Array, " n"]) -> Float[Array, "cq n"]:
        """Its derivative, rows in the memory order of the image."""
        ...


@runtime_checkable
class LaneRisk(CompositeRisk, Protocol):
    """A risk whose flows may run side by side in lanes; others are integrated in lockstep."""

    def driver(self, lanes: int) -> Any:
        """What drives so many flows side by side, see `lane_forms`."""
        ...


R = TypeVar("R", bound="RiskBase")


class RiskBase(Pytree):
    """Batches of risks, which have a leading axis on some of the leaves, and scales where none are known."""

    knows_scales = False
    has_kinks = False

    @abstractmethod
    def leaf_ranks(self) -> list[tuple[Any, int]]:
        """Every leaf with the rank it has in a single risk."""

    def layer_scales(self, vector: Float[Array, "n ..."]) -> Float[Array, "N ..."]:
        """Size of the gradient in each layer if nothing cancelled; `uncancelled` where nothing better is known."""
        return self.uncancelled(vector)

    def uncancelled(self, vector: Float[Array, " n"]) -> Float[Array, " N"]:
        """The gradient in each layer, and its change under a nudge in units of rounding: what there is to cancel."""
        risk: Any = self
        slope, (other, moved) = risk.gradient(vector), risk.nudged(vector, risk.units(vector, None), 1)
        change = risk.space.norms(other.gradient(moved) - slope)
        return risk.space.norms(slope) + change / jnp.finfo(vector.dtype).eps

    def distance_to_kink(self, vector: Float[Array, " n"]) -> Float[Array, ""]:
        """Distance to the nearest point where the Hessian does not exist; infinite where it exists everywhere."""
        return jnp.asarray(jnp.inf, vector.dtype)

    @property
    def num_conditions(self) -> int | None:
        """Length of the leading axis that leaves carry in a batch of risks; None for a single risk.

        Raises:
            RiskError: leaves with leading axes of different lengths.
        """
        ranks = self.leaf_ranks()
        lengths = {leaf.shape[0] for leaf, rank in ranks if jnp.ndim(leaf) == rank + 1}
        if any(jnp.ndim(leaf) > rank + 1 for leaf, rank in ranks) or len(lengths) > 1:
            raise RiskError(f"a batch of risks needs one leading axis of one length, not lengths {sorted(lengths)}")
        return lengths.pop() if lengths else None

    def batched(self: R) -> R:
        """In place of every leaf whether it carries the axis of a batch of risks."""
        flags = [jnp.ndim(leaf) > rank for leaf, rank in self.leaf_ranks()]
        return jax.tree.unflatten(jax.tree.structure(self), flags)

    def condition(self: R, number: int) -> R:
        """One risk of a batch of risks."""
        leaves = [leaf[number] if jnp.ndim(leaf) > rank else leaf for leaf, rank in self.leaf_ranks()]
        return jax.tree.unflatten(jax.tree.structure(self), leaves)


def is_risk(value: Any) -> bool:
    """Whether a value has the parts of a `RiskLike`."""
    return hasattr(value, "space")


def check_single(function: str, risk: Any, remedy: str) -> None:
    """Raises RiskError for a batch of risks; `remedy` says what to write."""
    if (conditions := risk.num_conditions) is not None:
        raise RiskError(f"{function}: a batch of {conditions} risks, and one is needed: write {remedy}")


def is_composite(risk: Any) -> bool:
    """Whether a risk is a `CompositeRisk`."""
    return hasattr(type(risk), "image_jacobian")


def runs_in_lanes(risk: Any) -> bool:
    """Whether a risk is a `LaneRisk`."""
    return hasattr(type(risk), "driver")
