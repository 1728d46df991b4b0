"""What the end of a descent is: the tests of `limits.judgement`, those of a flow's end, at the last iterate.

The leaf on which Newton's method looks for the critical point is that of the last iterate: unlike a flow, a descent
leaves the leaf it starts on. The verdict is about the point, not about what the optimiser would do there next: only its
last update must be small too, lest it pass by.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lcnn_flow.descent.course import Course
from lcnn_flow.descent.settings import DescentSettings
from lcnn_flow.dynamics.field import FieldArguments, StartScales, gradient_tolerance, start_scales
from lcnn_flow.dynamics.recording import Record, no_passage
from lcnn_flow.dynamics.settings import FlowSettings
from lcnn_flow.limits.cases import first_case
from lcnn_flow.limits.declaration import keeps_symmetry
from lcnn_flow.limits.judgement import judge
from lcnn_flow.limits.kinks import is_clear_of_kinks
from lcnn_flow.limits.verdict import WITH_LIMIT, Reason, Verdict
from lcnn_flow.numerics.norms import safe_norm
from lcnn_flow.numerics.stored_programs import storable
from lcnn_flow.symmetry.declared import Declared

__all__ = ["Ending", "first_look", "judged", "scale_record"]

_FAR_BELOW = 1e-3
"""Of the gradient tolerance: where a verdict rests on the iterates not having gone on."""
_ABOVE_ROUNDING = 2.0
_SMALL_UPDATE = 100.0
"""Of gradient_rtol, in units of the parameters: more is no rest."""


@storable
class Ending(NamedTuple):
    """Verdict, and what it rests on."""

    verdict: Int[Array, ""]
    """-1 while the tests are still to be made."""
    reason: Int[Array, ""]
    risk: Float[Array, ""]
    energy: Float[Array, ""]
    """Risk at the start less this one."""
    drift: Float[Array, ""]
    """Largest change of what a flow conserves."""
    gradient_norm: Float[Array, ""]
    tolerance: Float[Array, ""]
    limit: Float[Array, " n"]
    """NaN where there is none."""
    polish_distance: Float[Array, ""]
    index: Int[Array, ""]
    nullity: Int[Array, ""]
    smallest: Float[Array, ""]
    isolated: Bool[Array, ""]


def first_look(
    risk: Any, start: Float[Array, " n"], scales: StartScales, course: Course, settings: DescentSettings
) -> Ending:
    """The verdicts that need no tests; -1 where the gradient is below tolerance and the iterates are at rest."""
    risk, start, course = lax.stop_gradient((risk, start, course))
    vector, conserved = course.vector, risk.symmetry.conserved
    record = scale_record(course.trajectory.gradient_norm)
    norm, value = safe_norm(risk.gradient(vector)), risk.value(vector)
    tolerance = gradient_tolerance(risk, vector, scales.least_scale, settings.ends, record)
    sane = jnp.isfinite(safe_norm(risk.gradient(start)))
    finite = jnp.isfinite(norm) & jnp.isfinite(value)
    size = jnp.min(risk.units(vector, start))
    still = course.update <= jnp.maximum(_SMALL_UPDATE * settings.ends.gradient_rtol, _root(vector)) * size
    cases = [
        (~sane, Verdict.NOT_FINITE, Reason.START_NOT_FINITE),
        (~course.alive & course.escaped, Verdict.DIVERGED, Reason.BEYOND_NORM_BOUND),
        (~course.alive | ~finite, Verdict.NOT_FINITE, Reason.UPDATE_NOT_FINITE),
        (~(norm <= tolerance), Verdict.STEP_LIMIT, Reason.STEPS_USED_UP),
        (~still, Verdict.UNDECIDED, Reason.STILL_MOVING),
    ]
    if settings.batch_size is not None:
        cases.insert(3, (jnp.asarray(True), Verdict.UNDECIDED, Reason.MINIBATCHES))
    verdict, reason = first_case(cases)
    none, nothing = jnp.asarray(-1, jnp.int32), jnp.full_like(norm, jnp.nan)
    return Ending(
        verdict=verdict,
        reason=reason,
        risk=value,
        energy=risk.value(start) - value,
        drift=jnp.max(jnp.abs(conserved(vector) - conserved(start)), initial=0.0),
        gradient_norm=norm,
        tolerance=tolerance,
        limit=jnp.full_like(vector, jnp.nan),
        polish_distance=jnp.zeros_like(norm),
        index=none,
        nullity=none,
        smallest=nothing,
        isolated=jnp.asarray(False),
    )


def judged(
    risk: Any,
    start: Float[Array, " n"],
    vector: Float[Array, " n"],
    record: Record,
    seen: Ending,
    ends: FlowSettings,
) -> Ending:
    """The end at `vector` with all tests made; as it was `seen` where it needs none.

    One program whatever the optimiser was: it is given the tolerances alone.
    """
    risk, start, vector, record, seen = lax.stop_gradient((risk, start, vector, record, seen))
    scales = start_scales(risk, start, ends)
    args = FieldArguments(
        risk=risk,
        gradient_atol=ends.gradient_atol,
        gradient_rtol=ends.gradient_rtol,
        least_scale=scales.least_scale,
        norm_bound=scales.norm_bound,
        bounded=jnp.asarray(False),
        rtol=scales.rtol,
        equal=risk.symmetry.equal(start),
    )
    here = judge(args, vector, record, start, risk.symmetry.leaf_levels(vector))
    bend, norm = here.curvature, seen.gradient_norm
    far = (norm <= _FAR_BELOW * seen.tolerance) | (norm <= _ABOVE_ROUNDING * here.rounding)
    saddle = here.exact & (bend.index > 0)
    flat = (here.exact | here.nearby) & (bend.index == 0)
    verdict, reason = first_case(
        [
            (seen.verdict >= 0, seen.verdict, seen.reason),
            (here.converged, Verdict.CONVERGED, Reason.NONE),
            (saddle & here.stays & far, Verdict.AT_SADDLE, Reason.NONE),
            (flat & far, Verdict.DEGENERATE, Reason.NONE),
            (saddle, Verdict.UNDECIDED, Reason.MAY_LEAVE_THE_SADDLE),
            (jnp.asarray(True), Verdict.UNDECIDED, Reason.LIMIT_NOT_RESOLVED),
        ]
    )
    end = seen._replace(verdict=verdict, reason=reason, limit=here.limit)
    if isinstance(risk.symmetry, Declared):
        kept = keeps_symmetry(risk, start, end) | (seen.verdict >= 0)
        verdict = jnp.where(kept, verdict, int(Verdict.UNDECIDED)).astype(jnp.int32)
        reason = jnp.where(kept, reason, int(Reason.SYMMETRY_NOT_KEPT)).astype(jnp.int32)
    if risk.has_kinks:
        claimed = (seen.verdict < 0) & jnp.isin(verdict, jnp.asarray(WITH_LIMIT, verdict.dtype))
        near = claimed & ~is_clear_of_kinks(risk, here.limit, here.distance)
        verdict = jnp.where(near, int(Verdict.UNDECIDED), verdict).astype(jnp.int32)
        reason = jnp.where(near, int(Reason.NEAR_A_KINK), reason).astype(jnp.int32)
    known = jnp.isin(verdict, jnp.asarray(WITH_LIMIT, verdict.dtype))
    none = jnp.asarray(-1, jnp.int32)
    return end._replace(
        verdict=verdict,
        reason=reason,
        limit=jnp.where(known, here.limit, jnp.nan),
        polish_distance=jnp.where(known, here.distance, 0),
        index=jnp.where(known, bend.index, none),
        nullity=jnp.where(known, bend.nullity, none),
        smallest=jnp.where(seen.verdict < 0, bend.smallest, jnp.nan),
        isolated=here.isolated & (verdict == int(Verdict.CONVERGED)),
    )


def scale_record(norms: Float[Array, " T"]) -> Record:
    """What tells the scale of a gradient where a risk does not: sum of |grad L|^2 over sum of |grad L|, as recorded."""
    norms = jnp.where(jnp.isfinite(norms), norms, 0)
    return Record(jnp.sum(norms), jnp.sum(norms**2), no_passage(jnp.zeros((), norms.dtype)), None)


def _root(vector: Array) -> Array:
    return jnp.sqrt(jnp.finfo(vector.dtype).eps).astype(vector.dtype)
