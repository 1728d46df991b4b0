"""Rounds of integration, each followed by the tests of `limits.judgement`, until a verdict can be given.

Round 0 runs to the gradient tolerance. Where the tests do not pass, round 1 starts again with a thousandth of rtol and
runs to a tenth of the tolerance; the rounds after it go on to smaller and smaller parts of it. A flow that has passed
close to a saddle is integrated again until the local error is small against the distance at which it passed. One that
ends on a manifold of minimisers, where nothing but the integration decides at which point, is integrated again at 1e-6.
A flow whose filters still grow like a power of time, and that no a-priori bound holds, is watched for some more decades
of time, at a tighter tolerance still: it diverges if the exponent is the same in two decades that follow each other.
"""

import dataclasses
from typing import Any, NamedTuple, cast

import diffrax
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lcnn_flow.dynamics.field import FINEST_RTOL, FieldArguments, at_rest, gradient_tolerance
from lcnn_flow.dynamics.recording import Record
from lcnn_flow.dynamics.settings import FlowSettings
from lcnn_flow.flow.integration import Span, integrate
from lcnn_flow.limits.cases import first_case
from lcnn_flow.limits.curvature import Curvature
from lcnn_flow.limits.growth import growth_rate
from lcnn_flow.limits.judgement import Judgement, judge
from lcnn_flow.limits.verdict import Reason, Verdict
from lcnn_flow.numerics.norms import safe_norm
from lcnn_flow.risk.base import CompositeRisk, is_composite

__all__ = ["CLEAR_OF_SADDLES", "End", "find_limit", "withhold_unless"]

_PARTS = (1.0, 1e-1, 1e-2, 1e-3, 1e-5, 1e-7, 1e-9)
"""Of the gradient tolerance, round by round."""
_THOUSANDTH = 3
"""The round from which on a verdict may rest on the flow not having gone on."""
_TIGHTER = 1e-3
"""Of rtol, level by level."""
_LEVELS = 2
_TIGHTEST = 1e-5
"""Of rtol, for flows whose growth is watched."""
CLEAR_OF_SADDLES = 0.03
"""rtol times the rebound of the gradient after a passage (`recording`): up to this the side is not in doubt."""
_MANIFOLD_RTOL = 1e-6
"""Up to this rtol, which point of a manifold of minimisers a flow reaches is left to the integration."""
_ABOVE_ROUNDING = 2.0
"""A gradient this many times its rounding is as small as it gets."""
_GROWTH = 0.01
_GROWTH_CHANGE = 0.05
_WATCHES = 5


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
    reason: Int[Array, ""]


class _Search(NamedTuple):
    end: End
    round: Int[Array, ""]
    level: Int[Array, ""]
    """How often rtol has been tightened."""
    restart: Bool[Array, ""]
    """The next round starts again."""
    watches: Int[Array, ""]
    """The decade of time over which growth is watched next, from 1 on; 0 before, -1 once it was found not to last."""
    floor: Float[Array, ""]
    """Gradient norm that rounding allows to reach, at the last end."""
    watched_rate: Float[Array, ""]
    """Exponent of growth over the decade before."""
    undecided: Bool[Array, ""]


class _Growth(NamedTuple):
    rate: Float[Array, ""]
    reported: Float[Array, ""]
    grows: Bool[Array, ""]
    fades: Bool[Array, ""]
    steady: Bool[Array, ""]


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
    levels = args.risk.symmetry.leaf_levels(start)
    parts = jnp.asarray(_PARTS, start.dtype)
    sane = jnp.isfinite(safe_norm(args.risk.gradient(start)))
    settings = dataclasses.replace(settings, adjoint=diffrax.ForwardMode())

    def one_round(search: _Search) -> _Search:
        watching = search.watches > 0
        begin = _where(search.restart, earlier, _span_of(search.end))
        stop = jnp.where(watching, jnp.minimum(10 * begin.time, max_time), max_time)
        part = parts[search.round]
        tight = args._replace(
            gradient_atol=jnp.where(watching, -1.0, jnp.maximum(args.gradient_atol * part, search.floor)),
            gradient_rtol=jnp.where(watching, 0.0, args.gradient_rtol * part),
        )
        already = at_rest(begin.vector, begin.record, tight) | ~intact
        goes = search.undecided & ~already
        tighter = jnp.where(watching, _TIGHTEST, _TIGHTER ** search.level.astype(start.dtype))
        local = jnp.minimum(args.rtol, jnp.maximum(args.rtol * tighter, FINEST_RTOL))
        until = jnp.where(goes, stop, begin.time)
        span, _ = integrate(tight, begin, until, settings, local, atol * local / args.rtol)
        span = span._replace(stuck=span.stuck | earlier.stuck)
        here = judge(args, span.vector, span.record, start, levels)
        search = _decide(args, tight, span, here, search, local, intact & sane, max_time)
        steps = search.end.steps + jnp.where(goes, span.steps, 0)
        reason = jnp.where(sane, search.end.reason, int(Reason.START_NOT_FINITE))
        sound = search.end.isolated & settings.polish
        limit, distance = (here.limit, here.distance) if settings.polish else (span.vector, 0 * here.distance)
        end = search.end._replace(steps=steps, reason=reason, sound=sound, limit=limit, polish_distance=distance)
        return search._replace(end=end)

    def keep_decided(search: _Search) -> _Search:
        return _where(search.undecided, one_round(search), search)

    blank = _blank_search(earlier if reached is None else reached)
    return lax.while_loop(lambda search: search.undecided, keep_decided, blank).end


def withhold_unless(passes: Bool[Array, ""], end: End, reason: Reason) -> End:
    """The end of a flow, UNDECIDED for this reason unless a further test `passes`."""
    whole, no = jnp.asarray(-1, jnp.int32), jnp.asarray(False)
    withheld = end._replace(
        verdict=jnp.asarray(int(Verdict.UNDECIDED), end.verdict.dtype),
        reason=jnp.asarray(int(reason), end.reason.dtype),
        curvature=Curvature(whole, whole, end.curvature.smallest),
        isolated=no,
        sound=no,
    )
    return _where(passes, end, withheld)


def _decide(
    args: FieldArguments,
    tight: FieldArguments,
    span: Span,
    here: Judgement,
    search: _Search,
    rtol: Array,
    intact: Array,
    max_time: Array,
) -> _Search:
    """The verdict after one round, or what is to be done next. Step counts are left as they were."""
    growth = _growth(span, here, search, search.watches > 0)
    signs = _signs(args, tight, span, here, search, growth, rtol, intact, max_time)
    verdict, reason = _verdict(args, span, here, signs, growth, intact)
    bend, open_ = here.curvature, verdict == int(Verdict.UNDECIDED)
    known = Curvature(jnp.where(open_, -1, bend.index), jnp.where(open_, -1, bend.nullity), bend.smallest)
    end = search.end._replace(
        vector=span.vector,
        record=span.record,
        time=span.time,
        gradient_norm=here.norm,
        tolerance=here.tolerance,
        curvature=known,
        isolated=here.isolated & (verdict == Verdict.CONVERGED),
        growth_rate=growth.reported,
        verdict=verdict,
        reason=reason,
    )
    lasts = growth.grows & (search.watches < _WATCHES)
    begun = jnp.where(signs.begins, 1, search.watches)
    return _Search(
        end=end,
        round=jnp.where(signs.again, 1, search.round + jnp.where(signs.watching | signs.begins, 0, 1)),
        level=search.level + jnp.where(signs.again | (search.round == 0), 1, 0),
        restart=signs.again | ((search.round == 0) & ~signs.watching),
        watches=jnp.where(signs.watching, jnp.where(lasts, search.watches + 1, -1), begun),
        floor=_ABOVE_ROUNDING * here.rounding,
        watched_rate=jnp.where(signs.watching, growth.rate, search.watched_rate),
        undecided=verdict < 0,
    )


class _Signs(NamedTuple):
    """What a round has shown; all true or false."""

    watching: Array
    """Growth is being watched."""
    begins: Array
    """It is to be watched from now on."""
    ended: Array
    """By max_time."""
    below: Array
    """The gradient is below the tolerance of the round."""
    escaped: Array
    """The filters have left the norm bound."""
    loose: Array
    """A first round: its failures are not the flow's."""
    clear: Array
    """No saddle was passed so close that the side is in doubt."""
    finer: Array
    """A finer integration is to be had."""
    passes: Array
    """All tests of convergence pass."""
    rests: Array
    """At a saddle, without a sign of leaving."""
    again: Array
    """The integration is to be repeated, finer."""
    last: Array
    """There is nothing more to learn from a smaller gradient, or none to be had."""
    hindered: Array
    """The integration came to a stop, far below the tolerance."""
    exhausted: Array
    """All rounds are used up."""


def _signs(
    args: FieldArguments,
    tight: FieldArguments,
    span: Span,
    here: Judgement,
    search: _Search,
    growth: _Growth,
    rtol: Array,
    intact: Array,
    max_time: Array,
) -> _Signs:
    watching, ended = search.watches > 0, span.time >= max_time
    bend, norm = here.curvature, here.norm
    below = norm <= gradient_tolerance(args.risk, span.vector, args.least_scale, tight, span.record)
    below |= watching & (norm <= here.tolerance)
    begins = below & growth.grows & (search.watches == 0) & (search.round > 0) & ~here.converged & (bend.index == 0)
    begins &= ~args.bounded
    loose = (search.round == 0) & ~watching & intact
    clear = rtol * span.record.passage.rebound <= CLEAR_OF_SADDLES
    sharp = here.isolated | (rtol <= _MANIFOLD_RTOL) | _only_gauge(args)
    finer = (search.level < _LEVELS) & (rtol > FINEST_RTOL)
    passes = below & here.converged
    bottom = (search.round > 0) & (norm <= _ABOVE_ROUNDING * here.rounding)
    bottom |= search.round >= len(_PARTS) - 1
    far = bottom | (search.round >= _THOUSANDTH)
    rests = below & here.exact & (bend.index > 0) & here.stays & far
    again = ((passes | rests) & ~clear & finer) | (passes & ~sharp & finer)
    deep = norm <= 1e-3 * here.tolerance
    hindered = (ended | span.out_of_steps | span.stuck) & ~loose & ~watching & deep
    last = (below & (bottom | ended)) | hindered
    singular = here.exact & (bend.index == 0) & below & far
    return _Signs(
        watching=watching,
        begins=begins,
        ended=ended,
        below=below,
        escaped=here.finite & ~(safe_norm(span.vector) <= args.norm_bound),
        loose=loose,
        clear=clear,
        finer=finer,
        passes=passes & ~again,
        rests=rests,
        again=again,
        last=(last | singular) & ~begins & ~watching & ~again,
        hindered=hindered,
        # the event saw the gradient below the tolerance of the last round, and here it is above it by its last digit
        exhausted=(search.round >= len(_PARTS) - 1) & ~watching & ~begins & ~again,
    )


def _verdict(
    args: FieldArguments, span: Span, here: Judgement, signs: _Signs, growth: _Growth, intact: Array
) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """Verdict and reason by the first case that holds; -1 where none does."""
    loose, below, passes, rests, last = signs.loose, signs.below, signs.passes, signs.rests, signs.last
    tail = ((here.curvature.index == 0) & (here.exact | here.nearby)) | growth.fades | growth.grows
    undecided, spent = int(Verdict.UNDECIDED), span.out_of_steps & ~below & ~loose
    cases = (
        (
            (~here.finite | (span.stuck & ~(below & intact) & ~signs.hindered)) & ~loose,
            Verdict.NOT_FINITE,
            Reason.NO_STEP,
        ),
        (signs.escaped & ~args.bounded, Verdict.DIVERGED, Reason.BEYOND_NORM_BOUND),
        (signs.escaped & ~loose, undecided, Reason.BEYOND_A_PRIORI_BOUND),
        (growth.steady, Verdict.DIVERGED, Reason.GROWS_LIKE_A_POWER),
        (~intact, Verdict.STEP_LIMIT, Reason.NONE),
        ((passes | rests) & ~signs.clear & ~signs.finer, undecided, Reason.PASSED_A_SADDLE),
        (passes & signs.clear, Verdict.CONVERGED, Reason.NONE),
        (rests & signs.clear, Verdict.AT_SADDLE, Reason.NONE),
        (last & tail, Verdict.DEGENERATE, Reason.NONE),
        (last & here.exact, undecided, Reason.MAY_LEAVE_THE_SADDLE),
        (last, undecided, Reason.LIMIT_NOT_RESOLVED),
        (spent & (here.norm <= here.tolerance), undecided, Reason.OUT_OF_STEPS_BELOW_TOLERANCE),
        (spent, Verdict.STEP_LIMIT, Reason.NONE),
        (signs.ended & ~below & ~loose, Verdict.TIME_LIMIT, Reason.NONE),
        (signs.exhausted, undecided, Reason.LIMIT_NOT_RESOLVED),
    )
    return first_case(cases)


def _only_gauge(args: FieldArguments) -> Array:
    """Limits are not isolated because of the gauge group alone: the end-to-end filter is."""
    if args.risk.symmetry.isolates or not is_composite(args.risk):
        return jnp.asarray(False)
    return cast(CompositeRisk, args.risk).outer.smallest_singular_value > 0


def _growth(span: Span, here: Judgement, search: _Search, watching: Array) -> _Growth:
    """Whether the filters grow, or shrink, like a power of time."""
    instant = growth_rate(span.vector, here.gradient, span.time)
    rate = jnp.where(watching, _growth_since(search.end, span), instant)
    grows = rate > _GROWTH
    change = jnp.abs(rate - search.watched_rate)
    close = jnp.abs(instant - rate) <= _GROWTH_CHANGE * jnp.abs(rate)  # else the gradient is error of the integration
    return _Growth(
        rate=rate,
        reported=jnp.where(close, instant, rate),
        grows=grows,
        fades=(rate < -_GROWTH) & (rate > -1),  # no Hessian is left at 0
        steady=(search.watches > 1) & grows & (change <= _GROWTH_CHANGE * jnp.abs(search.watched_rate)),
    )


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
        reason=whole,
    )
    return _Search(end, whole, whole, no, whole, real, real, ~no)
