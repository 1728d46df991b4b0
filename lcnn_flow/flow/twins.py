"""Whether a flow ends where its neighbours end: flows from starts that differ by far less than anyone would notice.

A start on the stable manifold of a saddle, or close to the boundary of two basins, leaves it in floating point on a
side that rounding chose, and no single flow shows it: along a slow stable direction its gradient never is small. Two
flows from starts on opposite sides of it do. So a limit is claimed of a function of which nothing is known only where
they end there and together; on a manifold of limits that tells too how much of an error on the way is left in it.
"""

import dataclasses
from typing import Any

import diffrax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from lcnn_flow.dynamics.field import FieldArguments, blind_rtol
from lcnn_flow.dynamics.settings import FlowSettings
from lcnn_flow.flow.integration import Span, integrate
from lcnn_flow.limits.verdict import Verdict

__all__ = ["is_insensitive"]

_APART = 1 / 3
"""Distance of the starts, in units of the root of rounding and of parameters: 5e-9 in float64."""
_TOGETHER = 600.0
"""How close their ends must be to each other, in the same: an error on the way is left 600 times as large at most."""
_ISOLATED, _PLACED = 0.1, 1e-4
"""How close to the limit, in units of each layer's norm, where it is isolated, and where its place is to be known."""


def is_insensitive(
    args: FieldArguments, begin: Span, end: Any, atol: Float[Array, " n"], settings: FlowSettings
) -> Bool[Array, ""]:
    """Whether the flows from both sides of a start end where it does; true where no convergence is claimed.

    Args:
        args: risk and tolerances.
        begin: the start.
        end: of the flow from there, with `vector`, `limit`, `time`, `verdict` and `isolated`.
        atol: local error tolerance of the loose round.
        settings: everything else.
    """
    risk, start = args.risk, begin.vector
    units, dtype = risk.units(start, None), start.dtype
    claimed = end.verdict == int(Verdict.CONVERGED)
    size = _APART * jnp.sqrt(jnp.finfo(dtype).eps)
    rtol = jnp.minimum(args.rtol, blind_rtol(dtype))
    settings = dataclasses.replace(settings, adjoint=diffrax.ForwardMode())
    aside = jnp.sqrt(2) * jnp.cos(2.3 * jnp.arange(start.size, dtype=dtype) + 0.7)  # no direction of any symmetry
    until = jnp.where(claimed, end.time, begin.time)

    def flow(side: Array) -> Array:
        beside = begin._replace(vector=start + side * size * units * aside)
        return integrate(args, beside, until, settings, rtol, atol * rtol / args.rtol)[0].vector

    # one after the other: side by side, Hessians of networks cost three times as much on a CPU
    below, above = lax.stop_gradient(lax.map(flow, jnp.asarray([-1.0, 1.0], dtype)))
    lengths = risk.units(end.limit, start)

    def apart(one: Array, other: Array) -> Array:
        return jnp.linalg.norm((one - other) / lengths)

    placed = jnp.maximum(_PLACED, _TOGETHER * size)
    together = apart(below, above) <= 2 * jnp.where(end.isolated, placed, _TOGETHER * size)
    furthest = jnp.maximum(apart(below, end.limit), apart(above, end.limit))
    there = furthest <= jnp.where(end.isolated, _ISOLATED, placed + _TOGETHER * size)
    return ~claimed | (together & there)
