"""What follows from one round of a search: the verdict, or the settings of the next round."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from lcnn_flow.dynamics.field import FINEST_RTOL, FieldArguments, gradient_tolerance
from lcnn_flow.dynamics.sliding import slides
from lcnn_flow.flow.integration import Span
from lcnn_flow.flow.state import Search
from lcnn_flow.limits.cases import first_case
from lcnn_flow.limits.curvature import Curvature
from lcnn_flow.limits.growth import growth_rate, growth_since
from lcnn_flow.limits.judgement import Judgement
from lcnn_flow.limits.verdict import Reason, Verdict
from lcnn_flow.losses.classification import MarginLoss
from lcnn_flow.numerics.norms import safe_norm
from lcnn_flow.risk.base import is_composite

__all__ = ["CLEAR_OF_SADDLES", "LEVELS", "PARTS", "decide"]

PARTS = (1.0, 1e-1, 1e-2, 1e-3, 1e-5, 1e-7, 1e-9)
"""Fractions of the gradient tolerance, round by round."""
_THOUSANDTH = 3
"""The first round in which a verdict may follow from the fact that the flow stayed where it was."""
LEVELS = 2
"""How often rtol may be reduced."""
CLEAR_OF_SADDLES = 0.03
"""Largest product of rtol and the rebound of the gradient after a passage (`recording`) at which the side of a saddle
is certain."""
_MANIFOLD_RTOL = 1e-6
"""Largest rtol at which the point that a flow reaches on a manifold of minimisers is accepted."""
_ABOVE_ROUNDING = 2.0
"""Multiple of its rounding error below which a gradient counts as being as small as possible."""
_GROWTH = 0.01
_FASTEST_GROWTH = 1.5
"""Exponent of the growth in time: along a valley it is at most 1/2, down a slope 1, and above that on the way from a
saddle."""
_GROWTH_CHANGE = 0.05
_WATCHES = 5


class _Growth(NamedTuple):
    rate: Float[Array, ""]
    reported: Float[Array, ""]
    grows: Bool[Array, ""]
    fades: Bool[Array, ""]
    steady: Bool[Array, ""]


def decide(
    args: FieldArguments,
    tight: FieldArguments,
    span: Span,
    here: Judgement,
    search: Search,
    rtol: Array,
    intact: Array,
    max_time: Array,
) -> Search:
    """The verdict after one round, or the settings of the next round; step counts are unchanged."""
    growth = _growth(span, here, search, search.watches > 0)
    signs = _signs(args, tight, span, here, search, growth, rtol, intact, max_time)
    verdict, reason = _verdict(args, span, here, signs, growth, intact)
    signature, open_ = here.curvature, verdict == int(Verdict.UNDECIDED)
    known = Curvature(
        jnp.where(open_, -1, signature.index), jnp.where(open_, -1, signature.nullity), signature.smallest
    )
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
    return search._replace(
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
    """Results of a round; all are booleans."""

    watching: Array
    """Growth is being followed."""
    begins: Array
    """Growth is to be followed from now on."""
    ended: Array
    """max_time was reached."""
    below: Array
    """The gradient is below the tolerance of the round."""
    escaped: Array
    """The filters exceed the norm bound."""
    separated: Array
    """The risk is below that of every critical point."""
    slides: Array
    """The flow slides along a kink."""
    loose: Array
    """This is round 0, whose failures are not those of the flow."""
    clear: Array
    """No saddle was passed so closely that the side is uncertain."""
    finer: Array
    """An integration with a smaller rtol is possible."""
    passes: Array
    """All tests of convergence pass."""
    rests: Array
    """The flow is at a saddle and shows no sign of leaving."""
    again: Array
    """The integration is to be repeated with a smaller rtol."""
    last: Array
    """A smaller gradient gives no further information, or cannot be reached."""
    hindered: Array
    """The integration stopped far below the tolerance."""
    exhausted: Array
    """All rounds are used up."""


def _signs(
    args: FieldArguments,
    tight: FieldArguments,
    span: Span,
    here: Judgement,
    search: Search,
    growth: _Growth,
    rtol: Array,
    intact: Array,
    max_time: Array,
) -> _Signs:
    watching, ended = search.watches > 0, span.time >= max_time
    signature, norm = here.curvature, here.norm
    below = norm <= gradient_tolerance(args.risk, span.vector, args.least_scale, tight, span.record)
    below |= watching & (norm <= here.tolerance)
    begins = (
        below & growth.grows & (search.watches == 0) & (search.round > 0) & ~here.converged & (signature.index == 0)
    )
    begins &= ~args.bounded
    loose = (search.round == 0) & ~watching & intact
    clear = rtol * span.record.passage.rebound <= CLEAR_OF_SADDLES
    sharp = here.isolated | (rtol <= _MANIFOLD_RTOL) | _only_gauge(args)
    finer = (search.level < LEVELS) & (rtol > FINEST_RTOL)
    passes = below & here.converged
    bottom = (search.round > 0) & (norm <= _ABOVE_ROUNDING * here.rounding)
    bottom |= search.round >= len(PARTS) - 1
    far = bottom | (search.round >= _THOUSANDTH)
    rests = below & here.exact & (signature.index > 0) & here.stays & far
    separated = here.finite & args.risk.is_separated(span.vector)
    again = ((passes | rests | separated) & ~clear & finer) | (passes & ~sharp & finer)
    deep = norm <= 1e-3 * here.tolerance
    hindered = (ended | span.out_of_steps | span.stuck) & ~loose & ~watching & deep
    last = (below & (bottom | ended)) | hindered
    singular = here.exact & (signature.index == 0) & below & far
    return _Signs(
        watching=watching,
        begins=begins,
        ended=ended,
        below=below,
        escaped=here.finite & ~(safe_norm(span.vector) <= args.norm_bound),
        separated=separated & ~again,
        slides=slides(span.record.switches),
        loose=loose,
        clear=clear,
        finer=finer,
        passes=passes & ~again,
        rests=rests,
        again=again,
        last=(last | singular) & ~begins & ~watching & ~again,
        hindered=hindered,
        # the event found the gradient below the tolerance of the last round; recomputed, it may exceed it by rounding
        exhausted=(search.round >= len(PARTS) - 1) & ~watching & ~begins & ~again,
    )


def _verdict(
    args: FieldArguments, span: Span, here: Judgement, signs: _Signs, growth: _Growth, intact: Array
) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """Verdict and reason by the first case that holds; verdict -1 if none does."""
    loose, below, passes, rests, last = signs.loose, signs.below, signs.passes, signs.rests, signs.last
    told = passes | rests | signs.separated
    critical = (here.curvature.index == 0) & (here.exact | here.nearby)
    tail = critical | growth.fades | growth.grows
    slow = growth.grows & ~critical & isinstance(getattr(args.risk, "loss", None), MarginLoss)
    grown = growth.grows & (growth.rate < _FASTEST_GROWTH) & ~critical & (safe_norm(span.vector) > args.far)
    undecided, spent = int(Verdict.UNDECIDED), span.out_of_steps & ~below & ~loose
    cases = (
        (
            (~here.finite | (span.stuck & ~(below & intact) & ~signs.hindered)) & ~loose,
            Verdict.NOT_FINITE,
            Reason.NO_STEP,
        ),
        (signs.slides, undecided, Reason.SLIDES_ALONG_A_KINK),
        (signs.escaped & (here.norm == 0), undecided, Reason.SATURATED),  # what no force moves does not diverge
        (signs.escaped & ~args.bounded, Verdict.DIVERGED, Reason.BEYOND_NORM_BOUND),
        (signs.escaped & ~loose, undecided, Reason.BEYOND_A_PRIORI_BOUND),
        (growth.steady, Verdict.DIVERGED, Reason.GROWS_LIKE_A_POWER),
        (~intact & ~signs.separated, Verdict.STEP_LIMIT, Reason.NONE),
        (told & ~signs.clear & ~signs.finer, undecided, Reason.PASSED_A_SADDLE),
        (signs.separated & signs.clear, Verdict.DIVERGED, Reason.SEPARATES),
        (passes & signs.clear, Verdict.CONVERGED, Reason.NONE),
        (rests & signs.clear, Verdict.AT_SADDLE, Reason.NONE),
        (last & slow, undecided, Reason.GROWS_SLOWLY),
        (last & grown & ~args.bounded, Verdict.DIVERGED, Reason.BEYOND_NORM_BOUND),
        (last & tail, Verdict.DEGENERATE, Reason.NONE),
        (last & here.exact, undecided, Reason.MAY_LEAVE_THE_SADDLE),
        (last, undecided, Reason.LIMIT_NOT_RESOLVED),
        (spent & (here.norm <= here.tolerance), undecided, Reason.OUT_OF_STEPS_BELOW_TOLERANCE),
        (spent, Verdict.STEP_LIMIT, jnp.where(growth.grows & ~args.bounded, int(Reason.STILL_GROWS), int(Reason.NONE))),
        (signs.ended & ~below & ~loose, Verdict.TIME_LIMIT, Reason.NONE),
        (signs.exhausted, undecided, Reason.LIMIT_NOT_RESOLVED),
    )
    return first_case(cases)


def _only_gauge(args: FieldArguments) -> Array:
    """Whether limits are not isolated only because channels can be mixed, while the end-to-end filter is isolated."""
    if args.risk.symmetry.isolates or not is_composite(args.risk):
        return jnp.asarray(False)
    return args.risk.outer.smallest_singular_value > 0


def _growth(span: Span, here: Judgement, search: Search, watching: Array) -> _Growth:
    """Whether the filters grow, or shrink, like a power of time."""
    instant = growth_rate(span.vector, here.gradient, span.time)
    rate = jnp.where(watching, growth_since(search.end.vector, search.end.time, span.vector, span.time), instant)
    grows = rate > _GROWTH
    change = jnp.abs(rate - search.watched_rate)
    # otherwise the gradient is dominated by the integration error
    close = jnp.abs(instant - rate) <= _GROWTH_CHANGE * jnp.abs(rate)
    return _Growth(
        rate=rate,
        reported=jnp.where(close, instant, rate),
        grows=grows,
        fades=(rate < -_GROWTH) & (rate > -1),  # the Hessian vanishes at 0
        steady=(search.watches > 1) & grows & (change <= _GROWTH_CHANGE * jnp.abs(search.watched_rate)),
    )
