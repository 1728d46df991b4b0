"""Many flows at once: blocks of a fixed number of seeds, one compiled program for all of them.

A block is the unit of work and of bits: its results depend on the seeds in it, never on how many blocks there are.
The last block is padded by repeating its first seed.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from lcnn_flow.errors import FlowError
from lcnn_flow.flow import Flow, run_flow
from lcnn_flow.flow_settings import FlowSettings, flow_settings
from lcnn_flow.network import Params
from lcnn_flow.risk import EmpiricalRisk

__all__ = ["gradient_flow_ensemble"]

_BLOCK_SIZE = 64


def gradient_flow_ensemble(
    risk: EmpiricalRisk,
    params: Params,
    *,
    block_size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Flow:
    """Gradient flows from a batch of initial filters, in blocks; host side.

    Args:
        risk: one risk for all flows; or, with a leading axis C on some of its leaves (made by jax.vmap or by
            stacking), C risks: data conditions, loss parameters.
        params: initial filters with a leading axis S, the seeds; with C risks (C, S, ...).
        block_size: seeds a block; 64, or all of them if fewer, by default.
        progress: called as progress(done, total), in flows, after each block.
        **options: those of `gradient_flow`.

    Returns:
        A `Flow` whose fields are numpy arrays with leading axis S, or axes (C, S).

    Raises:
        ArchitectureError, FlowError: as `gradient_flow`, or axes that do not pair.
    """
    conditions = risk.num_conditions
    leading = 1 if conditions is None else 2
    shapes = [tuple(jnp.shape(w)[:leading]) for w in params]
    if any(len(shape) < leading or shape != shapes[0] for shape in shapes) or 0 in shapes[0]:
        axes = "(seeds, ...)" if conditions is None else f"({conditions}, seeds, ...)"
        raise FlowError(f"params have leading axes {shapes}: every layer needs {axes}")
    if conditions is not None and shapes[0][0] != conditions:
        raise FlowError(f"params have {shapes[0][0]} conditions, the risk has {conditions}: they must pair")
    if block_size is not None and (not isinstance(block_size, int) or block_size < 1):
        raise FlowError(f"block_size = {block_size!r}: write an integer of at least 1, or None")
    settings = flow_settings(params, **options)
    risk.arch.check_params(tuple(jnp.zeros(jnp.shape(w)[leading:]) for w in params))
    seeds = shapes[0][-1]
    width = min(block_size or _BLOCK_SIZE, seeds)
    total = seeds * (conditions or 1)

    rows = []
    for condition in range(conditions or 1):
        here = risk if conditions is None else risk.condition(condition)
        starts = params if conditions is None else tuple(w[condition] for w in params)
        blocks = []
        for first in range(0, seeds, width):
            chosen = np.arange(first, first + width)
            chosen = np.where(chosen < seeds, chosen, first)
            block = _run_block(here, tuple(w[chosen] for w in starts), settings)
            blocks.append(jax.tree.map(np.asarray, block))
            if progress is not None:
                progress(min(condition * seeds + first + width, (condition + 1) * seeds), total)
        rows.append(jax.tree.map(lambda *parts: np.concatenate(parts)[:seeds], *blocks))
    return rows[0] if conditions is None else jax.tree.map(lambda *parts: np.stack(parts), *rows)


@eqx.filter_jit
def _run_block(risk: EmpiricalRisk, params: Params, settings: FlowSettings) -> Flow:
    return jax.vmap(lambda start: run_flow(risk, start, settings))(params)
