"""Whether flows from slightly perturbed starts reach the same limit.

In floating point a start on the stable manifold of a saddle, or close to the boundary between two basins, leaves it on
a side that rounding errors select. A single flow does not show this, because along a slow stable direction its gradient
need not become small; two flows from opposite sides of the start do. A limit of a function known only through its
values is therefore claimed only if both flows end there and close to each other. On a manifold of limits their distance
also measures how much an error during the flow affects the limit.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lcnn_flow.dynamics.field import FieldArguments, default_function_rtol
from lcnn_flow.flow.state import End
from lcnn_flow.limits.verdict import Verdict

__all__ = ["is_insensitive", "twin_rtol", "twin_start"]

_APART = 1 / 3
"""Distance of the starts, in units of the square root of the rounding unit and of the parameters: 5e-9 in float64."""
_TOGETHER = 600.0
"""Largest allowed distance of the ends in the same units: errors during the flow are amplified 600 times at most."""
_ISOLATED, _PLACED = 0.1, 1e-4
"""Largest allowed distance from the limit, in units of each layer's norm: for an isolated limit, and for a limit whose
position must be determined."""


def twin_start(args: FieldArguments, start: Float[Array, " n"], side: Array) -> Float[Array, " n"]:
    """The perturbed start on one side, -1 or 1, of the start of a flow."""
    direction = jnp.sqrt(2) * jnp.cos(2.3 * jnp.arange(start.size, dtype=start.dtype) + 0.7)  # along no symmetry
    return start + side * _size(start) * args.risk.units(start, None) * direction


def twin_rtol(args: FieldArguments) -> Float[Array, ""]:
    """Relative local error tolerance of flows from perturbed starts."""
    return jnp.minimum(args.rtol, default_function_rtol(args.rtol.dtype))


def is_insensitive(
    args: FieldArguments, start: Float[Array, " n"], end: End, ends: Float[Array, "2 n"]
) -> Bool[Array, ""]:
    """Whether flows from both sides of the start reach the limit; true if no convergence is claimed.

    Args:
        args: risk and tolerances.
        start: the parameters between the perturbed starts.
        end: end of the flow from there.
        ends: where the flows from the perturbed starts are at the time of `end`.
    """
    claimed = end.verdict == int(Verdict.CONVERGED)
    size, (below, above) = _size(start), ends
    lengths = args.risk.units(end.limit, start)

    def apart(one: Array, other: Array) -> Array:
        return jnp.linalg.norm((one - other) / lengths)

    placed = jnp.maximum(_PLACED, _TOGETHER * size)
    together = apart(below, above) <= 2 * jnp.where(end.isolated, placed, _TOGETHER * size)
    furthest = jnp.maximum(apart(below, end.limit), apart(above, end.limit))
    there = furthest <= jnp.where(end.isolated, _ISOLATED, placed + _TOGETHER * size)
    return ~claimed | (together & there)


def _size(start: Float[Array, " n"]) -> Array:
    return _APART * jnp.sqrt(jnp.finfo(start.dtype).eps)
