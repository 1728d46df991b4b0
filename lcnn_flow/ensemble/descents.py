"""Many descents at once: learning rates, data conditions and seeds are the lanes of one compiled program.

Lanes run under jax.vmap, in blocks that are distributed over all devices. On CPUs, arrays with lanes in the last axis
were not faster than with lanes in the first (0.97 to 1.06 of the time for sgd and momentum). Ends that need the tests
of a limit are judged afterwards by a separate program.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PRNGKeyArray, PyTree

from lcnn_flow.descent.course import Course
from lcnn_flow.descent.ending import Ending, judged, scale_record
from lcnn_flow.descent.result import Descent, as_descent
from lcnn_flow.descent.settings import DescentSettings, descent_settings
from lcnn_flow.descent.single import take_steps
from lcnn_flow.dynamics.observing import without_unused_data
from lcnn_flow.ensemble.devices import run_blocks
from lcnn_flow.ensemble.many import as_ensemble_risk, check_axes
from lcnn_flow.errors import DescentError
from lcnn_flow.flow.single import refuse_false_symmetry
from lcnn_flow.numerics.compiling import quick_options
from lcnn_flow.numerics.pytrees import HashableTree
from lcnn_flow.risk.base import RiskLike

__all__ = ["gradient_descent_ensemble"]

_LANES = 128
"""Smallest number of lanes in a block, if there are as many; a block has fewer than twice this number."""
_MOST_LANES = {"cpu": 1024}
_MANY_LANES = 65536
"""Largest number of lanes that run at once on an accelerator, over all blocks on it; `_MOST_LANES` holds that for CPUs.
"""
_JUDGED = 16
"""Number of ends that are judged in lockstep."""


class _Axes(NamedTuple):
    rates: int | None
    conditions: int | None
    seeds: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Axes of the results."""
        return tuple(size for size in self if size is not None)


@dataclass(frozen=True)
class _StepsBlock:
    """The steps of the descents in one block of lanes."""

    def __call__(self, risk: Any, lanes: tuple[Any, ...], given: tuple[DescentSettings, Any]) -> tuple[Course, Ending]:
        settings, key = given

        def one(start: jax.Array, numbers: dict[str, jax.Array], seed: jax.Array) -> tuple[Course, Ending]:
            mine = replace(settings, numbers=HashableTree.of(settings.numbers.tree | numbers))
            return take_steps(risk, start, mine, None if key is None else jax.random.fold_in(key, seed))

        return jax.vmap(one)(*lanes)


@dataclass(frozen=True)
class _JudgeBlock:
    """The tests of the end of one descent."""

    def __call__(self, risk: Any, end: tuple[Any, ...], ends: Any) -> Ending:
        start, vector, record, seen = end
        return judged(risk, start, vector, record, seen, ends)


def gradient_descent_ensemble(
    risk: RiskLike | Callable[..., Any],
    params: PyTree,
    optimiser: Callable[..., Any] | optax.GradientTransformation,
    numbers: Mapping[str, Any] | None = None,
    *,
    devices: Sequence[Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
    key: PRNGKeyArray | None = None,
    **options: Any,
) -> Descent:
    """Descents from a batch of initial parameters, for every learning rate and condition; not for use under jit.

    The axes of the result are (R, C, S); axes that were not given are absent. R numbers: floating numbers of the
    optimiser may be vectors of one common length R, and vary together. C conditions: a batch of risks. S seeds: the
    leading axis of params. Every number is combined with every condition and seed, and all numbers use the same initial
    parameters. Minibatches of seed s are drawn with jax.random.fold_in(key, s), so they are the same for all numbers
    and conditions.

    Args:
        risk: one risk, or a batch of C risks, as in `gradient_flow_ensemble`.
        params: initial parameters (S, ...) in every layer; with C risks (C, S, ...).
        optimiser: as in `gradient_descent`; must be a factory if numbers vary.
        numbers: arguments of the factory by name, scalars or vectors (R,).
        devices: devices to use; by default all local devices for which there are 128 lanes each.
        progress: called as progress(done, total), in numbers of descents.
        key: random key of the minibatches.
        **options: steps, and all other options of `gradient_descent`.

    Returns:
        A `Descent` whose fields are numpy arrays with leading axes (R, C, S).

    Raises:
        DescentError, RiskError, ArchitectureError, FlowError: as in `gradient_descent`, or if axes do not match.
    """
    objective = as_ensemble_risk("gradient_descent_ensemble", risk, params)
    layers = objective.layers(params)
    conditions, seeds = check_axes("gradient_descent", objective, layers)
    own = (seeds,) if conditions is None else (conditions, seeds)
    seed = tuple(jnp.zeros(np.shape(w)[len(own) :], jnp.result_type(w)) for w in layers)
    objective.check_params(objective.space.tree(seed) if len(seed) == objective.space.num_layers else seed)
    objective, settings = descent_settings(
        "gradient_descent_ensemble", objective, seed, optimiser, numbers, 1, key=key, **({"steps": None} | options)
    )
    time_unit = settings.time_unit
    settings, varying = _split_numbers(settings)
    axes = _Axes(_length(varying), conditions, seeds)
    chosen = tuple(jax.local_devices() if devices is None else devices)
    if not chosen:
        raise DescentError("devices is empty: name at least one, or write None for all local devices")
    starts = np.concatenate([np.asarray(w).reshape(*own, -1) for w in layers], axis=-1)
    starts = starts.reshape(conditions or 1, seeds, -1)
    seen = without_unused_data(objective, settings.record)
    course, end = _steps(seen, starts, varying, axes, (settings, key), chosen, progress)
    end = _judge(objective.without_data(), starts, axes, course, end, settings, chosen)
    course, end = jax.tree.map(lambda x: x.reshape(*axes.shape, *x.shape[1:]), (course, end))
    run = as_descent(objective, params, course, end, time_unit)
    refuse_false_symmetry(run)
    return run


def _split_numbers(settings: DescentSettings) -> tuple[DescentSettings, dict[str, np.ndarray]]:
    """Settings with the numbers that all lanes share, and the numbers that vary."""
    numbers = settings.numbers.tree
    varying = {name: np.asarray(x) for name, x in numbers.items() if hasattr(x, "dtype") and np.ndim(x) == 1}
    shared = {name: x for name, x in numbers.items() if name not in varying}
    return replace(settings, numbers=HashableTree.of(shared)), varying


def _length(varying: dict[str, np.ndarray]) -> int | None:
    lengths = {name: len(x) for name, x in varying.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise DescentError(f"numbers vary together, but have lengths {lengths}: give them one length")
    return next(iter(lengths.values()), None)


def _steps(
    risk: Any,
    starts: np.ndarray,
    varying: dict[str, np.ndarray],
    axes: _Axes,
    given: tuple[DescentSettings, Any],
    devices: tuple[Any, ...],
    progress: Callable[[int, int], None] | None,
) -> tuple[Course, Ending]:
    """All descents, with (R, C, S) flattened to one axis; `starts` has shape (C, S, n)."""
    rates, conditions, seeds = axes.rates or 1, axes.conditions or 1, axes.seeds
    lanes = rates * seeds
    blocks = max(1, lanes // _LANES)
    width = -(-lanes // blocks)
    order = np.resize(np.arange(lanes), blocks * width).reshape(blocks, width)  # the last entries are padding
    jobs = [(c, row) for c in range(conditions) for row in order]
    most = _MOST_LANES.get(devices[0].platform, _MANY_LANES)
    together = max(1, min(most // width, -(-len(jobs) // len(devices))))
    size = together * min(len(devices), -(-len(jobs) // together))

    def calls() -> Iterator[tuple[np.ndarray, Any]]:
        for first in range(0, len(jobs), size):
            some = [jobs[(first + i) % len(jobs)] for i in range(size)]
            which, rows = np.asarray([c for c, _ in some], np.int_), np.stack([row for _, row in some])
            numbers = {name: x[rows // seeds] for name, x in varying.items()}
            yield which, (starts[which[:, None], rows % seeds], numbers, (rows % seeds).astype(np.int32))

    found, total = [], rates * conditions * seeds
    for part in run_blocks(_StepsBlock(), risk, calls(), given, devices[: size // together]):
        found.append(part)
        if progress is not None:
            progress(min(total, len(found) * size * width), total)

    def arranged(*parts: np.ndarray) -> np.ndarray:
        rest = parts[0].shape[2:]
        x = np.concatenate(parts)[: len(jobs)].reshape(conditions, blocks * width, *rest)
        x = x[:, :lanes].reshape(conditions, rates, seeds, *rest)
        return np.swapaxes(x, 0, 1).reshape(total, *rest)

    return jax.tree.map(arranged, *found)


def _judge(
    risk: Any,
    starts: np.ndarray,
    axes: _Axes,
    course: Course,
    end: Ending,
    settings: DescentSettings,
    devices: tuple[Any, ...],
) -> Ending:
    """Judges the ends that need tests."""
    rows = np.flatnonzero(end.verdict < 0)
    if len(rows) == 0:
        return end
    conditions, seeds = axes.conditions or 1, axes.seeds
    which = rows // seeds % conditions
    norms = course.trajectory.gradient_norm[rows]
    records = jax.tree.map(np.asarray, jax.vmap(scale_record)(norms))
    given = (starts[which, rows % seeds], course.vector[rows], records, jax.tree.map(lambda x: x[rows], end))

    def calls() -> Iterator[tuple[np.ndarray, Any]]:
        for first in range(0, len(rows), _JUDGED):
            some = np.arange(first, first + _JUDGED) % len(rows)
            yield which[some], jax.tree.map(lambda x, some=some: x[some], given)

    options = quick_options(devices[0].platform, risk)
    parts = list(run_blocks(_JudgeBlock(), risk, calls(), settings.ends, devices[:1], options))
    seen = jax.tree.map(lambda *x: np.concatenate(x)[: len(rows)], *parts)

    def put(table: np.ndarray, new: np.ndarray) -> np.ndarray:
        table = np.array(table)
        table[rows] = new
        return table

    return jax.tree.map(put, end, seen)
