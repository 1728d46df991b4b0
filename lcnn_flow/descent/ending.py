"""The verdict on the end of a descent: the tests of `limits.judgement` applied to the last iterate.

Newton's method searches for the critical point on the leaf of the last iterate, because a descent, unlike a flow,
leaves the leaf on which it starts. The verdict describes the point and not the further behaviour of the optimiser.
However, the last update must be small, which excludes an optimiser that only passes the point. A point from which the
flow separates the data for ever has the verdict DIVERGED, as for a flow: no point of smaller risk is critical.
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
from lcnn_flow.limits.saturation import is_clear_of_saturation
from lcnn_flow.limits.verdict import WITH_LIMIT, Reason, Verdict
from lcnn_flow.numerics.norms import safe_norm
from lcnn_flow.numerics.stored_programs import storable
from lcnn_flow.symmetry.declared import Declared

__all__ = ["Ending", "first_look", "judged", "scale_record"]

_FAR_BELOW = 1e-3
"""Fraction of the gradient tolerance below which the iterates count as staying at the point."""
_ABOVE_ROUNDING = 2.0
_SMALL_UPDATE = 100.0
"""Largest update that counts as rest, in units of gradient_rtol and of the parameters."""


@storable
class Ending(NamedTuple):
    """The verdict and the quantities from which it follows."""

    verdict: Int[Array, ""]
    """-1 before the tests are made."""
    reason: Int[Array, ""]
    risk: Float[Array, ""]
    energy: Float[Array, ""]
    """Risk at the start minus the risk at the end."""
    drift: Float[Array, ""]
    """Largest change of a quantity that a flow conserves."""
    gradient_norm: Float[Array, ""]
    tolerance: Float[Array, ""]
    limit: Float[Array, " n"]
    """NaN if there is no limit."""
    polish_distance: Float[Array, ""]
    index: Int[Array, ""]
    nullity: Int[Array, ""]
    smallest: Float[Array, ""]
    isolated: Bool[Array, ""]


def first_look(
    risk: Any, start: Float[Array, " n"], scales: StartScales, course: Course, settings: DescentSettings
) -> Ending:
    """The verdicts that need no tests; -1 if the gradient is below tolerance and the iterates are at rest."""
    risk, start, course = lax.stop_gradient((risk, start, course))
    vector, conserved = course.vector, risk.symmetry.conserved
    record = scale_record(course.trajectory.gradient_norm)
    norm, value = safe_norm(risk.gradient(vector)), risk.value(vector)
    tolerance = gradient_tolerance(risk, vector, scales.least_scale, settings.ends, record)
    sane = jnp.isfinite(safe_norm(risk.gradient(start)))
    finite = jnp.isfinite(norm) & jnp.isfinite(value)
    size = jnp.min(risk.units(vector, start))
    first = risk.value(start)
    risen = (safe_norm(vector) > scales.far) & (value > first)  # not on its way from a saddle
    still = course.update <= jnp.maximum(_SMALL_UPDATE * settings.ends.gradient_rtol, _root(vector)) * size
    cases = [
        (~sane, Verdict.NOT_FINITE, Reason.START_NOT_FINITE),
        (~course.alive & course.escaped, Verdict.DIVERGED, Reason.BEYOND_NORM_BOUND),
        (~course.alive | ~finite, Verdict.NOT_FINITE, Reason.UPDATE_NOT_FINITE),
        (risen, Verdict.DIVERGED, Reason.BEYOND_NORM_BOUND),
        (risk.is_separated(vector), Verdict.DIVERGED, Reason.SEPARATES),
        (jnp.asarray(settings.batch_size is not None), Verdict.UNDECIDED, Reason.MINIBATCHES),
        (~(norm <= tolerance), Verdict.STEP_LIMIT, Reason.STEPS_USED_UP),
        (~still, Verdict.UNDECIDED, Reason.STILL_MOVING),
    ]
    verdict, reason = first_case(cases)
    none, nothing = jnp.asarray(-1, jnp.int32), jnp.full_like(norm, jnp.nan)
    return Ending(
        verdict=verdict,
        reason=reason,
        risk=value,
        energy=first - value,
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
    """The end at `vector` after all tests; unchanged if the verdict of `seen` is already decided.

    The program does not depend on the optimiser, because it receives only the tolerances.
    """
    risk, start, vector, record, seen = lax.stop_gradient((risk, start, vector, record, seen))
    scales = start_scales(risk, start, ends)
    args = FieldArguments(
        risk=risk,
        gradient_atol=ends.gradient_atol,
        gradient_rtol=ends.gradient_rtol,
        least_scale=scales.least_scale,
        norm_bound=scales.norm_bound,
        far=scales.far,
        bounded=jnp.asarray(False),
        rtol=scales.rtol,
        equal=risk.symmetry.equal(start),
    )
    here = judge(args, vector, record, start, risk.symmetry.leaf_levels(vector))
    signature, norm = here.curvature, seen.gradient_norm
    far = (norm <= _FAR_BELOW * seen.tolerance) | (norm <= _ABOVE_ROUNDING * here.rounding)
    saddle = here.exact & (signature.index > 0)
    flat = (here.exact | here.nearby) & (signature.index == 0)
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
        changed = (seen.verdict < 0) & ~keeps_symmetry(risk, start, end)
        verdict, reason = _withheld(changed, verdict, reason, Reason.SYMMETRY_NOT_KEPT)
    if risk.has_kinks:
        claimed = (seen.verdict < 0) & jnp.isin(verdict, jnp.asarray(WITH_LIMIT, verdict.dtype))
        near = claimed & ~is_clear_of_kinks(risk, here.limit, here.distance)
        verdict, reason = _withheld(near, verdict, reason, Reason.NEAR_A_KINK)
    if risk.can_saturate:
        critical = (verdict == int(Verdict.CONVERGED)) | (verdict == int(Verdict.AT_SADDLE))
        flat = (seen.verdict < 0) & critical & ~is_clear_of_saturation(risk, here.limit, signature.nullity)
        verdict, reason = _withheld(flat, verdict, reason, Reason.SATURATED)
    known = jnp.isin(verdict, jnp.asarray(WITH_LIMIT, verdict.dtype))
    none = jnp.asarray(-1, jnp.int32)
    return end._replace(
        verdict=verdict,
        reason=reason,
        limit=jnp.where(known, here.limit, jnp.nan),
        polish_distance=jnp.where(known, here.distance, 0),
        index=jnp.where(known, signature.index, none),
        nullity=jnp.where(known, signature.nullity, none),
        smallest=jnp.where(seen.verdict < 0, signature.smallest, jnp.nan),
        isolated=here.isolated & (verdict == int(Verdict.CONVERGED)),
    )


def scale_record(norms: Float[Array, " T"]) -> Record:
    """A record from which the scale of the gradient follows: sum of |grad L|^2 divided by sum of |grad L|, over the
    recorded steps."""
    norms = jnp.where(jnp.isfinite(norms), norms, 0)
    return Record(jnp.sum(norms), jnp.sum(norms**2), no_passage(jnp.zeros((), norms.dtype)), None)


def _root(vector: Array) -> Array:
    return jnp.sqrt(jnp.finfo(vector.dtype).eps).astype(vector.dtype)


def _withheld(where: Array, verdict: Array, reason: Array, because: Reason) -> tuple[Array, Array]:
    """Verdict and reason, changed to UNDECIDED `because` of a further test that failed."""
    undecided = jnp.where(where, int(Verdict.UNDECIDED), verdict).astype(jnp.int32)
    return undecided, jnp.where(where, int(because), reason).astype(jnp.int32)
