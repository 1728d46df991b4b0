"""Many flows at once: blocks with a fixed number of seeds, one compiled program, all local devices.

The block is the unit of work and of reproducibility: its results depend on its seeds, but not on the number of blocks
or on the device. The flows of a block run in lanes, and run in lanes again where a smaller rtol may decide; flows that
the tests leave undecided are continued in small blocks of their own. Flows that cannot run in lanes are integrated in
lockstep by diffrax: risks other than those of linear networks, risks evaluated layer by layer, other solvers,
trajectories with an adjoint chosen by the user, and lanes that do not reach the last of the times.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from lcnn_flow.dynamics.observing import without_unused_data
from lcnn_flow.dynamics.settings import FlowSettings, flow_settings, takes_options
from lcnn_flow.ensemble.devices import run_blocks
from lcnn_flow.ensemble.memory import device_bytes, lanes_that_fit, seeds_that_fit
from lcnn_flow.ensemble.programs import (
    LaneBlock,
    LaneResults,
    SearchBlock,
    can_decide_in_lanes,
    fits_lanes,
    uses_own_linear_algebra,
)
from lcnn_flow.errors import FlowError
from lcnn_flow.flow.decision import LEVELS, PARTS
from lcnn_flow.flow.result import Flow
from lcnn_flow.flow.single import STEPS, in_tree, refuse_false_symmetry
from lcnn_flow.losses.named import GeneralizedHuber, LogCosh, PseudoHuber, Square
from lcnn_flow.numerics.compiling import quick_options
from lcnn_flow.numerics.memory import check_memory, flow_bytes
from lcnn_flow.risk.base import RiskLike, is_risk, runs_in_lanes
from lcnn_flow.risk.function import as_risk
from lcnn_flow.risk.linear import LinearRisk

__all__ = ["as_ensemble_risk", "check_axes", "gradient_flow_ensemble"]

_LOCKSTEP = 64
"""Number of flows integrated in lockstep; in larger groups more flows wait for the slowest one."""
_FEW = 64
"""Number of flows up to which programs cost more to compile than to run. That of the lanes is then left out where it
decides few flows, and compiled quickly where it decides most."""
_CURVED = (Square, PseudoHuber, GeneralizedHuber, LogCosh)
"""Convex losses of residuals that are curved where residuals vanish."""
_LEFTOVERS = 16
"""Number of flows integrated in lockstep if only part of a block is undecided."""
_ROUNDS, _MOST_ROUNDS = 8, 32
"""Seeds per lane in a block, preferred and largest number: with more seeds per lane, less time is lost at the end of a
block, when lanes are idle until the slowest flow ends."""
_SHARES = 8
"""Number of blocks up to which blocks keep the preferred size, so that up to 8 devices share the work."""
_ABOVE_ROUNDING = 1e4
"""Least relative tolerance of the gradient, in units of eps, at which flows run in lanes again."""
_REPAYS_A_DEVICE = 4e9
"""Multiply-adds, some seconds of work, that justify compiling a search for one more CPU device."""


class _Block(NamedTuple):
    """Rows of the flattened batch that one program processes."""

    condition: int
    rows: np.ndarray
    """As many rows as the program takes; those after `count` are padding."""
    count: int


class _Call(NamedTuple):
    """Blocks that run at the same time, one or more per device."""

    conditions: np.ndarray
    """The condition of every block."""
    rows: np.ndarray
    """Row numbers of the flattened batch, (blocks, seeds)."""
    wanted: np.ndarray
    """False for padding."""


class _Work(NamedTuple):
    """Values that all blocks of an ensemble share."""

    risk: Any
    params: tuple[np.ndarray, ...]
    """Initial layers, with conditions and seeds in one axis."""
    settings: FlowSettings
    devices: tuple[Any, ...]
    on_progress: Callable[[int], None]


@takes_options
def gradient_flow_ensemble(
    risk: RiskLike | Callable[..., Any],
    params: PyTree,
    *,
    block_size: int | None = None,
    devices: Sequence[Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Flow:
    """Gradient flows from a batch of initial filters; not for use under jit.

    Integrations, limits, trajectories and verdicts are those of `gradient_flow` up to rounding. For the risk of a
    linear network and a Rosenbrock method of this library they cost a fraction of the time.

    Args:
        risk: one risk for all flows: an `EmpiricalRisk`, a `Risk` or a function of the params of one seed. Or C risks
            (data conditions, loss parameters) with a leading axis C on some of the leaves, made by jax.vmap, by
            stacking or by `batched` of `Risk`.
        params: initial parameters with a leading axis S, the seeds, in every layer; with C risks (C, S, ...).
        block_size: seeds per block. By default it follows from the number of seeds and the kind of device: on CPUs two
            blocks from 128 seeds on, eight from 4,096 on, and at most 2,048 seeds per block. And on CPUs up to 64 flows
            do without lanes where these would decide only a part of them: with channels, without `polish`, and of
            losses without curvature where residuals vanish, such as `Lp`. One program is compiled instead of two.
        devices: devices to use; all local devices by default. Flows that do not run in lanes use only as many CPU
            devices as justify a compilation for each, and only the first one with solvers other than Rosenbrock methods
            of this library.
        progress: called as progress(done, total), in numbers of flows, between blocks.
        **options: fields of `FlowOptions`, as in `gradient_flow`.

    Returns:
        A `Flow` whose fields are numpy arrays with leading axis S, or axes (C, S).

    Raises:
        ArchitectureError, FlowError: as in `gradient_flow`, or if axes do not match, or if a flow does not fit into the
            memory of a device.
    """
    objective = as_ensemble_risk("gradient_flow_ensemble", risk, params)
    layers = objective.layers(params)
    conditions, seeds = check_axes("gradient_flow", objective, layers)
    if block_size is not None and (not isinstance(block_size, int) or block_size < 1):
        raise FlowError(f"block_size = {block_size!r}: write an integer of at least 1, or None")
    chosen = tuple(jax.local_devices() if devices is None else devices)
    if not chosen:
        raise FlowError("devices is empty: name at least one, or write None for all local devices")
    settings = flow_settings(layers, **options)
    leading = (seeds,) if conditions is None else (conditions, seeds)
    seed = tuple(np.empty(np.shape(w)[len(leading) :], jnp.result_type(w)) for w in layers)
    objective.check_params(objective.space.tree(seed) if len(seed) == objective.space.num_layers else seed)
    flat = tuple(np.asarray(w).reshape(-1, *np.shape(w)[len(leading) :]) for w in layers)
    lanes = runs_in_lanes(objective) and fits_lanes(settings) and objective.form != "layers"
    if lanes and block_size is None and len(flat[0]) <= _FEW and chosen[0].platform == "cpu":
        lanes = _decides_most(objective, settings)
    on_progress = _progress_counter(progress, len(flat[0]))
    seen = without_unused_data(objective, settings.record)
    work = _Work(seen, flat, settings, chosen, on_progress)
    if lanes:
        times = 0 if settings.times is None else settings.times.size
        width, size = _lane_sizes(objective, seeds, block_size, chosen[0], times)
        flows = _in_lanes(work, _split(len(flat[0]), seeds, size), width)
    else:
        size = min(block_size or _LOCKSTEP, seeds, _searches_that_fit(objective, chosen[0]))
        flows = _search(work, _split(len(flat[0]), seeds, size), None, None)
    refuse_false_symmetry(flows)
    return in_tree(objective.space, jax.tree.map(lambda x: x.reshape(*leading, *x.shape[1:]), flows))


def _progress_counter(progress: Callable[[int, int], None] | None, total: int) -> Callable[[int], None]:
    """A function that is called with the number of further finished flows, and calls `progress`."""
    done = 0

    def on_progress(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None and more > 0:
            progress(done, total)

    return on_progress


def as_ensemble_risk(name: str, risk: Any, params: PyTree) -> Any:
    """A risk unchanged; a bare function of the params of one seed converted to a `Risk`."""
    if is_risk(risk):
        return risk

    def first(leaf: Any) -> Any:
        moves = hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating) and np.ndim(leaf) > 0
        return jax.ShapeDtypeStruct(np.shape(leaf)[1:], leaf.dtype) if moves else leaf

    return as_risk(name, risk, jax.tree.map(first, params))


def _decides_most(risk: LinearRisk, settings: FlowSettings) -> bool:
    """Whether lanes decide nearly all flows, so that usually no second program is needed.

    A loss without curvature where residuals vanish has degenerate limits, which lanes leave open, on all data without
    noise.
    """
    return isinstance(risk.loss, _CURVED) and can_decide_in_lanes(risk, settings)


def _searches_that_fit(risk: RiskLike, device: Any) -> int:
    """Number of flows in lockstep that fit into half of the memory of a device; at least one."""
    check_memory(risk.space.num_parameters, np.float32)
    return max(1, device_bytes(device) // 2 // flow_bytes(risk.space.num_parameters, np.float64))


def check_axes(name: str, risk: Any, layers: tuple[Any, ...]) -> tuple[int | None, int]:
    """The number of conditions, None for a single risk, and the number of seeds."""
    conditions = risk.num_conditions
    if conditions is None and tuple(map(np.shape, layers)) == risk.space.layer_shapes:
        raise FlowError(
            f"params are one point, without an axis of seeds: for one of them use {name}, or write "
            f"{name}_ensemble(risk, jax.tree.map(lambda w: w[None], params))"
        )
    leading = 1 if conditions is None else 2
    shapes = [tuple(np.shape(w)[:leading]) for w in layers]
    if any(len(shape) < leading or shape != shapes[0] for shape in shapes) or 0 in shapes[0]:
        axes = "(seeds, ...)" if conditions is None else f"({conditions}, seeds, ...)"
        raise FlowError(f"params have leading axes {shapes}: every layer needs {axes}")
    if conditions is not None and shapes[0][0] != conditions:
        raise FlowError(f"params have {shapes[0][0]} conditions, but the risk has {conditions}: they must be equal")
    return conditions, shapes[0][-1]


def _lane_sizes(risk: LinearRisk, seeds: int, block_size: int | None, device: Any, times: int) -> tuple[int, int]:
    """The number of lanes, and the number of seeds per block, which is a multiple of the number of lanes.

    Both depend on the amount of work and on the kind of device, but not on the number of devices, so that the results
    are the same on any number of devices.
    """
    width = min(lanes_that_fit(risk, device, times), -(-(block_size or seeds) // 8) * 8)
    if block_size is None:
        blocks = max(min(2, seeds // width), min(_SHARES, seeds // (_ROUNDS * width)), 1)
        blocks = max(blocks, -(-seeds // (_MOST_ROUNDS * width)))
        block_size = -(-seeds // blocks)
        if times:
            block_size = min(block_size, seeds_that_fit(risk, device, times, width))
    return width, -(-block_size // width) * width


def _split(total: int, seeds: int, size: int) -> list[_Block]:
    """Blocks of at most `size` seeds, each with one condition."""
    blocks = []
    for first in range(0, total, seeds):
        blocks += _split_rows(first // seeds, np.arange(first, first + seeds), size)
    return blocks


def _split_rows(condition: int, rows: np.ndarray, size: int) -> list[_Block]:
    """Blocks of at most `size` of these rows, padded to equal size."""
    parts = (rows[first : first + size] for first in range(0, len(rows), size))
    return [_Block(condition, np.resize(part, size), len(part)) for part in parts]


def _calls(work: _Work, blocks: list[_Block], together: int = 1) -> list[_Call]:
    """Groups of blocks that run at the same time, padded to `together` blocks per device."""
    size = together * max(1, min(len(work.devices), -(-len(blocks) // together)))
    calls = []
    for first in range(0, len(blocks), size):
        chunk = blocks[first : first + size]
        full = chunk + [chunk[0]._replace(count=0)] * (size - len(chunk))
        wanted = np.asarray([np.arange(len(b.rows)) < b.count for b in full])
        calls.append(_Call(np.asarray([b.condition for b in full]), np.stack([b.rows for b in full]), wanted))
    return calls


def _in_lanes(work: _Work, blocks: list[_Block], width: int) -> Flow:
    """All flows in lanes; flows that remain undecided are continued by `_search` after all blocks.

    Where a smaller rtol may decide, flows run in lanes again, with that of the rounds of `flow.search`: by the program
    that is compiled already.
    """
    total, size = len(work.params[0]), len(blocks[0].rows)
    together = 1 if work.risk.num_conditions is None else max(1, _LOCKSTEP // size)
    expected = total * STEPS * work.risk.step_cost
    options = quick_options(work.devices[0].platform, work.risk, True, expected) if total <= _FEW else None
    levels = 1 + LEVELS if _may_run_again(work.settings) else 1
    laned, steps, todo = None, np.zeros(total, np.int32), blocks
    for level in range(levels):
        if not todo:
            break
        calls = _calls(work, todo, together)
        given = (
            (call.conditions, (tuple(w[call.rows] for w in work.params), np.where(call.wanted, level, -1)))
            for call in calls
        )
        devices = work.devices[: len(calls[0].rows) // together]
        results = run_blocks(LaneBlock(width), work.risk, given, work.settings, devices, options)
        todo = []
        for (conditions, rows, wanted), found in zip(calls, results, strict=True):
            decided, open_ = found.decided & wanted, found.again & wanted
            steps[rows[wanted]] += found.flows.steps[wanted]
            found = found._replace(flows=found.flows._replace(steps=steps[rows]))
            laned = _store(laned, found, rows, decided if level else wanted, total)
            work.on_progress(int(np.sum(decided)))
            for condition, block, open_rows in zip(conditions, rows, open_, strict=True):
                todo += _split_rows(int(condition), block[open_rows], size)
    assert laned is not None
    few = _LEFTOVERS if can_decide_in_lanes(work.risk, work.settings) else _LOCKSTEP
    leftovers, broken = [], []
    for condition, rows, count in blocks:
        open_rows = rows[:count][~laned.decided[rows[:count]]]
        recorded = laned.recorded[open_rows]
        leftovers += _split_rows(condition, open_rows[recorded], few)
        broken += _split_rows(condition, open_rows[~recorded], few)
    trajectory = laned.flows.trajectory
    flows = _search(work, leftovers, laned, laned.flows._replace(trajectory=None))._replace(trajectory=trajectory)
    return _search(work, broken, None, flows)


def _may_run_again(settings: FlowSettings) -> bool:
    """Whether lanes resolve the reduced tolerance of the gradient, and record nothing."""
    finest = _ABOVE_ROUNDING * float(np.finfo(settings.rtol.dtype).eps)
    return settings.times is None and float(settings.gradient_rtol) * PARTS[1] > finest


def _search(work: _Work, blocks: list[_Block], laned: LaneResults | None, flows: Flow | None) -> Any:
    """The flows of `blocks` by `gradient_flow`, from the state that lanes reached or from the start, stored in
    `flows`."""
    if not blocks:
        return flows
    steps = sum(block.count for block in blocks) * STEPS
    work = work._replace(devices=_searching(work, steps))
    calls = _calls(work, blocks)
    left = (None, None) if laned is None else (laned.on_grid, laned.reached)

    def arrays(rows: np.ndarray) -> tuple[Any, ...]:
        return tuple(w[rows] for w in work.params), *jax.tree.map(lambda x: x[rows], left)

    given = ((call.conditions, arrays(call.rows)) for call in calls)
    devices = work.devices[: len(calls[0].rows)]
    # on a CPU lockstep is faster only if steps are cheap: flows wait for the longest, and all branches are computed
    lockstep = runs_in_lanes(work.risk) or work.devices[0].platform != "cpu"
    options = quick_options(devices[0].platform, work.risk, work=steps * work.risk.step_cost)
    results = run_blocks(SearchBlock(lockstep), work.risk, given, work.settings, devices, options)
    for call, flow in zip(calls, results, strict=True):
        flows = _store(flows, flow, call.rows, call.wanted, len(work.params[0]))
        work.on_progress(int(np.sum(call.wanted)))
    return flows


def _searching(work: _Work, steps: int) -> tuple[Any, ...]:
    """The devices for a search with this number of steps of all flows."""
    if work.devices[0].platform != "cpu":
        return work.devices
    repaid = int(steps * work.risk.step_cost / _REPAYS_A_DEVICE)
    most = max(1, repaid) if uses_own_linear_algebra(work.settings) else 1  # others may deadlock, see `lapack`
    return work.devices[:most]


def _store(table: Any, found: Any, rows: np.ndarray, wanted: np.ndarray, total: int) -> Any:
    """Stores results (blocks, seeds, ...) in their rows of the flattened batch."""
    if table is None:
        table = jax.tree.map(lambda x: np.empty((total, *x.shape[2:]), x.dtype), found)

    def put(row: np.ndarray, new: np.ndarray) -> np.ndarray:
        row[rows[wanted]] = new[wanted]
        return row

    return jax.tree.map(put, table, found)
