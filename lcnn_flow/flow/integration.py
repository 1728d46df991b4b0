"""One integration by diffrax, from where another ended to a time or an event."""

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
from lcnn_flow.dynamics.recording import Record, Recorded, RecordingSolver, blank_record
from lcnn_flow.dynamics.settings import FlowSettings
from lcnn_flow.solvers import AbstractRosenbrock, dense_stage_solver

__all__ = ["Span", "integrate"]


class Span(NamedTuple):
    """One integration."""

    vector: Float[Array, " n"]
    record: Record
    """Without saved states."""
    time: Float[Array, ""]
    steps: Int[Array, ""]
    out_of_steps: Bool[Array, ""]
    stuck: Bool[Array, ""]
    """No step of any size was accepted."""


class _Controller(diffrax.PIDController):
    """PID controller of the filters alone, with a first step and an end of its own.

    diffrax checks a first step by a host callback, and takes a quarter of all compilation to find the 100 numbers below
    an end that is not a constant.
    """

    atol: Any
    """One number for every entry, or one per entry."""
    first: Any = None
    stop: Any = None

    def init(self, terms, t0, t1, y0, dt0, func, args, error_order):
        del dt0
        return super().init(terms, t0, t1, y0.vector, jnp.minimum(self.first, self.stop), func, args, error_order)

    def adapt_step_size(self, t0, t1, y0, y1_candidate, args, y_error, error_order, controller_state):
        error = None if y_error is None else y_error.vector
        keep, start, end, *rest = super().adapt_step_size(
            t0, t1, y0.vector, y1_candidate.vector, args, error, error_order, controller_state
        )
        end = jnp.where(start < self.stop, jnp.minimum(end, self.stop), end)
        return keep, start, end, *rest


def integrate(
    args: FieldArguments,
    begin: Span,
    t1: Float[Array, ""],
    settings: FlowSettings,
    rtol: Float[Array, ""],
    atol: Float[Array, " n"],
    times: Float[Array, " T"] | None = None,
) -> tuple[Span, Record]:
    """Integrates from the end of `begin` until t1 or an event of `stops`, whichever is first; t1 = its time: no step.

    The solver's clock starts at 0: late in a flow its first step is less than the last digit of the time.

    Returns the end, and the record with the states at `times`, not finite where not reached.
    """
    solver = settings.solver
    if isinstance(solver, AbstractRosenbrock) and solver.stage_solver is dense_stage_solver:
        solver = dataclasses.replace(solver, stage_solver=symmetric_stage_solver, after_step=keep_symmetry)
    held, vector = lax.stop_gradient((args.risk, begin.vector))
    first = start_scales(held, vector, settings).first_step
    stop = t1 - begin.time
    goes = stop > 0
    stop = jnp.where(goes, stop, first)  # a step that is taken back
    controller = _Controller(rtol=rtol, atol=atol, norm=root_mean_square, dtmin=1e-12 * first, first=first, stop=stop)
    record = begin.record if times is None else blank_record(begin.vector, begin.time, times)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(recorded_field),
        RecordingSolver(solver, diffrax.ODETerm(vector_field)),
        np.zeros((), begin.time.dtype),
        np.asarray(np.inf, begin.time.dtype),
        None,
        Recorded(begin.vector, record),
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
    end: Recorded = jax.tree.map(lambda x, y: jnp.where(goes, x, y), new, Recorded(begin.vector, record))
    span = Span(
        end.vector,
        end.record._replace(saved=None),
        begin.time + jnp.where(goes, ends[0], 0),
        jnp.where(goes, solution.stats["num_steps"], 0),
        goes & out_of_steps,
        goes & stuck & ~out_of_steps,
    )
    return span, end.record
