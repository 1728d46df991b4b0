"""The steps of an optimiser as one program: w_{k+1} = w_k + update(grad L(w_k)), recorded at regular intervals.

Gradients are computed for raveled parameters, which is fastest. The optimiser receives the user's tree, because
clipping and norms per leaf depend on it; fixed values in the tree are None there. Minibatches are drawn without
replacement: every epoch has its own order, and its last samples are skipped if they do not fill a minibatch. Whether
the parameters are finite and within the norm bound is checked at the recorded steps; after a failed check the
parameters stay at the last recorded point that passed.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree

from lcnn_flow.descent.optimiser import make, rates, standard_promotion
from lcnn_flow.descent.settings import DescentSettings
from lcnn_flow.dynamics.observing import measure
from lcnn_flow.network.parameters import ravel
from lcnn_flow.numerics.stored_programs import storable

__all__ = ["Course", "DescentTrajectory", "run_course"]


@storable
class DescentTrajectory(NamedTuple):
    """A descent at the recorded steps; entries after `valid_until` are NaN."""

    step: Int[Array, " T"]
    """0, record_every, 2 record_every, ..., steps."""
    time: Float[Array, " T"]
    """Sum of the learning rates up to the step, in the units of a flow's time, or the step number: see
    `Descent.time_unit`."""
    params: PyTree
    """Parameters in the tree in which they were given, each with a leading axis T."""
    risk: Float[Array, " T"]
    """Risk of all samples, also for steps on minibatches."""
    gradient_norm: Float[Array, " T"]
    """Gradient norm of all samples, also for steps on minibatches."""
    end_to_end_filter: Float[Array, "T ..."] | None
    """The end-to-end filter; None if the risk is not that of a linear network."""
    squared_norms: Float[Array, "T N"]
    """Squared norm |w_l|^2 of each layer."""
    balancedness: Float[Array, "T d"]
    """The quantities that a flow conserves, as in `Trajectory`; a descent does not conserve them."""
    valid_until: Int[Array, ""]
    """Last recorded step whose parameters are finite and within the norm bound."""
    record: dict[str, Array] | None
    """Observables of the user by name, (T, ...); None unless `record` was given."""


@storable
class Course(NamedTuple):
    """Result of all steps, before the end is judged."""

    vector: Float[Array, " n"]
    """Raveled parameters at `valid_until`."""
    trajectory: DescentTrajectory
    """The trajectory, with parameters as layers."""
    time: Float[Array, ""]
    """Time at `valid_until`."""
    alive: Bool[Array, ""]
    """Whether all steps were taken within the norm bound."""
    escaped: Bool[Array, ""]
    """Whether the norm of the parameters exceeded the bound and was finite."""
    update: Float[Array, ""]
    """Norm of the last update."""


class _State(NamedTuple):
    layers: tuple[Array, ...]
    optimiser: Any
    count: Int[Array, ""]
    order: Int[Array, " m"] | None
    """Order of the samples in this epoch; None without minibatches."""
    peak: Float[Array, ""]
    """Largest finite squared norm so far."""
    moved: Float[Array, ""]
    """Squared norm of the last update."""


def run_course(
    risk: Any, start: Float[Array, " n"], bound: Float[Array, ""], settings: DescentSettings, key: Any
) -> Course:
    """All steps from the raveled parameters `start`.

    Args:
        risk: one risk, prepared for minibatches if the settings require them.
        start: (n,).
        bound: norm above which the parameters count as escaped.
        settings: checked settings.
        key: random key of the minibatches, or None.
    """
    with standard_promotion():
        optimiser = make(settings.optimiser.tree, settings.numbers.tree)

    def one(state: _State, _: None) -> tuple[_State, None]:
        return _step(risk, optimiser, state, settings.batch_size, key), None

    def chunk(carry: tuple[_State, Array], _: None) -> tuple[tuple[_State, Array], tuple[Any, ...]]:
        before, alive = carry
        state, _ = lax.scan(one, before, None, length=settings.record_every)
        square = sum(jnp.sum(w**2) for w in state.layers)
        alive = alive & (square <= bound**2) & (state.peak <= bound**2)  # false for NaN
        kept = jax.tree.map(lambda new, old: jnp.where(alive, new, old), state.layers, before.layers)
        return (state._replace(layers=kept), alive), (kept, alive)

    layers = risk.space.unravel(start)
    begins = jnp.sum(start**2) <= bound**2
    with standard_promotion():
        initial = optimiser.init(risk.space.moving_tree(layers))
    zero = jnp.zeros((), start.dtype)
    order = None if settings.batch_size is None else jnp.arange(risk.num_samples)
    first = _State(layers, initial, jnp.zeros((), jnp.int32), order, zero, zero)
    count = settings.steps // settings.record_every
    (last, alive), (rows, good) = lax.scan(chunk, (first, begins), None, length=count)
    good = jnp.concatenate([begins[None], good])
    states = jax.vmap(ravel)(jax.tree.map(lambda w, rest: jnp.concatenate([w[None], rest]), layers, rows))
    trajectory = _trajectory(risk, states, start, good, settings)
    reached = jnp.maximum(jnp.sum(good) - 1, 0)
    return Course(
        vector=ravel(last.layers),
        trajectory=trajectory,
        time=trajectory.time[reached],
        alive=alive,
        escaped=last.peak > bound**2,
        update=jnp.sqrt(last.moved),
    )


def _step(risk: Any, optimiser: Any, state: _State, batch_size: int | None, key: Any) -> _State:
    source, order = risk, state.order
    if batch_size is not None:
        order, indices = _drawn(state, batch_size, key)
        source = risk.minibatch(indices)
    space, vector = risk.space, ravel(state.layers)
    params = space.moving_tree(state.layers)
    gradient = space.moving_tree(space.unravel(source.gradient(vector)))

    def value(tree: PyTree) -> Array:
        return source.value(ravel(jax.tree.leaves(tree)))

    with standard_promotion():
        extra = {"value": value(params), "grad": gradient, "value_fn": value}
        updates, inner = optimiser.update(gradient, state.optimiser, params, **extra)
        layers = tuple(jax.tree.leaves(optax.apply_updates(params, updates)))
    square = jnp.asarray(sum(jnp.sum(w**2) for w in layers))
    moved = jnp.asarray(sum(jnp.sum((w - old) ** 2) for w, old in zip(layers, state.layers, strict=True)))
    peak = jnp.maximum(state.peak, jnp.where(jnp.isfinite(square), square, state.peak))
    return _State(layers, inner, state.count + 1, order, peak, moved)


def _drawn(state: _State, batch_size: int, key: Any) -> tuple[Array, Array]:
    """The order of the samples in this epoch, and the indices of the current minibatch."""
    samples = state.order.shape[0]  # pyright: ignore[reportOptionalMemberAccess]
    steps_per_epoch = jnp.asarray(samples // batch_size, jnp.int32)
    epoch, place = state.count // steps_per_epoch, state.count % steps_per_epoch

    def fresh() -> Array:
        return jax.random.permutation(jax.random.fold_in(key, epoch), samples)

    order = lax.cond(place == 0, fresh, lambda: state.order)
    return order, lax.dynamic_slice_in_dim(order, place * batch_size, batch_size)


def _trajectory(
    risk: Any, states: Float[Array, "T n"], start: Array, good: Bool[Array, " T"], settings: DescentSettings
) -> DescentTrajectory:
    marked = jnp.where(good[:, None], states, jnp.nan)
    layers, value, norm, v, squares, conserved, own = lax.map(
        lambda vector: measure(risk, vector, start, settings.record), marked
    )

    def only_valid(x: Array) -> Array:
        return jnp.where(good.reshape(-1, *(1 for _ in x.shape[1:])), x, jnp.nan)

    every, dtype = settings.record_every, start.dtype
    numbers = settings.numbers.tree
    if settings.time_unit == "steps" or not callable(numbers["learning_rate"]):  # rounds once, not in every step
        time = rates(numbers, 1, dtype) * jnp.arange(len(good), dtype=dtype) * every
    else:
        total = jnp.cumsum(rates(numbers, settings.steps, dtype))
        time = jnp.concatenate([jnp.zeros(1, dtype), total[every - 1 :: every]])
    step = every * jnp.arange(len(good), dtype=jnp.int32)
    return DescentTrajectory(
        step=step,
        time=time,
        params=layers,
        risk=only_valid(value),
        gradient_norm=only_valid(norm),
        end_to_end_filter=v,
        squared_norms=squares,
        balancedness=conserved,
        valid_until=step[jnp.maximum(jnp.sum(good) - 1, 0)],
        record=None if own is None else jax.tree.map(only_valid, own),
    )
