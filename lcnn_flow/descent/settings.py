"""Checked settings of a descent: optimiser, steps, minibatches, records, and tolerances of the tests of its end."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp

from lcnn_flow.arguments import check_key, described
from lcnn_flow.descent.optimiser import checked_numbers, time_unit
from lcnn_flow.dynamics.observing import check_record
from lcnn_flow.dynamics.settings import FlowSettings, flow_settings
from lcnn_flow.errors import DescentError
from lcnn_flow.numerics.memory import check_memory
from lcnn_flow.numerics.pytrees import HashableTree

__all__ = ["DescentSettings", "descent_settings"]


class DescentSettings(eqx.Module):
    """Checked options of `gradient_descent`; numbers are leaves, so that other numbers need no new compilation."""

    optimiser: HashableTree
    """A factory, or a ready-made optimiser."""
    numbers: HashableTree
    """Arguments of the factory, by name."""
    ends: FlowSettings
    """Tolerances and norm bound."""
    record: HashableTree | None
    steps: int = eqx.field(static=True)
    record_every: int = eqx.field(static=True)
    batch_size: int | None = eqx.field(static=True)

    @property
    def time_unit(self) -> str:
        """See `optimiser.time_unit`."""
        return time_unit(self.numbers.tree)


def descent_settings(
    name: str,
    risk: Any,
    layers: tuple[Any, ...],
    optimiser: Any,
    numbers: Any,
    leading: int = 0,
    *,
    steps: Any,
    record_every: Any = None,
    batch_size: Any = None,
    key: Any = None,
    record: Any = None,
    **tolerances: Any,
) -> tuple[Any, DescentSettings]:
    """The risk, prepared for minibatches if there are any, and the checked options.

    Args:
        name: name of the called function, for error messages.
        risk: the risk to minimise.
        layers: initial parameters.
        optimiser, numbers: see `optimiser`.
        leading: largest number of axes that a number may have.
        steps, record_every, batch_size, key, record: see `single.gradient_descent`.
        tolerances: gradient_rtol, gradient_atol and norm_bound, as in `FlowOptions`.

    Raises:
        DescentError: options do not fit together.
        RiskError: minibatches of a risk that has no samples.
        FlowError: a tolerance is below what the precision resolves.
    """
    _check_count("steps", steps)
    every = steps if record_every is None else record_every
    _check_count("record_every", every)
    if steps % every:
        raise DescentError(
            f"steps = {steps} is not a multiple of record_every = {every}: write steps={-(-steps // every) * every}"
        )
    if batch_size is not None:
        risk = risk.for_minibatches(batch_size)
        if key is None:
            raise DescentError("minibatches are drawn at random: write key=jax.random.key(0)")
        check_key(name, key, DescentError)
    elif key is not None:
        raise DescentError("key draws minibatches, but there are none: write batch_size=..., or leave the key out")
    ends = flow_settings(layers, **{k: v for k, v in tolerances.items() if v is not None})
    dtype = jnp.result_type(*layers)
    if batch_size is None:
        check_memory(risk.space.num_parameters, dtype)
    settings = DescentSettings(
        optimiser=HashableTree.of(optimiser),
        numbers=HashableTree.of(checked_numbers(optimiser, numbers, dtype, leading)),
        ends=ends,
        record=check_record(record, DescentError),
        steps=steps,
        record_every=every,
        batch_size=batch_size,
    )
    return risk, settings


def _check_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise DescentError(f"{name} is {described(value)}: write an integer of at least 1")
