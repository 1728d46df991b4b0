"""Many flows at once: blocks of a fixed number of seeds, one compiled program, all local devices.

A block is the unit of work and of bits: its results depend on the seeds in it, never on how many blocks there are or
on which device they run. The flows of a block run in lanes, and what their tests leave undecided is searched on in
small blocks of its own. What cannot run in lanes is integrated in lockstep by diffrax: risks that are not those of
linear networks, or evaluated layer by layer, other solvers, trajectories with an adjoint of one's own, and those that
break off.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from lcnn_flow.dynamics.settings import FlowSettings, flow_settings, takes_options
from lcnn_flow.ensemble.devices import run_blocks
from lcnn_flow.ensemble.memory import device_bytes, lanes_that_fit, seeds_that_fit
from lcnn_flow.ensemble.programs import LaneBlock, Laned, SearchBlock, fits_lanes, solved_by_us, tells_regular
from lcnn_flow.errors import FlowError
from lcnn_flow.flow.result import Flow
from lcnn_flow.flow.single import in_tree, refuse_false_symmetry
from lcnn_flow.numerics.memory import check_memory, flow_bytes
from lcnn_flow.risk.base import RiskLike, is_risk, runs_in_lanes
from lcnn_flow.risk.function import as_risk
from lcnn_flow.risk.linear import LinearRisk

__all__ = ["as_ensemble_risk", "check_axes", "gradient_flow_ensemble"]

_LOCKSTEP = 64
"""Flows integrated in lockstep: the more, the longer they wait for the slowest."""
_LEFTOVERS = 16
"""As many, where only some flows of a block are left."""
_ROUNDS, _MOST_ROUNDS = 8, 32
"""Seeds a lane in a block: the more, the less it counts that lanes run out of seeds before the slowest flow ends."""
_SHARES = 8
"""Blocks to be had before they grow beyond `_ROUNDS`: as many devices can share them."""
_STEPS = 200
"""Steps that a flow of a search may take."""
_REPAYS_A_DEVICE = 4e9
"""Multiply-adds, some seconds of work, that make up for compiling a search for one more CPU device."""


class _Block(NamedTuple):
    """Rows of the flattened batch that one program works on."""

    condition: int
    rows: np.ndarray
    """As many as the program takes; those after `count` only fill it up."""
    count: int


class _Call(NamedTuple):
    """Blocks that run at the same time, one or several a device."""

    conditions: np.ndarray
    """Of every block."""
    rows: np.ndarray
    """(blocks, seeds)."""
    wanted: np.ndarray
    """False where seeds or blocks only fill up."""


class _Work(NamedTuple):
    """What all blocks of one ensemble share."""

    risk: Any
    params: tuple[np.ndarray, ...]
    """Initial layers, conditions and seeds in one axis."""
    settings: FlowSettings
    devices: tuple[Any, ...]
    tell: Callable[[int], None]
    step_cost: int
    """Multiply-adds of one step of a flow."""


@takes_options
def gradient_flow_ensemble(
    risk: Any,
    params: Any,
    *,
    block_size: int | None = None,
    devices: Sequence[Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Flow:
    """Gradient flows from a batch of initial filters; host side.

    Integrations, limits, trajectories and verdicts are those of `gradient_flow` up to rounding, at a fraction of the
    cost for the risk of a linear network and a Rosenbrock method of this library.

    Args:
        risk: one risk for all flows, an `EmpiricalRisk`, a `Risk` or a function of the params of one seed; or, with a
            leading axis C on some of its leaves (made by jax.vmap, by stacking or by `batched` of `Risk`), C risks:
            data conditions, loss parameters.
        params: initial parameters with a leading axis S, the seeds, on every layer; with C risks (C, S, ...).
        block_size: seeds a block. By default it follows from the number of seeds and the kind of device: on CPU two
            blocks from 128 seeds on, eight from 4,096 on, and at most 2,048 seeds in each.
        devices: where to run; all local devices by default. Of CPU devices, what does not run in lanes takes as many as
            repay the compilation for each, and only the first with solvers that are not Rosenbrock methods of ours.
        progress: called as progress(done, total), in flows, between blocks.
        **options: fields of `FlowOptions`, as of `gradient_flow`.

    Returns:
        A `Flow` whose fields are numpy arrays with leading axis S, or axes (C, S).

    Raises:
        ArchitectureError, FlowError: as `gradient_flow`, axes that do not pair, or a flow that does not fit into the
            memory of a device.
    """
    risk = as_ensemble_risk("gradient_flow_ensemble", risk, params)
    layers = risk.layers(params)
    conditions, seeds = check_axes("gradient_flow", risk, layers)
    if block_size is not None and (not isinstance(block_size, int) or block_size < 1):
        raise FlowError(f"block_size = {block_size!r}: write an integer of at least 1, or None")
    chosen = tuple(jax.local_devices() if devices is None else devices)
    if not chosen:
        raise FlowError("devices is empty: name at least one, or write None for all local devices")
    settings = flow_settings(layers, **options)
    leading = (seeds,) if conditions is None else (conditions, seeds)
    seed = tuple(np.empty(np.shape(w)[len(leading) :], jnp.result_type(w)) for w in layers)
    risk.check_params(risk.space.tree(seed) if len(seed) == risk.space.num_layers else seed)
    flat = tuple(np.asarray(w).reshape(-1, *np.shape(w)[len(leading) :]) for w in layers)
    lanes = runs_in_lanes(risk) and fits_lanes(settings) and risk.form != "layers"
    if isinstance(settings.adjoint, diffrax.RecursiveCheckpointAdjoint):  # the results are numpy arrays
        settings = dataclasses.replace(settings, adjoint=diffrax.ForwardMode())
    tell = _counter(progress, len(flat[0]))
    seen = risk.without_data() if settings.record is None else risk  # own observables may look at the data
    work = _Work(seen, flat, settings, chosen, tell, risk.step_cost)
    if lanes:
        times = 0 if settings.times is None else settings.times.size
        width, size = _lane_sizes(risk, seeds, block_size, chosen[0], times)
        flows = _in_lanes(work, _cut(len(flat[0]), seeds, size), width)
    else:
        size = min(block_size or _LOCKSTEP, seeds, _searches_that_fit(risk, chosen[0]))
        flows = _search(work, _cut(len(flat[0]), seeds, size), None, None)
    refuse_false_symmetry(flows)
    return in_tree(risk.space, jax.tree.map(lambda x: x.reshape(*leading, *x.shape[1:]), flows))


def _counter(progress: Callable[[int, int], None] | None, total: int) -> Callable[[int], None]:
    """What is told how many more flows are done."""
    done = 0

    def tell(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None and more > 0:
            progress(done, total)

    return tell


def as_ensemble_risk(name: str, risk: Any, params: Any) -> Any:
    """A risk as it is, and the one that a bare function of one seed's params is."""
    if is_risk(risk):
        return risk

    def first(leaf: Any) -> Any:
        moves = hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating) and np.ndim(leaf) > 0
        return jax.ShapeDtypeStruct(np.shape(leaf)[1:], leaf.dtype) if moves else leaf

    return as_risk(name, risk, jax.tree.map(first, params))


def _searches_that_fit(risk: RiskLike, device: Any) -> int:
    """Flows in lockstep that fit into half the memory of a device; one at least."""
    check_memory(risk.space.num_parameters, np.float32)
    return max(1, device_bytes(device) // 2 // flow_bytes(risk.space.num_parameters, np.float64))


def check_axes(name: str, risk: Any, layers: tuple[Any, ...]) -> tuple[int | None, int]:
    """Numbers of conditions and of seeds."""
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
        raise FlowError(f"params have {shapes[0][0]} conditions, the risk has {conditions}: they must pair")
    return conditions, shapes[0][-1]


def _lane_sizes(risk: LinearRisk, seeds: int, block_size: int | None, device: Any, times: int) -> tuple[int, int]:
    """Lanes, and seeds a block, a multiple of them: from the work and the kind of device, not the number of devices."""
    width = min(lanes_that_fit(risk, device, times), -(-(block_size or seeds) // 8) * 8)
    if block_size is None:
        blocks = max(min(2, seeds // width), min(_SHARES, seeds // (_ROUNDS * width)), 1)
        blocks = max(blocks, -(-seeds // (_MOST_ROUNDS * width)))
        block_size = -(-seeds // blocks)
        if times:
            block_size = min(block_size, seeds_that_fit(risk, device, times, width))
    return width, -(-block_size // width) * width


def _cut(total: int, seeds: int, size: int) -> list[_Block]:
    """Blocks of at most `size` seeds, each of one condition."""
    blocks = []
    for first in range(0, total, seeds):
        blocks += _cut_rows(first // seeds, np.arange(first, first + seeds), size)
    return blocks


def _cut_rows(condition: int, rows: np.ndarray, size: int) -> list[_Block]:
    """Blocks of at most `size` of these rows, filled up."""
    parts = (rows[first : first + size] for first in range(0, len(rows), size))
    return [_Block(condition, np.resize(part, size), len(part)) for part in parts]


def _calls(work: _Work, blocks: list[_Block], together: int = 1) -> list[_Call]:
    """Blocks padded to `together` a device."""
    size = together * max(1, min(len(work.devices), -(-len(blocks) // together)))
    calls = []
    for first in range(0, len(blocks), size):
        chunk = blocks[first : first + size]
        full = chunk + [chunk[0]._replace(count=0)] * (size - len(chunk))
        wanted = np.asarray([np.arange(len(b.rows)) < b.count for b in full])
        calls.append(_Call(np.asarray([b.condition for b in full]), np.stack([b.rows for b in full]), wanted))
    return calls


def _in_lanes(work: _Work, blocks: list[_Block], width: int) -> Flow:
    """All flows in lanes; `_search` takes up those that come out undecided, block by block."""
    total = len(work.params[0])
    few = _LEFTOVERS if tells_regular(work.risk, work.settings) else _LOCKSTEP
    laned, leftovers, broken = None, [], []
    together = 1 if work.risk.num_conditions is None else max(1, _LOCKSTEP // len(blocks[0].rows))
    calls = _calls(work, blocks, together)
    devices = work.devices[: len(calls[0].rows) // together]
    given = ((call.conditions, (tuple(w[call.rows] for w in work.params), call.wanted)) for call in calls)
    results = run_blocks(LaneBlock(width), work.risk, given, work.settings, devices)
    for (conditions, rows, wanted), found in zip(calls, results, strict=True):
        laned = _store(laned, found, rows, wanted, total)
        work.tell(int(np.sum(found.decided & wanted)))
        for condition, block, open_rows, recorded in zip(
            conditions, rows, wanted & ~found.decided, found.recorded, strict=True
        ):
            leftovers += _cut_rows(int(condition), block[open_rows & recorded], few)
            broken += _cut_rows(int(condition), block[open_rows & ~recorded], few)
    assert laned is not None
    trajectory = laned.flows.trajectory
    flows = _search(work, leftovers, laned, laned.flows._replace(trajectory=None))._replace(trajectory=trajectory)
    return _search(work, broken, None, flows)


def _search(work: _Work, blocks: list[_Block], laned: Laned | None, flows: Flow | None) -> Any:
    """The flows of `blocks` by `gradient_flow`, from where they were left or from the start, put into `flows`."""
    if not blocks:
        return flows
    work = work._replace(devices=_searching(work, sum(block.count for block in blocks)))
    calls = _calls(work, blocks)
    left = (None, None) if laned is None else (laned.on_grid, laned.reached)

    def arrays(rows: np.ndarray) -> tuple:
        return tuple(w[rows] for w in work.params), *jax.tree.map(lambda x: x[rows], left)

    given = ((call.conditions, arrays(call.rows)) for call in calls)
    devices = work.devices[: len(calls[0].rows)]
    # on a CPU side by side pays only where steps are cheap: flows wait for the longest one, and all branches are run
    lockstep = runs_in_lanes(work.risk) or work.devices[0].platform != "cpu"
    results = run_blocks(SearchBlock(lockstep), work.risk, given, work.settings, devices, quick=True)
    for call, flow in zip(calls, results, strict=True):
        flows = _store(flows, flow, call.rows, call.wanted, len(work.params[0]))
        work.tell(int(np.sum(call.wanted)))
    return flows


def _searching(work: _Work, flows: int) -> tuple[Any, ...]:
    """The devices for a search of so many flows."""
    if work.devices[0].platform != "cpu":
        return work.devices
    repaid = int(flows * _STEPS * work.step_cost / _REPAYS_A_DEVICE)
    return work.devices[: max(1, repaid) if solved_by_us(work.settings) else 1]  # see `lapack`: others may wait


def _store(table: Any, found: Any, rows: np.ndarray, wanted: np.ndarray, total: int) -> Any:
    """Puts results (blocks, seeds, ...) into their rows of the flattened batch."""
    if table is None:
        table = jax.tree.map(lambda x: np.empty((total, *x.shape[2:]), x.dtype), found)

    def put(row: np.ndarray, new: np.ndarray) -> np.ndarray:
        row[rows[wanted]] = new[wanted]
        return row

    return jax.tree.map(put, table, found)
