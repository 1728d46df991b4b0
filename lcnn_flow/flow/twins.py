"""Whether flows from slightly perturbed starts reach the same limit.

In floating point a start on the stable manifold of a saddle, or close to the boundary between two basins, leaves it on
a side that rounding errors select. A single flow does not show this, because along a slow stable direction its gradient
need not become small; two flows from opposite sides of the start do. A limit of a function known only through its
values is therefore claimed only if both flows end there and close to each other. On a manifold of limits their distance
also measures how much an error during the flow affects the limit.
"""

import dataclasses
from typing import Any

import diffrax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from lcnn_flow.dynamics.field import FieldArguments, default_function_rtol
from lcnn_flow.dynamics.settings import FlowSettings
from lcnn_flow.flow.integration import Span, integrate
from lcnn_flow.limits.verdict import Verdict

__all__ = ["is_insensitive"]

_APART = 1 / 3
"""Distance of the starts, in units of the square root of the rounding unit and of the parameters: 5e-9 in float64."""
_TOGETHER = 600.0
"""Largest allowed distance of the ends in the same units: errors during the flow are amplified 600 times at most."""
_ISOLATED, _PLACED = 0.1, 1e-4
"""Largest allowed distance from the limit, in units of each layer's norm: for an isolated limit, and for a limit whose
position must be determined."""


def is_insensitive(
    args: FieldArguments, begin: Span, end: Any, atol: Float[Array, " n"], settings: FlowSettings
) -> Bool[Array, ""]:
    """Whether flows from both sides of the start reach the limit; true if no convergence is claimed.

    Args:
        args: risk and tolerances.
        begin: state at the start.
        end: end of the flow from there, with `vector`, `limit`, `time`, `verdict` and `isolated`.
        atol: absolute local error tolerance of the first round of integration.
        settings: all other settings.
    """
    risk, start = args.risk, begin.vector
    units, dtype = risk.units(start, None), start.dtype
    claimed = end.verdict == int(Verdict.CONVERGED)
    size = _APART * jnp.sqrt(jnp.finfo(dtype).eps)
    rtol = jnp.minimum(args.rtol, default_function_rtol(dtype))
    settings = dataclasses.replace(settings, adjoint=diffrax.ForwardMode())
    direction = jnp.sqrt(2) * jnp.cos(2.3 * jnp.arange(start.size, dtype=dtype) + 0.7)  # generic: not along a symmetry
    until = jnp.where(claimed, end.time, begin.time)

    def flow(side: Array) -> Array:
        shifted = begin._replace(vector=start + side * size * units * direction)
        return integrate(args, shifted, until, settings, rtol, atol * rtol / args.rtol).vector

    # sequentially, because under vmap Hessians of networks cost three times as much on a CPU
    below, above = lax.stop_gradient(lax.map(flow, jnp.asarray([-1.0, 1.0], dtype)))
    lengths = risk.units(end.limit, start)

    def apart(one: Array, other: Array) -> Array:
        return jnp.linalg.norm((one - other) / lengths)

    placed = jnp.maximum(_PLACED, _TOGETHER * size)
    together = apart(below, above) <= 2 * jnp.where(end.isolated, placed, _TOGETHER * size)
    furthest = jnp.maximum(apart(below, end.limit), apart(above, end.limit))
    there = furthest <= jnp.where(end.isolated, _ISOLATED, placed + _TOGETHER * size)
    return ~claimed | (together & there)
