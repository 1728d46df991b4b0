"""The states of a flow at requested times, and their derivatives.

`flow.search` integrates a flow through its times without differentiation. The reverse-mode derivative integrates it
again by diffrax, with the same steps; programs that do not use the derivative do not contain that integration.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from lcnn_flow.dynamics.field import FieldArguments
from lcnn_flow.dynamics.observing import measure
from lcnn_flow.dynamics.recording import Saved, blank_record
from lcnn_flow.dynamics.settings import FlowSettings
from lcnn_flow.flow.integration import Span, integrate, without_table
from lcnn_flow.flow.result import Trajectory
from lcnn_flow.risk.base import RiskLike

__all__ = ["differentiable", "integrate_on_grid", "measured", "span_at_start"]


def span_at_start(start: Float[Array, " n"], times: Float[Array, " T"] | None) -> Span:
    """The state before the first step, with an empty table for the states at `times`."""
    zero, no = jnp.zeros((), start.dtype), jnp.asarray(False)
    return Span(start, blank_record(start, zero, times), zero, jnp.asarray(0, jnp.int32), no, no)


def integrate_on_grid(
    args: FieldArguments, begin: Span, atol: Float[Array, " n"], settings: FlowSettings
) -> tuple[Span, Saved]:
    """Integrates from the start to the last of the times of its table, however small the gradient is.

    Returns:
        The state at the end without the table, and the table of states, which are not finite where not reached.
    """
    assert begin.record.saved is not None
    without_stopping = args._replace(
        gradient_atol=jnp.full_like(args.gradient_atol, -1), gradient_rtol=jnp.zeros_like(args.gradient_rtol)
    )
    end = integrate(without_stopping, begin, begin.record.saved.times[-1], settings, args.rtol, atol)
    assert end.record.saved is not None
    return without_table(end), end.record.saved


_Problem = tuple[FieldArguments, Span, Float[Array, " n"]]


@eqx.filter_custom_vjp
def differentiable(problem: _Problem, computed: Saved, settings: FlowSettings) -> Saved:
    """`computed` with the derivative of the table of `integrate_on_grid(*problem, settings)`."""
    del problem, settings
    return computed


@differentiable.def_fwd
def _forward(perturbed: Any, problem: _Problem, computed: Saved, settings: FlowSettings) -> tuple[Saved, Any]:
    """The states of a second integration, because a derivative of the derivative depends on them."""
    del perturbed, computed

    def again(given: _Problem) -> Saved:
        args, begin, atol = given
        return integrate_on_grid(args, begin, atol, settings)[1]

    return eqx.filter_vjp(again, problem)


@differentiable.def_bwd
def _backward(
    pull: Any, cotangent: Saved, perturbed: Any, problem: _Problem, computed: Saved, settings: FlowSettings
) -> Any:
    del perturbed, problem, settings
    return pull(jax.tree.map(lambda x, g: jnp.zeros_like(x) if g is None else g, computed, cotangent))[0]


def measured(
    risk: RiskLike, start: Float[Array, " n"], saved: Saved, reached: Float[Array, ""], settings: FlowSettings
) -> Trajectory:
    """The trajectory, from the states saved along a flow."""
    valid = saved.times <= reached

    def only_valid(x: Array) -> Array:
        return jnp.where(valid.reshape(-1, *(1 for _ in x.shape[1:])), x, jnp.nan)

    states = only_valid(saved.states)
    layers, value, norm, v, squares, conserved, own = lax.map(
        lambda vector: measure(risk, vector, start, settings.record), states
    )
    path_length, dissipation = only_valid(saved.lengths).T
    energy = risk.value(start) - value
    return Trajectory(
        time=saved.times,
        params=layers,
        risk=value,
        gradient_norm=only_valid(norm),
        end_to_end_filter=v,
        squared_norms=squares,
        balancedness=conserved,
        path_length=path_length,
        energy=energy,
        energy_defect=energy - dissipation,
        valid_until=reached,
        record=None if own is None else jax.tree.map(only_valid, own),
    )
