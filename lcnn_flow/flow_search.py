"""Rounds of integration, each followed by the tests of the end point, until a verdict can be given.

Round 0 runs to the gradient tolerance. Where the tests do not pass, round 1 starts again with a thousandth of rtol
and runs to a tenth of the tolerance; rounds 2 and 3 go on to a hundredth and a thousandth. A flow whose filters
still grow like a power of time is watched for some more decades of time, at a tighter tolerance still: it diverges
if the exponent is the same in two decades that follow each other.
"""

import dataclasses
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lcnn_flow.curvature import Curvature, curvature, growth_rate, satisfies_local_pl
from lcnn_flow.flow_field import (
    FieldArguments,
    gradient_scale,
    gradient_tolerance,
    keep_symmetry,
    recorded_field,
    root_mean_square,
    start_scales,
    stops,
    symmetric_stage_solver,
    vector_field,
)
from lcnn_flow.flow_settings import FlowSettings
from lcnn_flow.invariants import conserved
from lcnn_flow.network import unravel
from lcnn_flow.norms import safe_norm
from lcnn_flow.polish import polish
from lcnn_flow.recording import Record, Recorded, RecordingSolver, blank_record
from lcnn_flow.solvers import AbstractRosenbrock, dense_stage_solver
from lcnn_flow.verdict import Verdict

__all__ = ["End", "Span", "find_limit", "integrate"]

_LAST_ROUND = 3
_TIGHTER = 1e-3
_TIGHTEST = 1e-5
_FINEST_RTOL = 1e-9
_GROWTH = 0.01
_GROWTH_CHANGE = 0.05
_WATCHES = 5


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


class End(NamedTuple):
    """Where a flow ended and what the tests found there."""

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


class _Search(NamedTuple):
    end: End
    round: Int[Array, ""]
    watches: Int[Array, ""]
    """The decade of time over which growth is watched next, from 1 on; 0 before, -1 once it was found not to last."""
    watched_rate: Float[Array, ""]
    """Exponent of growth over the decade before."""
    undecided: Bool[Array, ""]


class _Controller(diffrax.PIDController):
    """PID controller of the filters alone, with a first step of its own: diffrax checks one by a host callback."""

    first: Any = None

    def init(self, terms, t0, t1, y0, dt0, func, args, error_order):
        del dt0
        return super().init(terms, t0, t1, y0.vector, jnp.minimum(self.first, t1 - t0), func, args, error_order)

    def adapt_step_size(self, t0, t1, y0, y1_candidate, args, y_error, error_order, controller_state):
        error = None if y_error is None else y_error.vector
        return super().adapt_step_size(
            t0, t1, y0.vector, y1_candidate.vector, args, error, error_order, controller_state
        )


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

    Returns the end, and the record with the states at `times`, not finite where not reached.
    """
    solver = settings.solver
    if isinstance(solver, AbstractRosenbrock) and solver.stage_solver is dense_stage_solver:
        solver = dataclasses.replace(solver, stage_solver=symmetric_stage_solver, after_step=keep_symmetry)
    held, vector = lax.stop_gradient((args.risk, begin.vector))
    first = start_scales(held, vector, settings).first_step
    controller = _Controller(rtol=rtol, atol=atol, norm=root_mean_square, dtmin=1e-12 * first, first=first)
    record = begin.record if times is None else blank_record(begin.vector, begin.time, times)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(recorded_field),
        RecordingSolver(solver, diffrax.ODETerm(vector_field)),
        begin.time,
        t1,
        None,
        Recorded(begin.vector, record),
        args,
        saveat=diffrax.SaveAt(t1=True),
        stepsize_controller=controller,
        adjoint=settings.adjoint,
        event=diffrax.Event(stops),
        max_steps=settings.max_steps,
        throw=False,
    )
    stuck = (solution.result != diffrax.RESULTS.successful) & (solution.result != diffrax.RESULTS.event_occurred)
    out_of_steps = solution.result == diffrax.RESULTS.max_steps_reached
    end: Recorded = jax.tree.map(lambda x: x[0], solution.ys)
    ends: Any = solution.ts
    span = Span(
        end.vector,
        end.record._replace(saved=None),
        ends[0],
        solution.stats["num_steps"],
        out_of_steps,
        stuck & ~out_of_steps,
    )
    return span, end.record


def find_limit(
    args: FieldArguments,
    start: Float[Array, " n"],
    earlier: Span,
    intact: Bool[Array, ""],
    max_time: Float[Array, ""],
    atol: Float[Array, " n"],
    settings: FlowSettings,
    reached: Span | None = None,
) -> End:
    """Integrates on to the limit and gives the verdict.

    Args:
        args: risk and tolerances.
        start: raveled initial filters, which pick the invariant leaf.
        earlier: the integration so far.
        intact: whether it came through; where it broke off only the verdict is given.
        max_time: in units of squared filter / risk.
        atol: of the loose round.
        settings: everything else; its adjoint plays no part, for nothing here is differentiated.
        reached: the end of the loose round, or how far it came, where another integrated it.
    """
    leaf = conserved(args.risk.arch, start)
    rtol = settings.rtol
    settings = dataclasses.replace(settings, adjoint=diffrax.ForwardMode())

    def one_round(search: _Search) -> _Search:
        watching = search.watches > 0
        again = (search.round == 1) & ~watching
        begin = _where(again, earlier, _span_of(search.end))
        stop = jnp.where(watching, jnp.minimum(10 * begin.time, max_time), max_time)
        factor = 10.0 ** (-search.round.astype(begin.time.dtype))
        tight = args._replace(
            gradient_atol=jnp.where(watching, -1.0, args.gradient_atol * factor),
            gradient_rtol=jnp.where(watching, 0.0, args.gradient_rtol * factor),
        )
        already = stops(begin.time, Recorded(begin.vector, begin.record), tight) | ~intact
        goes = search.undecided & ~already
        tighter = jnp.where(watching, _TIGHTEST, jnp.where(search.round == 0, 1.0, _TIGHTER))
        local = jnp.minimum(rtol, jnp.maximum(rtol * tighter, _FINEST_RTOL))
        span, _ = integrate(
            tight,
            begin,
            jnp.where(goes, stop, begin.time),
            settings,
            local,
            atol * local / rtol,
        )
        span = span._replace(stuck=span.stuck | earlier.stuck)
        end, search = _judge(args, tight, span, search, leaf, intact, max_time, settings.polish)
        end = end._replace(steps=search.end.steps + jnp.where(goes, span.steps, 0))
        return search._replace(end=end)

    def keep_decided(search: _Search) -> _Search:
        return _where(search.undecided, one_round(search), search)

    blank = _blank_search(earlier if reached is None else reached)
    return lax.while_loop(lambda search: search.undecided, keep_decided, blank).end


def _judge(
    args: FieldArguments,
    tight: FieldArguments,
    span: Span,
    search: _Search,
    leaf: Array,
    intact: Array,
    max_time: Array,
    polished: bool,
) -> tuple[End, _Search]:
    """Tests of the end of one round, and what follows from them."""
    risk, vector = args.risk, span.vector
    gradient = risk.gradient(vector)
    norm, tolerance = safe_norm(gradient), gradient_tolerance(risk, vector, args.least_scale, args)
    watching, ended = search.watches > 0, span.time >= max_time
    instant = growth_rate(vector, gradient, span.time)
    rate = jnp.where(watching, _growth_since(search.end, span), instant)
    no = jnp.asarray(False)
    exact, nonsingular, limit, distance = no, ~no, vector, jnp.zeros_like(norm)
    if polished:
        result = polish(risk, vector, leaf)
        exact, nonsingular = result.converged, result.nonsingular
        limit = jnp.where(exact, result.vector, vector)
        distance = jnp.where(exact, result.distance, 0)
    fine = jnp.finfo(vector.dtype).eps ** (2 / 3)
    scale = jnp.maximum(args.least_scale, gradient_scale(risk, vector))
    coarse = jnp.sqrt(norm / jnp.where(scale > 0, scale, 1))
    zero = jnp.where(exact, fine, jnp.maximum(fine, coarse))
    bend = curvature(risk, limit, zero, ~exact)
    positive = (bend.index == 0) & (bend.nullity == 0)
    converged = (exact if polished else ~no) & (positive | ((bend.index == 0) & satisfies_local_pl(risk, limit, zero)))
    isolated = converged & positive & nonsingular & (risk.arch.channels is None)

    below = norm <= gradient_tolerance(risk, vector, args.least_scale, tight)
    below |= watching & (norm <= tolerance)
    finite = jnp.isfinite(norm) & jnp.isfinite(risk(unravel(risk.arch, vector)))
    escaped = finite & ~(safe_norm(vector) <= args.norm_bound)

    fades = (rate < -_GROWTH) & (rate > -1)  # filters that shrink like a power of time: no Hessian is left at 0
    grows = rate > _GROWTH
    change = jnp.abs(rate - search.watched_rate)
    close = jnp.abs(instant - rate) <= _GROWTH_CHANGE * jnp.abs(rate)  # else the gradient is error of the integration
    steady = (search.watches > 1) & grows & (change <= _GROWTH_CHANGE * jnp.abs(search.watched_rate))
    begins = below & grows & (search.watches == 0) & (search.round > 0) & ~converged & (bend.index == 0)
    lasts = grows & (search.watches < _WATCHES)
    watches = jnp.where(watching, jnp.where(lasts, search.watches + 1, -1), jnp.where(begins, 1, search.watches))
    diverged = escaped | steady

    again = (search.round == 0) & ~watching & intact  # a failure of the loose round is not the flow's
    last = (search.round >= _LAST_ROUND) & ~begins & ~watching
    cases = (
        ((~finite | (span.stuck & ~(below & intact))) & ~again, Verdict.NOT_FINITE),
        (diverged, Verdict.DIVERGED),
        (~intact, Verdict.STEP_LIMIT),
        (span.out_of_steps & ~below & ~again, Verdict.STEP_LIMIT),
        (below & converged, Verdict.CONVERGED),
        (ended & ~below & ~again, Verdict.TIME_LIMIT),
        (below & (last | ended) & (bend.index > 0) & ~fades, Verdict.AT_SADDLE),
        (below & (last | ended), Verdict.DEGENERATE),
    )
    verdict = jnp.asarray(-1, jnp.int32)
    for holds, code in reversed(cases):
        verdict = jnp.where(holds, jnp.asarray(int(code), jnp.int32), verdict)
    isolated &= verdict == Verdict.CONVERGED
    end = End(
        vector=span.vector,
        record=span.record,
        time=span.time,
        steps=span.steps,
        gradient_norm=norm,
        tolerance=tolerance,
        limit=limit,
        polish_distance=distance,
        curvature=bend,
        isolated=isolated,
        sound=isolated & polished,
        growth_rate=jnp.where(close, instant, rate),
        verdict=verdict,
    )
    follow = search._replace(
        round=search.round + jnp.where(watching | begins, 0, 1),
        watches=watches,
        watched_rate=jnp.where(watching, rate, search.watched_rate),
        undecided=verdict < 0,
    )
    return end, follow


def _growth_since(earlier: End, span: Span) -> Array:
    """log(|w|/|w_0|) / log(t/t_0): the exponent of growth from one end to the next."""
    norm, before = safe_norm(span.vector), safe_norm(earlier.vector)
    moved = (span.time > earlier.time) & (earlier.time > 0) & (norm > 0) & (before > 0)
    ratio = jnp.log(jnp.where(moved, norm / before, 1)) / jnp.log(jnp.where(moved, span.time / earlier.time, 2))
    return jnp.where(moved, ratio, 0)


def _where(condition: Array, one: Any, other: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)


def _span_of(end: End) -> Span:
    no = jnp.asarray(False)
    return Span(end.vector, end.record, end.time, jnp.zeros_like(end.steps), no, no)


def _blank_search(begin: Span) -> _Search:
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
    )
    return _Search(end, whole, whole, real, ~no)
