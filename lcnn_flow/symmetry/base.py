"""The interface of a symmetry of the parameters, as flows and the tests of their limits use it.

Gradient flow conserves one quantity for each continuous symmetry of the risk. It stays on the set where all of these
are constant, which is called its leaf. A discrete symmetry keeps parameters equal that are equal at the start.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Array, Float, Int

__all__ = ["Symmetry"]


@runtime_checkable
class Symmetry(Protocol):
    """A continuous group that leaves the risk unchanged, and discrete symmetries; static and hashable.

    Vectors are raveled parameters.
    """

    @property
    def isolates(self) -> bool:
        """Whether a critical point can be isolated on its leaf; false if part of the group acts within the leaf."""
        ...

    def conserved(self, vector: Float[Array, "n ..."]) -> Float[Array, "d ..."]:
        """The conserved quantities."""
        ...

    def leaf_levels(self, vector: Float[Array, " n"]) -> Float[Array, " m"]:
        """Numbers that determine the leaf through a point: conserved quantities, or terms whose differences are
        conserved."""
        ...

    def leaf_chain(self, vector: Float[Array, " n"]) -> Int[Array, " k"]:
        """An order of the levels in which `leaf_values` loses the fewest digits to rounding."""
        ...

    def leaf_values(self, levels: Float[Array, " m"], chain: Int[Array, " k"]) -> Float[Array, " d"]:
        """The conserved quantities, from the levels of a leaf; from differences of levels, the offsets from a leaf."""
        ...

    def directions(self, vector: Float[Array, " n"]) -> Float[Array, "n e"]:
        """Directions along which the group moves a point, one per column; they may be linearly dependent."""
        ...

    def equal(self, vector: Float[Array, " n"]) -> Float[Array, "N N"]:
        """Signs (l, m): 1 or -1 if a discrete symmetry makes layers l and m equal or opposite, otherwise those of the
        identity."""
        ...

    def keep(self, vector: Float[Array, " n"], equal: Float[Array, "N N"]) -> Float[Array, " n"]:
        """The point in which layers that are equal according to `equal` are made equal bit for bit."""
        ...
