"""A diffrax solver that records states at given times, path length, dissipation, passages of saddles, and kinks.

diffrax can save at given times too, but checks them by a host callback, and JAX does not store programs with host
callbacks in its persistent cache. Here the times are checked in advance, and every accepted step evaluates its dense
output at the times that it contains.
"""

from typing import Any, NamedTuple, cast

import diffrax
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from lcnn_flow.dynamics.sliding import Switches, count_switches
from lcnn_flow.numerics.compiling import traced_once
from lcnn_flow.numerics.norms import safe_norm
from lcnn_flow.numerics.quadrature import NODES, WEIGHTS, partial_weights
from lcnn_flow.numerics.stored_programs import storable

__all__ = ["Passage", "Record", "Recorded", "RecordingSolver", "Saved", "blank_record", "follow_passage", "no_passage"]


@storable
class Passage(NamedTuple):
    """How close a flow came to a critical point that it left again, judged by the norms of the gradient along the
    flow."""

    largest: Float[Array, "..."]
    """Largest gradient norm so far."""
    smallest: Float[Array, "..."]
    """Smallest gradient norm since it first was ten times below the largest; infinite before that."""
    rebound: Float[Array, "..."]
    """Largest ratio of a gradient norm to the smallest norm before it; 0 if there was no passage."""


@storable
class Saved(NamedTuple):
    """Quantities saved at the requested times; NaN at times that were not reached."""

    times: Float[Array, " T"]
    states: Float[Array, "T n"]
    lengths: Float[Array, "T 2"]
    """Path length and dissipation."""


@storable
class Record(NamedTuple):
    """Everything recorded up to the current time."""

    path_length: Float[Array, ""]
    dissipation: Float[Array, ""]
    """Integral of |dw/dt|^2."""
    passage: Passage
    saved: Saved | None
    """None where no times were requested."""
    switches: Switches | None = None
    """None for risks without kinks."""


class Recorded(NamedTuple):
    """State of the integration: the filters, and the record that the solver writes."""

    vector: Float[Array, " n"]
    record: Record


_DROP = 10.0
"""A gradient counts as small if it is this many times below the largest so far."""


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
    """The passage before the first step, in the shape of `zero`."""
    return Passage(zero, zero + jnp.inf, zero)


def follow_passage(passage: Passage, norm: Float[Array, "..."]) -> Passage:
    """Updates a passage by the norm of the gradient at the next point of the flow."""
    largest = jnp.maximum(passage.largest, norm)
    smallest = jnp.where(_DROP * norm <= largest, jnp.minimum(passage.smallest, norm), passage.smallest)
    positive = jnp.where(smallest > 0, smallest, jnp.inf)
    return Passage(largest, smallest, jnp.maximum(passage.rebound, norm / positive))


class RecordingSolver(diffrax.AbstractWrappedSolver[Any]):
    """Integrates the filters of a `Recorded` with another solver and updates the record.

    Attributes:
        solver: the solver that integrates the filters.
        terms: the vector field of the filters alone.
    """

    solver: diffrax.AbstractSolver[Any]
    terms: diffrax.AbstractTerm[Any, Any]

    @property
    def root_finder(self) -> Any:
        """The root finder of an implicit solver, in which diffrax sets tolerances."""
        return self.solver.root_finder  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def scan_kind(self) -> Any:
        """The scan kind of a Runge-Kutta method, which diffrax selects for the adjoint."""
        return self.solver.scan_kind  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def term_structure(self) -> Any:
        return self.solver.term_structure

    @property
    def interpolation_cls(self) -> Any:
        return self.solver.interpolation_cls

    def order(self, terms: Any) -> Any:
        """Order of the wrapped solver."""
        return self.solver.order(self.terms)

    def error_order(self, terms: Any) -> Any:
        """Order of the error estimate of the wrapped solver."""
        return self.solver.error_order(self.terms)

    def init(self, terms: Any, t0: Any, t1: Any, y0: Recorded, args: Any) -> Any:
        """Initial state of the wrapped solver."""
        return self.solver.init(self.terms, t0, t1, y0.vector, args)

    def func(self, terms: Any, t0: Any, y0: Recorded, args: Any) -> Any:
        """Vector field of the wrapped solver."""
        return self.solver.func(self.terms, t0, y0.vector, args)

    @traced_once  # diffrax traces a step four times
    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Recorded, args: Any, solver_state: Any, made_jump: Any
    ) -> tuple[Recorded, Recorded, Any, Any, diffrax.RESULTS]:
        """One step; the record of a rejected step is discarded together with the step."""
        inner = self.solver.step(self.terms, t0, t1, y0.vector, args, solver_state, made_jump)
        vector, error, dense, solver_state, result = cast(Any, inner)
        curve = self.interpolation_cls(t0=t0, t1=t1, **dense)
        record = self._extended(y0.record, curve, t0, t1)
        if record.switches is not None:
            record = record._replace(switches=count_switches(record.switches, args.risk.activation_signs(vector)))
        nothing = jax.tree.map(jnp.zeros_like, record)
        return Recorded(vector, record), Recorded(error, nothing), dense, solver_state, result

    def _extended(self, record: Record, curve: diffrax.AbstractLocalInterpolation, t0: Any, t1: Any) -> Record:
        h = t1 - t0
        nodes, weights = jnp.asarray(NODES, h.dtype), jnp.asarray(WEIGHTS, h.dtype)
        speeds = jax.vmap(lambda theta: safe_norm(curve.derivative(t0 + theta * h)))(nodes)
        passage = follow_passage(record.passage, lax.stop_gradient(speeds[0]))
        both = jnp.stack([speeds, speeds**2], axis=1)
        so_far = jnp.stack([record.path_length, record.dissipation])
        path_length, dissipation = so_far + h * (weights @ both)
        if (saved := record.saved) is None:
            return Record(path_length, dissipation, passage, None, record.switches)
        inside = ((saved.times > t0) & (saved.times <= t1))[:, None]
        clipped = jnp.clip(saved.times, t0, t1)
        states = jnp.where(inside, jax.vmap(curve.evaluate)(clipped), saved.states)
        partial = partial_weights((clipped - t0) / jnp.where(h > 0, h, 1))
        lengths = jnp.where(inside, so_far[None] + h * (partial @ both), saved.lengths)
        return Record(path_length, dissipation, passage, Saved(saved.times, states, lengths), record.switches)
