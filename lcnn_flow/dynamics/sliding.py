"""Flows that slide along a kink of the risk, recognised by a hidden neuron that switches again and again.

Where the gradient jumps and the flow points to the kink from both sides, the solution stays on the kink and slides
along it (Filippov 1988, Differential Equations with Discontinuous Righthand Sides). A method for smooth equations
crosses the kink back and forth instead, in steps as short as its tolerance asks, and does not come to an end. A flow
that crosses kinks on its way changes the sign of one input of an activation only a few times. Derived; the number is
chosen: flows that converged had at most 4 changes, and flows that slide have one every second step.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

__all__ = ["Switches", "count_switches", "no_switches", "slides"]

_SLIDING = 32.0
"""Number of changes of sign of one input of an activation, from which on the flow counts as sliding."""


class Switches(NamedTuple):
    """Signs of the inputs of all activations, and how often each has changed; floats, as all of diffrax's states."""

    signs: Float[Array, " k"]
    """1 where positive, otherwise 0."""
    changes: Float[Array, " k"]


def no_switches(signs: Float[Array, " k"]) -> Switches:
    """The record at the start."""
    return Switches(signs, jnp.zeros_like(signs))


def count_switches(switches: Switches, signs: Float[Array, " k"]) -> Switches:
    """The record after a step to a point with these signs."""
    return Switches(signs, switches.changes + jnp.abs(signs - switches.signs))


def slides(switches: Switches | None) -> Bool[Array, ""]:
    """Whether the flow slides along a kink; false for risks without kinks, which have no record."""
    if switches is None:
        return jnp.asarray(False)
    return jnp.max(switches.changes, initial=0) >= _SLIDING
