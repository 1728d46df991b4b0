"""One block of flows, compiled as one program: lanes to the gradient tolerance, then the tests of regular limits.

What comes out undecided goes on in a `SearchBlock`, from where its lane was left; where lanes did not come to the last
of the times, from the start. A block's results depend on the seeds in it and on nothing else.
"""

from dataclasses import dataclass
from typing import NamedTuple

import diffrax
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lcnn_flow.dynamics.field import gradient_tolerance, start_scales
from lcnn_flow.dynamics.recording import Record
from lcnn_flow.dynamics.settings import FlowSettings
from lcnn_flow.ensemble.lane_step import LaneStart
from lcnn_flow.ensemble.lane_trajectory import lane_trajectories
from lcnn_flow.ensemble.lanes import LanesEnd, integrate_lanes
from lcnn_flow.ensemble.regular_limit import regular_limit
from lcnn_flow.flow.integration import Span
from lcnn_flow.flow.result import Flow
from lcnn_flow.flow.search import CLEAR_OF_SADDLES
from lcnn_flow.flow.single import end_of_time, run_flow
from lcnn_flow.limits.growth import growth_rate
from lcnn_flow.limits.verdict import Verdict
from lcnn_flow.network.parameters import Params
from lcnn_flow.numerics.norms import safe_norm
from lcnn_flow.numerics.stored_programs import storable
from lcnn_flow.risk.base import RiskLike
from lcnn_flow.risk.linear import LinearRisk
from lcnn_flow.solvers import AbstractRosenbrock, dense_stage_solver

__all__ = ["LaneBlock", "Laned", "Reached", "SearchBlock", "fits_lanes", "solved_by_us", "tells_regular"]


@storable
class Reached(NamedTuple):
    """Where the lanes of a block left its flows, seeds first."""

    vector: Float[Array, "seeds n"]
    record: Record
    time: Float[Array, " seeds"]
    steps: Int[Array, " seeds"]


@storable
class Laned(NamedTuple):
    """What lanes made of a block, seeds first."""

    flows: Flow
    decided: Bool[Array, " seeds"]
    """The tests of regular limits passed: the flow is as it is to be."""
    recorded: Bool[Array, " seeds"]
    """The trajectory is whole; also where none was asked for."""
    on_grid: Reached | None
    """At the last of the times, where these were reached; None without times."""
    reached: Reached
    """Where what is undecided goes on."""


def fits_lanes(settings: FlowSettings) -> bool:
    """Whether flows with these options can run in lanes: by a Rosenbrock method of ours, not to be differentiated."""
    plain = settings.times is None or isinstance(settings.adjoint, diffrax.RecursiveCheckpointAdjoint)
    return plain and solved_by_us(settings)


def solved_by_us(settings: FlowSettings) -> bool:
    """Whether all linear algebra of the steps is ours (`lapack`): a Rosenbrock method of ours, as it comes."""
    solver = settings.solver
    if not isinstance(solver, AbstractRosenbrock):
        return False
    return solver.stage_solver is dense_stage_solver and solver.after_step is None


def tells_regular(risk: RiskLike, settings: FlowSettings) -> bool:
    """Whether lanes can decide anything: `regular_limit` polishes, and knows a single channel only."""
    return settings.polish and risk.symmetry.isolates


@dataclass(frozen=True)
class LaneBlock:
    """Flows of a block as far as lanes take them; `width` lanes."""

    width: int

    def __call__(self, risk: LinearRisk, arrays: tuple[Params, Array], settings: FlowSettings) -> Laned:
        """Runs the block.

        Args:
            risk: one risk for all; held constant.
            arrays: initial filters (seeds, ...), a multiple of `width`; false for seeds that only fill the block up.
            settings: options for which `fits_lanes`.
        """
        (params, wanted), width = arrays, self.width
        vectors = jnp.concatenate([w.reshape(w.shape[0], -1) for w in params], axis=1).T
        start = _chunkwise(lambda chunk: _lane_start(risk, chunk, settings), width, vectors)
        equal = jax.vmap(risk.symmetry.equal, in_axes=1)(vectors)
        symmetric = jnp.any(equal != jnp.eye(equal.shape[-1], dtype=equal.dtype)[None], axis=(1, 2))
        runs = wanted & ~symmetric  # filters that start equal must stay so bit for bit: `flow.search` sees to that
        order, count = jnp.argsort(~runs, stable=True), jnp.sum(runs)
        end, on_grid, table = integrate_lanes(risk, start, order, count, width, settings)
        trajectory, recorded, times = None, jnp.ones_like(wanted), settings.times
        if on_grid is not None and table is not None and times is not None:
            recorded = on_grid.time >= times[-1]
            until = jnp.where(recorded, on_grid.time, end.time)
            trajectory = lane_trajectories(risk, times, table, vectors, until, width, settings.record)
        if tells_regular(risk, settings):
            passed, limit, *numbers = _chunkwise(lambda a, b: _find(risk, a, b, settings), width, start, end)
        else:
            passed, limit, numbers = jnp.zeros_like(wanted), end.vector, (jnp.zeros_like(end.time),) * 8
        flows = _as_flow(risk, end, limit, *numbers)._replace(trajectory=trajectory)
        left = None if on_grid is None else _reached(on_grid)
        return Laned(flows, passed & runs & recorded, recorded, left, _reached(end))


@dataclass(frozen=True)
class SearchBlock:
    """Flows of a block by `gradient_flow`, in lockstep or one after the other."""

    lockstep: bool = True

    def __call__(
        self, risk: RiskLike, arrays: tuple[Params, Reached | None, Reached | None], settings: FlowSettings
    ) -> Flow:
        """From initial filters (seeds, ...), or from where lanes left them, at the last of the times and at the end.

        Seeds first. Flows from where lanes left them come without trajectories: lanes have recorded them.
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


def _lane_start(risk: LinearRisk, vectors: Float[Array, "n lanes"], settings: FlowSettings) -> LaneStart:
    scales = start_scales(risk, vectors, settings)
    return LaneStart(
        vector=vectors,
        rtol=scales.rtol,
        atol=scales.atol,
        least_scale=scales.least_scale,
        norm_bound=scales.norm_bound,
        max_time=end_of_time(scales, settings),
        first_step=scales.first_step,
    )


def _find(risk: LinearRisk, start: LaneStart, end: LanesEnd, settings: FlowSettings) -> tuple[Array, ...]:
    """Whether the flow converged, its limit, and the numbers of `Flow` that are measured, lanes last."""
    w = end.vector
    leaf = risk.symmetry.conserved(start.vector)
    limit = regular_limit(risk, w, leaf)
    slope = risk.gradient(w)
    norm = safe_norm(slope)
    tolerance = gradient_tolerance(risk, w, start.least_scale, settings)
    form = risk.outer
    begin, value = (form.value(risk.image(x)) for x in (start.vector, w))
    drift = jnp.max(jnp.abs(risk.symmetry.conserved(w) - leaf), axis=0, initial=0.0)
    clear = start.rtol * end.passage.rebound <= CLEAR_OF_SADDLES
    passed = limit.passed & clear & (norm <= tolerance) & jnp.isfinite(value) & (safe_norm(w) <= start.norm_bound)
    rate = growth_rate(w, slope, end.time)
    numbers = (begin - value, value, norm, tolerance, drift, limit.distance, limit.smallest_curvature, rate)
    return passed, limit.vector, *numbers


def _as_flow(risk, end, limit, energy, value, norm, tolerance, drift, distance, smallest, rate) -> Flow:
    """CONVERGED flows, seeds first."""
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


def _chunkwise(function, width: int, *arrays):
    """`function` on `width` seeds at a time, seeds last in all arrays that it takes and gives."""

    def split(x: Array) -> Array:
        return jnp.moveaxis(x.reshape(*x.shape[:-1], -1, width), -2, 0)

    def join(x: Array) -> Array:
        x = jnp.moveaxis(x, 0, -2)
        return x.reshape(*x.shape[:-2], -1)

    return jax.tree.map(join, lax.map(lambda chunk: function(*chunk), jax.tree.map(split, arrays)))
