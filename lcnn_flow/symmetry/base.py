"""What a symmetry of the parameters offers to flows and to the tests of their ends.

Gradient flow conserves a quantity for every continuous symmetry of the risk: it stays on a leaf, where all of them are
constant. A discrete symmetry keeps parameters equal that start equal.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Array, Float, Int

__all__ = ["Symmetry"]


@runtime_checkable
class Symmetry(Protocol):
    """A continuous group that leaves the risk unchanged, and the discrete symmetries beside it; static and hashable.

    Vectors are raveled parameters.
    """

    @property
    def isolates(self) -> bool:
        """Whether a critical point can be isolated on its leaf: not where a part of the group survives there."""
        ...

    def conserved(self, vector: Float[Array, "n ..."]) -> Float[Array, "d ..."]:
        """The conserved quantities."""
        ...

    def leaf_levels(self, vector: Float[Array, " n"]) -> Float[Array, " m"]:
        """Numbers that pick the leaf through a point: the conserved quantities are differences of them, or they."""
        ...

    def leaf_chain(self, vector: Float[Array, " n"]) -> Int[Array, " k"]:
        """An order of the levels in which rounding does least harm to `leaf_values`."""
        ...

    def leaf_values(self, levels: Float[Array, " m"], chain: Int[Array, " k"]) -> Float[Array, " d"]:
        """The conserved quantities of a leaf, or offsets from it, from its levels or their differences."""
        ...

    def directions(self, vector: Float[Array, " n"]) -> Float[Array, "n e"]:
        """Directions along which the group moves a point, one per column; they may be dependent."""
        ...

    def equal(self, vector: Float[Array, " n"]) -> Float[Array, "N N"]:
        """Which layers are equal, or opposite, by a discrete symmetry: 1 or -1, the identity where none are."""
        ...

    def keep(self, vector: Float[Array, " n"], equal: Float[Array, "N N"]) -> Float[Array, " n"]:
        """The point with what `equal` says made equal bit for bit."""
        ...
