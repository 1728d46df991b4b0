"""Rounds of integration, each followed by the tests of `limits.judgement`, until a verdict can be given.

Round 0 integrates to the gradient tolerance. If the tests do not pass, round 1 starts again with a thousandth of rtol
and integrates to a tenth of the tolerance; later rounds continue to smaller fractions of it. Three kinds of flows are
treated differently. A flow that passed close to a saddle is integrated again until the local error is small against the
distance at which it passed. A flow that ends on a manifold of minimisers, where only the integration determines the
point that is reached, is integrated again with rtol 1e-6. A flow whose filters still grow like a power of time, and for
which no a-priori bound is known, is followed over further decades of time with a smaller tolerance; it diverges if the
exponent is the same in two consecutive decades. A flow of a margin loss that reaches a risk below that of every
critical point diverges, and stops there. After a function known only through its values has converged, two further
rounds follow flows from both sides of the start (`twins`).
"""

import dataclasses

import diffrax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from lcnn_flow.dynamics.field import FINEST_RTOL, FieldArguments, at_rest
from lcnn_flow.dynamics.settings import FlowSettings
from lcnn_flow.flow.decision import PARTS, decide
from lcnn_flow.flow.integration import Span, integrate, without_table
from lcnn_flow.flow.state import End, Search, blank_search, select
from lcnn_flow.flow.twins import twin_rtol, twin_start
from lcnn_flow.limits.judgement import judge
from lcnn_flow.limits.verdict import Reason, Verdict
from lcnn_flow.numerics.loops import while_loop
from lcnn_flow.numerics.norms import safe_norm

__all__ = ["TIGHTER", "find_limit", "reduced_rtol"]

TIGHTER = 1e-3
"""Factor by which rtol is reduced at each level."""
_TIGHTEST = 1e-5
"""Factor by which rtol is reduced for flows whose growth is followed."""


def find_limit(
    args: FieldArguments,
    start: Float[Array, " n"],
    earlier: Span,
    intact: Bool[Array, ""],
    max_time: Float[Array, ""],
    atol: Float[Array, " n"],
    settings: FlowSettings,
    reached: Span | None = None,
) -> Search:
    """Integrates to the limit and determines the verdict.

    Args:
        args: risk and tolerances.
        start: raveled initial filters, which determine the invariant leaf.
        earlier: state of the integration so far. If its record has a table of states at requested times, these are
            integrated first, so that one compiled solver serves both.
        intact: whether the integration so far succeeded; otherwise only the verdict is determined.
        max_time: in units of squared filter / risk.
        atol: absolute local error tolerance of round 0.
        settings: all other settings; the adjoint is ignored, because nothing here is differentiated.
        reached: end of round 0, or the state up to which it was integrated elsewhere.

    Returns:
        The last state of the search: the end; the state from which rounds start again, which is that at the last of the
        requested times, with their table; and for a function known only through its values the ends of flows from
        perturbed starts, if the verdict is CONVERGED.
    """
    levels = args.risk.symmetry.leaf_levels(start)
    parts = jnp.asarray(PARTS, start.dtype)
    sane = jnp.isfinite(safe_norm(args.risk.gradient(start)))
    settings = dataclasses.replace(settings, adjoint=diffrax.ForwardMode())
    table, has_twins = earlier.record.saved, not args.risk.knows_scales

    def one_round(search: Search) -> Search:
        watching, earlier, on_grid = search.watches > 0, search.earlier, search.on_grid
        begin = select(search.restart, without_table(earlier), _span_of(search.end))
        stop = jnp.where(watching, jnp.minimum(10 * begin.time, max_time), max_time)
        part = parts[search.round]
        to_the_end = watching | on_grid
        tight = args._replace(
            gradient_atol=jnp.where(to_the_end, -1.0, jnp.maximum(args.gradient_atol * part, search.floor)),
            gradient_rtol=jnp.where(to_the_end, 0.0, args.gradient_rtol * part),
        )
        already = at_rest(begin.vector, begin.record, tight) | ~search.intact
        moves = search.undecided & ~already
        tighter = jnp.where(watching, _TIGHTEST, TIGHTER ** search.level.astype(start.dtype))
        local = reduced_rtol(args.rtol, tighter)
        if has_twins:
            twin, side = search.twin > 0, jnp.where(search.twin == 1, -1.0, 1.0).astype(start.dtype)
            shifted = without_table(earlier)._replace(vector=twin_start(args, earlier.vector, side))
            begin, stop, moves = select(twin, shifted, begin), jnp.where(twin, search.end.time, stop), moves | twin
            tight = tight._replace(
                gradient_atol=jnp.where(twin, args.gradient_atol, tight.gradient_atol),
                gradient_rtol=jnp.where(twin, args.gradient_rtol, tight.gradient_rtol),
            )
            local = jnp.where(twin, twin_rtol(args), local)
        if table is not None:
            stop, moves = jnp.where(on_grid, table.times[-1], stop), moves | on_grid
            open_ = table._replace(times=jnp.where(on_grid, table.times, jnp.inf))  # later rounds save nothing
            begin = begin._replace(record=begin.record._replace(saved=open_))
        until = jnp.where(moves, stop, begin.time)
        span = integrate(tight, begin, until, settings, local, atol * local / args.rtol)
        return after(search, tight, span, moves, local)

    def after(search: Search, tight: FieldArguments, span: Span, moves: Array, local: Array) -> Search:
        """The search after a round of any kind."""
        bare = without_table(span)
        if table is None and not has_twins:
            return judged(search, tight, bare, moves, local)
        unjudged, decides = search, jnp.asarray(True)
        if table is not None:
            after_grid, decides = blank_search(span, span.time >= table.times[-1]), ~search.on_grid
            unjudged = select(search.on_grid, after_grid, unjudged)
        if has_twins:
            twin = search.twin > 0
            ends = search.twin_ends.at[search.twin - 1].set(span.vector)
            after_twin = search._replace(twin_ends=ends, twin=(search.twin + 1) % 3)
            unjudged, decides = select(twin, after_twin, unjudged), decides & ~twin
        return lax.cond(decides, lambda: judged(search, tight, bare, moves, local), lambda: unjudged)

    def judged(search: Search, tight: FieldArguments, span: Span, moves: Array, local: Array) -> Search:
        span = span._replace(stuck=span.stuck | search.earlier.stuck)
        here = judge(args, span.vector, span.record, start, levels)
        search = decide(args, tight, span, here, search, local, search.intact & sane, max_time)
        steps = search.end.steps + jnp.where(moves, span.steps, 0)
        reason = jnp.where(sane, search.end.reason, int(Reason.START_NOT_FINITE))
        sound = search.end.isolated & settings.polish
        limit, distance = (here.limit, here.distance) if settings.polish else (span.vector, 0 * here.distance)
        end = search.end._replace(steps=steps, reason=reason, sound=sound, limit=limit, polish_distance=distance)
        claimed = (end.verdict == int(Verdict.CONVERGED)) if has_twins else jnp.asarray(False)
        return search._replace(end=end, twin=jnp.where(claimed, 1, search.twin))

    def goes_on(search: Search) -> Array:
        return search.undecided | (search.twin > 0)

    def keep_ended(search: Search) -> Search:
        return select(goes_on(search), one_round(search), search)

    blank = blank_search(earlier, intact, reached)._replace(on_grid=jnp.asarray(table is not None))
    return while_loop(goes_on, keep_ended, blank, start)


def reduced_rtol(rtol: Float[Array, "..."], factor: Float[Array, "..."]) -> Float[Array, "..."]:
    """rtol times the factor, but not below the finest rtol."""
    return jnp.minimum(rtol, jnp.maximum(rtol * factor, FINEST_RTOL))


def _span_of(end: End) -> Span:
    no = jnp.asarray(False)
    return Span(end.vector, end.record, end.time, jnp.zeros_like(end.steps), no, no)
