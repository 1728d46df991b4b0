"""The trajectories recorded by lanes, with the same quantities as those of `flow.single`."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from lcnn_flow.dynamics.observing import observe
from lcnn_flow.flow.result import Trajectory
from lcnn_flow.numerics.norms import safe_norm
from lcnn_flow.numerics.pytrees import HashableTree
from lcnn_flow.risk.chain_rule import gradient
from lcnn_flow.risk.linear import LinearRisk

__all__ = ["lane_trajectories"]


def lane_trajectories(
    risk: LinearRisk,
    times: Float[Array, " T"],
    table: Float[Array, "seeds T k"],
    starts: Float[Array, "n seeds"],
    reached: Float[Array, " seeds"],
    width: int,
    record: HashableTree | None,
) -> Trajectory:
    """Trajectories, with seeds in the first axis.

    Args:
        risk: one risk for all flows.
        times: the grid.
        table: filters, path length and dissipation at all times, k = n + 2 numbers; NaN where not reached.
        starts: initial filters.
        reached: the time up to which each flow was integrated.
        width: number of seeds processed at a time, a divisor of their total number.
        record: observables of the user, or None.
    """
    arch, outer, seeds = risk.arch, risk.outer, len(table)
    rows = table.reshape(-1, width, table.shape[2])  # seeds and times in one axis, in parts of equal size

    def measured(part: Float[Array, "width k"]) -> tuple[Array, ...]:
        vector = part[:, :-2].T
        norm = safe_norm(gradient(arch, outer, vector))
        of_each = (risk.end_to_end_filter, risk.space.squared_norms, risk.symmetry.conserved)
        v, squares, conserved = (jax.vmap(x, in_axes=1)(vector) for x in of_each)
        return outer.value(risk.image(vector)), norm, v, squares, conserved

    value, norm, v, squares, conserved = jax.tree.map(
        lambda x: x.reshape(seeds, times.size, *x.shape[2:]), lax.map(measured, rows)
    )
    own = None
    if record is not None:
        begins = jnp.repeat(starts.T, times.size, axis=0).reshape(-1, width, len(starts))
        found = lax.map(lambda x: _observed(risk, x[0], x[1], record), (rows[:, :, :-2], begins))
        own = jax.tree.map(lambda x: x.reshape(seeds, times.size, *x.shape[2:]), found)
        own = jax.tree.map(lambda x: _only_reached(x, table[:, :, 0]), own)
    many = jax.vmap(jax.vmap(risk.space.unravel))
    energy = outer.value(risk.image(starts))[:, None] - value
    return Trajectory(
        time=jnp.broadcast_to(times, (seeds, times.size)),
        params=many(table[:, :, :-2]),
        risk=value,
        gradient_norm=norm,
        end_to_end_filter=v,
        squared_norms=squares,
        balancedness=conserved,
        path_length=table[:, :, -2],
        energy=energy,
        energy_defect=energy - table[:, :, -1],
        valid_until=reached,
        record=own,
    )


def _observed(
    risk: LinearRisk, vectors: Float[Array, "width n"], starts: Float[Array, "width n"], record: HashableTree
) -> dict[str, Array]:
    return jax.vmap(lambda vector, start: observe(risk, vector, start, record))(vectors, starts)


def _only_reached(x: Float[Array, "seeds T ..."], mark: Float[Array, "seeds T"]) -> Float[Array, "seeds T ..."]:
    """Replaces values by NaN where `mark` is NaN."""
    return jnp.where(jnp.isnan(mark).reshape(*mark.shape, *(1 for _ in x.shape[2:])), jnp.nan, x)
