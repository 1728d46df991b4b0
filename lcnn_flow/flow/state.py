"""The state of the search for a limit, from round to round, and its result."""

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from lcnn_flow.dynamics.recording import Record
from lcnn_flow.flow.integration import Span, without_table
from lcnn_flow.limits.curvature import Curvature
from lcnn_flow.limits.verdict import Reason, Verdict

__all__ = ["End", "Search", "blank_search", "select", "withhold_unless"]

T = TypeVar("T")


class End(NamedTuple):
    """The end of a flow, and the results of the tests there."""

    vector: Float[Array, " n"]
    record: Record
    time: Float[Array, ""]
    steps: Int[Array, ""]
    gradient_norm: Float[Array, ""]
    tolerance: Float[Array, ""]
    limit: Float[Array, " n"]
    polish_distance: Float[Array, ""]
    curvature: Curvature
    isolated: Bool[Array, ""]
    sound: Bool[Array, ""]
    growth_rate: Float[Array, ""]
    verdict: Int[Array, ""]
    reason: Int[Array, ""]


class Search(NamedTuple):
    earlier: Span
    """The state from which a round starts again."""
    intact: Bool[Array, ""]
    """Whether the integration up to that state succeeded; otherwise only the verdict is determined."""
    on_grid: Bool[Array, ""]
    """Whether the next round is the integration through the requested times, which is followed by round 0."""
    end: End
    round: Int[Array, ""]
    level: Int[Array, ""]
    """How often rtol has been tightened."""
    restart: Bool[Array, ""]
    """Whether the next round starts again."""
    watches: Int[Array, ""]
    """Number of the decade of time over which growth is followed next, from 1; 0 before, -1 after growth has ended."""
    floor: Float[Array, ""]
    """Smallest gradient norm that rounding allows, at the last end."""
    watched_rate: Float[Array, ""]
    """Exponent of growth over the previous decade."""
    undecided: Bool[Array, ""]
    twin: Int[Array, ""]
    """Number of the flow from a perturbed start that the next round integrates, 1 or 2; 0 for none."""
    twin_ends: Float[Array, "2 n"]


def blank_search(earlier: Span, intact: Array, reached: Span | None = None) -> Search:
    """The search before round 0, which begins at `earlier`, or at `reached`."""
    begin = without_table(earlier if reached is None else reached)
    real, whole, no = jnp.zeros_like(begin.time), jnp.asarray(0, jnp.int32), jnp.asarray(False)
    end = End(
        vector=begin.vector,
        record=begin.record,
        time=begin.time,
        steps=begin.steps,
        gradient_norm=real,
        tolerance=real,
        limit=begin.vector,
        polish_distance=real,
        curvature=Curvature(whole, whole, real),
        isolated=no,
        sound=no,
        growth_rate=real,
        verdict=whole,
        reason=whole,
    )
    pair = jnp.zeros((2, *begin.vector.shape), begin.vector.dtype)
    return Search(earlier, intact, no, end, whole, whole, no, whole, real, real, ~no, whole, pair)


def withhold_unless(passes: Bool[Array, ""], end: End, reason: Reason) -> End:
    """The end of a flow, changed to UNDECIDED for this reason unless a further test `passes`."""
    whole, no = jnp.asarray(-1, jnp.int32), jnp.asarray(False)
    withheld = end._replace(
        verdict=jnp.asarray(int(Verdict.UNDECIDED), end.verdict.dtype),
        reason=jnp.asarray(int(reason), end.reason.dtype),
        curvature=Curvature(whole, whole, end.curvature.smallest),
        isolated=no,
        sound=no,
    )
    return select(passes, end, withheld)


def select(condition: Array, one: T, other: T) -> T:
    """The first tree where the condition holds, otherwise the second."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)
