"""A symmetry declared by the user, in terms of the tree of parameters.

c is conserved by the gradient flow of L if and only if <grad c, grad L> = 0, that is, if and only if L is constant
along the flow of grad c. The gradients of conserved quantities are therefore directions of the symmetry. There may be
further directions without a conserved quantity of their own, such as the rotations of a factorisation U V^T. Derived.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from lcnn_flow.arguments import described
from lcnn_flow.errors import FlowError
from lcnn_flow.numerics.arrays import DType
from lcnn_flow.numerics.parameter_space import ParameterSpace
from lcnn_flow.symmetry.none import NoSymmetry

__all__ = ["Declared"]


@dataclass(frozen=True)
class Declared(NoSymmetry):
    """Conserved quantities of a gradient flow, and the symmetry directions that they belong to.

    The declaration is checked at the start of a flow and at its limit, and a false declaration is an error. A list of
    directions may be incomplete: the limit is then not isolated, which the tests of the limit detect.

    Args:
        conserved: params -> an array, or a tree of arrays; for U V^T: U^T U - V^T V.
        directions: params -> a list of trees like params, along each of which the risk is constant. The gradients of
            `conserved` are added to them, and are the only directions if it is None.
    """

    conserved_of: Callable[[PyTree], PyTree]
    directions_of: Callable[[PyTree], list[PyTree]] | None
    space: ParameterSpace | None

    def __init__(
        self, conserved: Callable[[PyTree], PyTree], directions: Callable[[PyTree], list[PyTree]] | None = None
    ) -> None:
        for name, value in (("conserved", conserved), ("directions", directions)):
            if not callable(value) and (value is not None or name == "conserved"):
                raise FlowError(f"Declared: {name} is {described(value)}: write a function of params")
        object.__setattr__(self, "conserved_of", conserved)
        object.__setattr__(self, "directions_of", directions)
        object.__setattr__(self, "space", None)

    @property
    def isolates(self) -> bool:
        """Whether a limit can be isolated on its leaf; false if directions are listed in addition to the gradients."""
        return self.directions_of is None

    def on(self, space: ParameterSpace, dtype: DType) -> "Declared":
        """The same symmetry for raveled parameters.

        Raises:
            FlowError: a function cannot be evaluated at the parameters.
        """
        bound = Declared(self.conserved_of, self.directions_of)
        object.__setattr__(bound, "space", space)
        vector = jax.ShapeDtypeStruct((space.num_parameters,), dtype)
        for name, function in (("conserved", bound.conserved), ("directions", bound.directions)):
            try:
                jax.eval_shape(function, vector)
            except FlowError:
                raise
            except Exception as error:
                raise FlowError(f"Declared: {name} cannot be evaluated at params: {error}") from error
        return bound

    def conserved(self, vector: Float[Array, " n"]) -> Float[Array, " d"]:
        """All conserved quantities as one vector."""
        assert self.space is not None
        return ravel_pytree(self.conserved_of(self.space.tree(self.space.unravel(vector))))[0].astype(vector.dtype)

    def directions(self, vector: Float[Array, " n"]) -> Float[Array, "n e"]:
        """The gradients of the conserved quantities, followed by the listed directions."""
        assert self.space is not None
        columns = jax.jacrev(self.conserved)(vector).T
        if self.directions_of is None:
            return columns
        listed = self.directions_of(self.space.tree(self.space.unravel(vector)))
        if not isinstance(listed, list):
            raise FlowError(f"Declared: directions returned {described(listed)}: write a list of trees like params")
        further = [jnp.concatenate([jnp.ravel(x) for x in self.space.moving(tree)]) for tree in listed]
        return jnp.concatenate([columns, *(x[:, None].astype(vector.dtype) for x in further)], axis=1)
