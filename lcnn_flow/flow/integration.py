"""One integration by diffrax, from the end of a previous one to a given time or an event."""

import dataclasses
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lcnn_flow.dynamics.field import (
    FieldArguments,
    keep_symmetry,
    recorded_field,
    root_mean_square,
    start_scales,
    stops,
    symmetric_stage_solver,
    vector_field,
)
from lcnn_flow.dynamics.recording import Record, Recorded, RecordingSolver
from lcnn_flow.dynamics.settings import FlowSettings
from lcnn_flow.solvers import AbstractRosenbrock, dense_stage_solver

__all__ = ["Span", "integrate", "without_table"]


class Span(NamedTuple):
    """The state at the end of one integration."""

    vector: Float[Array, " n"]
    record: Record
    time: Float[Array, ""]
    steps: Int[Array, ""]
    out_of_steps: Bool[Array, ""]
    stuck: Bool[Array, ""]
    """Whether no step of any size was accepted."""


class _Controller(diffrax.PIDController):
    """PID controller for the filters alone, with its own first step and final time.

    diffrax checks a first step by a host callback; and if the final time is not a constant, a quarter of the
    compilation time is spent on computing the 100 numbers below it.
    """

    atol: Array
    """One number, or one number per entry."""
    first: Any = None
    stop: Any = None

    def init(
        self, terms: Any, t0: Any, t1: Any, y0: Recorded, dt0: Any, func: Any, args: Any, error_order: Any
    ) -> tuple[Any, Any]:
        del dt0
        return super().init(terms, t0, t1, y0.vector, jnp.minimum(self.first, self.stop), func, args, error_order)

    def adapt_step_size(
        self,
        t0: Any,
        t1: Any,
        y0: Recorded,
        y1_candidate: Recorded,
        args: Any,
        y_error: Recorded | None,
        error_order: Any,
        controller_state: Any,
    ) -> tuple[Any, Any, Any, Any, Any, Any]:
        error = None if y_error is None else y_error.vector
        keep, start, end, made_jump, state, result = super().adapt_step_size(
            t0, t1, y0.vector, y1_candidate.vector, args, error, error_order, controller_state
        )
        end = jnp.where(start < self.stop, jnp.minimum(end, self.stop), end)
        return keep, start, end, made_jump, state, result


def integrate(
    args: FieldArguments,
    begin: Span,
    t1: Float[Array, ""],
    settings: FlowSettings,
    rtol: Float[Array, ""],
    atol: Float[Array, " n"],
) -> Span:
    """Integrates from the end of `begin` until t1 or an event of `stops`, whichever comes first.

    The solver's clock starts at 0, because late in a flow the first step is smaller than the rounding error of the
    time. If t1 equals the time of `begin`, no step is taken. Times at which states are to be saved are on this clock.
    """
    solver = settings.solver
    if isinstance(solver, AbstractRosenbrock) and solver.stage_solver is dense_stage_solver:
        solver = dataclasses.replace(solver, stage_solver=symmetric_stage_solver, after_step=keep_symmetry)
    held, vector = lax.stop_gradient((args.risk, begin.vector))
    first = start_scales(held, vector, settings).first_step
    stop = t1 - begin.time
    moves = stop > 0
    stop = jnp.where(moves, stop, first)  # this step is discarded
    controller = _Controller(rtol=rtol, atol=atol, norm=root_mean_square, dtmin=1e-12 * first, first=first, stop=stop)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(recorded_field),
        RecordingSolver(solver, diffrax.ODETerm(vector_field)),
        np.zeros((), begin.time.dtype),
        np.asarray(np.inf, begin.time.dtype),
        None,
        Recorded(begin.vector, begin.record),
        args._replace(stop=stop),
        saveat=diffrax.SaveAt(t1=True),
        stepsize_controller=controller,
        adjoint=settings.adjoint,
        event=diffrax.Event(stops),
        max_steps=settings.max_steps,
        throw=False,
    )
    stuck = (solution.result != diffrax.RESULTS.successful) & (solution.result != diffrax.RESULTS.event_occurred)
    out_of_steps = solution.result == diffrax.RESULTS.max_steps_reached
    ends: Any = solution.ts
    new: Recorded = jax.tree.map(lambda x: x[0], solution.ys)
    end: Recorded = jax.tree.map(lambda x, y: jnp.where(moves, x, y), new, Recorded(begin.vector, begin.record))
    return Span(
        end.vector,
        end.record,
        begin.time + jnp.where(moves, ends[0], 0),
        jnp.where(moves, solution.stats["num_steps"], 0).astype(begin.steps.dtype),
        moves & out_of_steps,
        moves & stuck & ~out_of_steps,
    )


def without_table(span: Span) -> Span:
    """The state without the table of states at requested times."""
    return span._replace(record=span.record._replace(saved=None))
