"""Descents of the cells of a batch; cells that differ only in the numbers of the optimiser run as one ensemble."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import jax
import numpy as np
import optax

import lcnn_flow as lf
from experiments.schema import Configuration
from experiments.schema.dynamics import Descent

__all__ = ["OPTIMIZERS", "descents", "numbers_of"]

OPTIMIZERS: dict[str, tuple[Callable[..., optax.GradientTransformation], dict[str, Any]]] = {
    "sgd": (optax.sgd, {}),
    "momentum": (optax.sgd, {}),
    "nesterov": (optax.sgd, {"nesterov": True}),
    "adam": (optax.adam, {}),
    "nadam": (optax.nadam, {}),
    "adamw": (optax.adamw, {}),
    "rmsprop": (optax.rmsprop, {}),
    "adagrad": (optax.adagrad, {}),
    "lion": (optax.lion, {"weight_decay": 0.0}),
}
"""Factory of optax and its fixed arguments, by the kind of `dynamics.optimizer`."""


def numbers_of(descent: Descent) -> dict[str, Any]:
    """All arguments of the factory, by name."""
    return descent.optimizer.model_dump(exclude={"kind"}) | OPTIMIZERS[descent.optimizer.kind][1]


def descents(
    configurations: Sequence[Configuration],
    risks: Sequence[Any],
    starts: Sequence[Any],
    first_seed: int,
    record: dict[str, Callable[..., Any]],
    progress: Callable[[int, int], None],
) -> list[Any]:
    """The descents of several cells of one compile group, one result per cell.

    Args:
        configurations: of the cells.
        risks: of the cells.
        starts: initial parameters of the cells, with a leading axis of seeds.
        first_seed: the number of the first seed.
        record: observables that are recorded along the descents, by name.
        progress: called as progress(done, total) with numbers of descents of all cells.
    """
    total = len(starts) * len(jax.tree.leaves(starts[0])[0])
    if len(configurations) > 1 and _differ_in_numbers_alone(configurations):
        numbers = _stacked([numbers_of(_descent(one)) for one in configurations])
        options = _options(configurations[0], first_seed, record)
        run = lf.gradient_descent_ensemble(risks[0], starts[0], numbers=numbers, progress=progress, **options)
        return [_of_rate(run, i) for i in range(len(configurations))]
    found = []
    for configuration, risk, start in zip(configurations, risks, starts, strict=True):
        options = _options(configuration, first_seed, record)
        found.append(lf.gradient_descent_ensemble(risk, start, numbers=numbers_of(_descent(configuration)), **options))
        progress(total * len(found) // len(starts), total)
    return found


def _descent(configuration: Configuration) -> Descent:
    descent = configuration.descent
    assert descent is not None
    return descent


def _options(configuration: Configuration, first_seed: int, record: dict[str, Callable[..., Any]]) -> dict[str, Any]:
    """Arguments of `gradient_descent_ensemble` without the numbers of the optimiser."""
    descent = _descent(configuration)
    options: dict[str, Any] = {
        "optimiser": OPTIMIZERS[descent.optimizer.kind][0],
        "steps": descent.steps,
        "record_every": descent.record_every,
        "record": record or None,
    }
    if descent.batch_size is not None:
        options["batch_size"] = descent.batch_size
        options["key"] = jax.random.fold_in(jax.random.key(descent.seed), first_seed)
    shared = configuration.flow.model_dump(include={"gradient_rtol", "gradient_atol", "norm_bound"}, exclude_none=True)
    return options | shared


def _differ_in_numbers_alone(configurations: Sequence[Configuration]) -> bool:
    def rest(configuration: Configuration) -> Any:
        descent = _descent(configuration).model_copy(update={"optimizer": None})
        return configuration.model_copy(update={"dynamics": descent})

    return all(rest(one) == rest(configurations[0]) for one in configurations[1:])


def _stacked(several: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The numbers of several optimisers; those that differ as vectors with one entry per cell."""
    stacked = {}
    for name in several[0]:
        values = [numbers[name] for numbers in several]
        stacked[name] = np.asarray(values) if len(set(values)) > 1 else values[0]
    return stacked


def _of_rate(run: Any, number: int) -> Any:
    """The descents of one cell from an ensemble over the numbers of the optimiser."""
    shared = ("objective", "start", "time_unit")
    own = {field.name: getattr(run, field.name) for field in fields(run) if field.name not in shared}
    return run.with_fields(**jax.tree.map(lambda x: x[number], own))
