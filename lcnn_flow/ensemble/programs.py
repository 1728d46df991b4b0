"""One block of flows, compiled as one program: lanes to the gradient tolerance, then the tests of regular limits.

Undecided flows continue in a `SearchBlock`, from the state that their lane reached; flows whose lane did not reach the
last of the times start again. The results of a block depend on its seeds and on nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import diffrax
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree

from lcnn_flow.dynamics.field import gradient_tolerance, start_scales
from lcnn_flow.dynamics.recording import Record
from lcnn_flow.dynamics.settings import FlowSettings
from lcnn_flow.ensemble.lane_step import LaneStart
from lcnn_flow.ensemble.lane_trajectory import lane_trajectories
from lcnn_flow.ensemble.lanes import LanesEnd, integrate_lanes
from lcnn_flow.ensemble.regular_limit import regular_limit
from lcnn_flow.flow.decision import CLEAR_OF_SADDLES, PARTS
from lcnn_flow.flow.integration import Span
from lcnn_flow.flow.result import Flow
from lcnn_flow.flow.search import TIGHTER, reduced_rtol
from lcnn_flow.flow.single import end_of_time, run_flow
from lcnn_flow.limits.growth import growth_rate
from lcnn_flow.limits.verdict import Verdict
from lcnn_flow.network.parameters import Params
from lcnn_flow.numerics.norms import safe_norm
from lcnn_flow.numerics.stored_programs import storable
from lcnn_flow.risk.base import RiskLike
from lcnn_flow.risk.linear import LinearRisk
from lcnn_flow.solvers import AbstractRosenbrock, dense_stage_solver

__all__ = [
    "LaneBlock",
    "LaneResults",
    "Reached",
    "SearchBlock",
    "can_decide_in_lanes",
    "fits_lanes",
    "uses_own_linear_algebra",
]


@storable
class Reached(NamedTuple):
    """States that the lanes of a block reached, with seeds in the first axis."""

    vector: Float[Array, "seeds n"]
    record: Record
    time: Float[Array, " seeds"]
    steps: Int[Array, " seeds"]


@storable
class LaneResults(NamedTuple):
    """The results of lanes for one block, with seeds in the first axis."""

    flows: Flow
    decided: Bool[Array, " seeds"]
    """Whether the tests of regular limits passed, so that the flow is final."""
    again: Bool[Array, " seeds"]
    """Whether a smaller rtol may decide: the gradient is below its tolerance, and the tests of regular limits did not
    pass, or the flow came so close to a saddle that its side is uncertain. Later, for the second reason alone."""
    recorded: Bool[Array, " seeds"]
    """Whether the trajectory is complete; true if none was requested."""
    on_grid: Reached | None
    """States at the last of the times, if reached; None without times."""
    reached: Reached
    """States from which undecided flows continue."""


def fits_lanes(settings: FlowSettings) -> bool:
    """Whether flows with these options can run in lanes: a Rosenbrock method of this library, and no
    differentiation."""
    plain = settings.times is None or isinstance(settings.adjoint, diffrax.RecursiveCheckpointAdjoint)
    return plain and uses_own_linear_algebra(settings)


def uses_own_linear_algebra(settings: FlowSettings) -> bool:
    """Whether the solver is an unmodified Rosenbrock method of this library, so that only `lapack` of this library is
    used."""
    solver = settings.solver
    if not isinstance(solver, AbstractRosenbrock):
        return False
    return solver.stage_solver is dense_stage_solver and solver.after_step is None


def can_decide_in_lanes(risk: RiskLike, settings: FlowSettings) -> bool:
    """Whether lanes can decide verdicts: `regular_limit` requires polishing and a single channel."""
    return settings.polish and risk.symmetry.isolates


@dataclass(frozen=True)
class LaneBlock:
    """The flows of a block in `width` lanes."""

    width: int

    def __call__(self, risk: LinearRisk, arrays: tuple[Params, Array], settings: FlowSettings) -> LaneResults:
        """Runs the block.

        Args:
            risk: one risk for all flows, without derivatives.
            arrays: initial filters (seeds, ...), where seeds is a multiple of `width`, and for every seed how often
                rtol is reduced as in the rounds of `flow.search`, or -1 for padding.
            settings: options for which `fits_lanes` is true.
        """
        (params, level), width = arrays, self.width
        vectors = jnp.concatenate([w.reshape(w.shape[0], -1) for w in params], axis=1).T
        start = _chunkwise(lambda w, k: _lane_start(risk, w, k, settings), width, vectors, level)
        equal = jax.vmap(risk.symmetry.equal, in_axes=1)(vectors)
        symmetric = jnp.any(equal != jnp.eye(equal.shape[-1], dtype=equal.dtype)[None], axis=(1, 2))
        runs = (level >= 0) & ~symmetric  # `flow.search` keeps equal filters equal
        order, count = jnp.argsort(~runs, stable=True), jnp.sum(runs)
        end, on_grid, table = integrate_lanes(risk, start, order, count, width, settings)
        trajectory, recorded, times = None, jnp.ones_like(runs), settings.times
        if on_grid is not None and table is not None and times is not None:
            recorded = on_grid.time >= times[-1]
            until = jnp.where(recorded, on_grid.time, end.time)
            trajectory = lane_trajectories(risk, times, table, vectors, until, width, settings.record)
        if can_decide_in_lanes(risk, settings):
            small, regular, clear, limit, *numbers = _chunkwise(
                lambda a, b: _find(risk, a, b, settings), width, start, end
            )
        else:
            small = regular = clear = jnp.zeros_like(runs)
            limit, numbers = end.vector, (jnp.zeros_like(end.time),) * 8
        flows = _as_flow(risk, end, limit, *numbers)._replace(trajectory=trajectory)
        left = None if on_grid is None else _reached(on_grid)
        ended = small & runs & recorded
        again = ended & jnp.where(regular, ~clear, level == 0)
        return LaneResults(flows, ended & regular & clear, again, recorded, left, _reached(end))


@dataclass(frozen=True)
class SearchBlock:
    """The flows of a block by `gradient_flow`, in lockstep or one after the other."""

    lockstep: bool = True

    def __call__(
        self, risk: RiskLike, arrays: tuple[Params, Reached | None, Reached | None], settings: FlowSettings
    ) -> Flow:
        """Continues from initial filters (seeds, ...), or from states that lanes reached on the grid and at the end.

        Seeds are in the first axis. Flows that continue from lanes have no trajectories, because lanes have recorded
        them.
        """
        params, on_grid, reached = arrays
        if reached is None and not self.lockstep:
            return lax.map(lambda w: run_flow(risk, w, settings), params)
        if reached is None:
            return jax.vmap(lambda w: run_flow(risk, w, settings))(params)

        def span(left: Reached) -> Span:
            no = jnp.asarray(False)
            return Span(*left, no, no)

        def one(w: Params, on_grid: Reached | None, reached: Reached) -> Flow:
            return run_flow(risk, w, settings, span(reached), None if on_grid is None else span(on_grid))

        return jax.vmap(one)(params, on_grid, reached)


def _reached(end: LanesEnd) -> Reached:
    record = Record(end.path_length, end.dissipation, end.passage, None)
    return Reached(end.vector.T, record, end.time, end.steps)


def _lane_start(
    risk: LinearRisk, vectors: Float[Array, "n lanes"], level: Int[Array, " lanes"], settings: FlowSettings
) -> LaneStart:
    scales = start_scales(risk, vectors, settings)
    rtol = reduced_rtol(scales.rtol, TIGHTER ** level.astype(vectors.dtype))
    return LaneStart(
        vector=vectors,
        rtol=rtol,
        atol=scales.atol * (rtol / scales.rtol)[None],
        least_scale=scales.least_scale,
        norm_bound=scales.norm_bound,
        max_time=end_of_time(scales, settings),
        first_step=scales.first_step,
        part=jnp.where(level > 0, PARTS[1], PARTS[0]).astype(vectors.dtype),
    )


def _find(risk: LinearRisk, start: LaneStart, end: LanesEnd, settings: FlowSettings) -> tuple[Array, ...]:
    """Whether each flow ends with a small gradient, whether at a regular limit, whether it was clear of saddles on its
    way, the limit, and the measured fields of `Flow`, with lanes in the last axis."""
    w = end.vector
    leaf = risk.symmetry.conserved(start.vector)
    limit = regular_limit(risk, w, leaf)
    gradient = risk.gradient(w)
    norm = safe_norm(gradient)
    tolerance = gradient_tolerance(risk, w, start.least_scale, settings)
    form = risk.outer
    begin, value = (form.value(risk.image(x)) for x in (start.vector, w))
    drift = jnp.max(jnp.abs(risk.symmetry.conserved(w) - leaf), axis=0, initial=0.0)
    clear = start.rtol * end.passage.rebound <= CLEAR_OF_SADDLES
    small = (norm <= tolerance) & jnp.isfinite(value) & (safe_norm(w) <= start.norm_bound)
    rate = growth_rate(w, gradient, end.time)
    numbers = (begin - value, value, norm, tolerance, drift, limit.distance, limit.smallest_curvature, rate)
    return small, limit.passed, clear, limit.vector, *numbers


def _as_flow(
    risk: LinearRisk,
    end: LanesEnd,
    limit: Array,
    energy: Array,
    value: Array,
    norm: Array,
    tolerance: Array,
    drift: Array,
    distance: Array,
    smallest: Array,
    rate: Array,
) -> Flow:
    """CONVERGED flows, with seeds in the first axis."""
    yes, none = jnp.ones(value.shape, bool), jnp.zeros(value.shape, jnp.int32)
    many = jax.vmap(risk.space.unravel, in_axes=1)
    return Flow(
        verdict=jnp.full(value.shape, int(Verdict.CONVERGED), jnp.int32),
        reason=none,
        final=many(end.vector),
        limit=many(limit),
        risk=value,
        gradient_norm=norm,
        gradient_tolerance=tolerance,
        time=end.time,
        steps=end.steps,
        path_length=end.path_length,
        energy=energy,
        energy_defect=energy - end.dissipation,
        invariant_drift=drift,
        polish_distance=distance,
        hessian_index=none,
        nullity=none,
        smallest_curvature=smallest,
        growth_rate=rate,
        limit_is_isolated=yes,
        sound=yes,
        trajectory=None,
    )


def _chunkwise(function: Callable[..., PyTree], width: int, *arrays: PyTree) -> PyTree:
    """Applies `function` to `width` seeds at a time; seeds are in the last axis of all arguments and results."""

    def split(x: Array) -> Array:
        return jnp.moveaxis(x.reshape(*x.shape[:-1], -1, width), -2, 0)

    def join(x: Array) -> Array:
        x = jnp.moveaxis(x, 0, -2)
        return x.reshape(*x.shape[:-2], -1)

    return jax.tree.map(join, lax.map(lambda chunk: function(*chunk), jax.tree.map(split, arrays)))
