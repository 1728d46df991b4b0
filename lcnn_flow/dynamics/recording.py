"""A diffrax solver that records what happens along the way: saved states, path length, dissipation, passages.

diffrax itself can save at given times, but checks them by a host callback, and JAX keeps no program with a host
callback in its persistent cache. Here the times are checked beforehand, and every accepted step writes the part of
its dense output that falls on them.
"""

from typing import Any, NamedTuple, cast

import diffrax
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from lcnn_flow.numerics.norms import safe_norm
from lcnn_flow.numerics.quadrature import NODES, WEIGHTS, partial_weights
from lcnn_flow.numerics.stored_programs import storable

__all__ = ["Passage", "Record", "Recorded", "RecordingSolver", "Saved", "blank_record", "follow_passage", "no_passage"]


@storable
class Passage(NamedTuple):
    """How close a flow came to a critical point that it left again, from the norms of the gradient on the way."""

    largest: Float[Array, "..."]
    """Largest gradient norm so far."""
    smallest: Float[Array, "..."]
    """Smallest since it was well below the largest; infinite before."""
    rebound: Float[Array, "..."]
    """Largest ratio of a gradient norm to the smallest one before it; 0 if there was none."""


@storable
class Saved(NamedTuple):
    """What has been saved at the requested times; NaN where not reached."""

    times: Float[Array, " T"]
    states: Float[Array, "T n"]
    lengths: Float[Array, "T 2"]
    """Path length and dissipation."""


@storable
class Record(NamedTuple):
    """What has been recorded up to the present time."""

    path_length: Float[Array, ""]
    dissipation: Float[Array, ""]
    """Integral of |dw/dt|^2."""
    passage: Passage
    saved: Saved | None
    """None where no times were requested."""


class Recorded(NamedTuple):
    """State of the integration: the filters, and what the solver writes."""

    vector: Float[Array, " n"]
    record: Record


_DROP = 10.0
"""A gradient counts as small once it is this many times below the largest so far."""


def blank_record(vector: Float[Array, " n"], start: Float[Array, ""], times: Float[Array, " T"] | None) -> Record:
    """The record at time `start`, before the first step."""
    zero = jnp.zeros((), vector.dtype)
    passage = no_passage(zero)
    if times is None:
        return Record(zero, zero, passage, None)
    begun = (times <= start)[:, None]
    states = jnp.where(begun, vector[None], jnp.nan)
    lengths = jnp.where(begun, jnp.zeros((2,), zero.dtype), jnp.nan)
    return Record(zero, zero, passage, Saved(times, states, lengths))


def no_passage(zero: Float[Array, "..."]) -> Passage:
    """Before the first step, in the shape of `zero`."""
    return Passage(zero, zero + jnp.inf, zero)


def follow_passage(passage: Passage, norm: Float[Array, "..."]) -> Passage:
    """Takes note of the norm of the gradient at one more point of the flow."""
    largest = jnp.maximum(passage.largest, norm)
    smallest = jnp.where(_DROP * norm <= largest, jnp.minimum(passage.smallest, norm), passage.smallest)
    positive = jnp.where(smallest > 0, smallest, jnp.inf)
    return Passage(largest, smallest, jnp.maximum(passage.rebound, norm / positive))


class RecordingSolver(diffrax.AbstractWrappedSolver):
    """Steps the filters of a `Recorded` with another solver and keeps the record.

    Attributes:
        solver: what integrates the filters.
        terms: the vector field of the filters alone.
    """

    solver: diffrax.AbstractSolver
    terms: diffrax.AbstractTerm

    @property
    def root_finder(self):
        """Of an implicit solver: diffrax fills in its tolerances."""
        return self.solver.root_finder  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def scan_kind(self):
        """Of a Runge-Kutta method: diffrax chooses it for the adjoint."""
        return self.solver.scan_kind  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def term_structure(self):
        return self.solver.term_structure

    @property
    def interpolation_cls(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.solver.interpolation_cls

    def order(self, terms):
        """That of the solver inside."""
        return self.solver.order(self.terms)

    def error_order(self, terms):
        """That of the solver inside."""
        return self.solver.error_order(self.terms)

    def init(self, terms, t0, t1, y0, args):
        """That of the solver inside."""
        return self.solver.init(self.terms, t0, t1, y0.vector, args)

    def func(self, terms, t0, y0, args):
        """That of the solver inside."""
        return self.solver.func(self.terms, t0, y0.vector, args)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        """One step; the record of a rejected one is dropped with it."""
        inner = self.solver.step(self.terms, t0, t1, y0.vector, args, solver_state, made_jump)
        vector, error, dense, solver_state, result = cast(Any, inner)
        curve = self.interpolation_cls(t0=t0, t1=t1, **dense)
        record = self._extended(y0.record, curve, t0, t1)
        nothing = jax.tree.map(jnp.zeros_like, record)
        return Recorded(vector, record), Recorded(error, nothing), dense, solver_state, result

    def _extended(self, record: Record, curve: Any, t0: Any, t1: Any) -> Record:
        h = t1 - t0
        nodes, weights = jnp.asarray(NODES, h.dtype), jnp.asarray(WEIGHTS, h.dtype)
        speeds = jax.vmap(lambda theta: safe_norm(curve.derivative(t0 + theta * h)))(nodes)
        passage = follow_passage(record.passage, lax.stop_gradient(speeds[0]))
        both = jnp.stack([speeds, speeds**2], axis=1)
        so_far = jnp.stack([record.path_length, record.dissipation])
        path_length, dissipation = so_far + h * (weights @ both)
        if (saved := record.saved) is None:
            return Record(path_length, dissipation, passage, None)
        inside = ((saved.times > t0) & (saved.times <= t1))[:, None]
        clipped = jnp.clip(saved.times, t0, t1)
        states = jnp.where(inside, jax.vmap(curve.evaluate)(clipped), saved.states)
        partial = partial_weights((clipped - t0) / jnp.where(h > 0, h, 1))
        lengths = jnp.where(inside, so_far[None] + h * (partial @ both), saved.lengths)
        return Record(path_length, dissipation, passage, Saved(saved.times, states, lengths))
