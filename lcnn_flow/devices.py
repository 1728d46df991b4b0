"""One program over many blocks, all devices at once: a thread and a program of its own for every device.

Each device receives whole blocks. The program is the same that a single device would run, so that bits do not depend
on how many devices there are: a program partitioned over several is compiled differently from one for a single device.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

import equinox as eqx
import jax
import numpy as np

from lcnn_flow.risk import EmpiricalRisk

__all__ = ["run_blocks"]


def run_blocks(
    program: Callable[..., Any],
    risk: EmpiricalRisk,
    conditions: np.ndarray,
    arrays: Any,
    settings: Any,
    devices: Sequence[Any],
) -> Any:
    """program(risk, arrays, settings) for every block along the leading axis of `arrays`.

    Args:
        program: hashable and equal to itself in a later call, or it compiles anew; it sees one block, no leading axis.
        risk: one risk, or a batch of risks.
        conditions: the risk of every block, (blocks,).
        arrays: a pytree of numpy arrays (blocks, ...), blocks a multiple of the number of devices; several blocks on
            one device run side by side.
        settings: what else the program needs, the same for all.
        devices: where to run.

    Returns:
        The results as numpy arrays, with leading axis blocks.
    """
    batched = risk.batched()
    many = tuple(jax.tree.leaves(batched))
    numbers, rest = eqx.partition(settings, eqx.is_array)
    shares = np.array_split(np.arange(len(conditions)), len(devices))

    def given(share: np.ndarray, device: Any) -> tuple:
        chosen = conditions[share]
        mine = jax.tree.map(lambda leaf, own: leaf[chosen] if own else leaf, risk, batched)
        return jax.device_put((mine, jax.tree.map(lambda x: x[share], arrays), numbers), device)

    def run(share: np.ndarray, device: Any) -> Any:
        return jax.tree.map(np.asarray, _on_one_device(program, rest, many, *given(share, device)))

    if len(devices) == 1:
        return run(shares[0], devices[0])
    _on_one_device.trace(program, rest, many, *given(shares[0], devices[0]))  # once, not in every thread
    parts = list(_threads(len(devices)).map(run, shares, devices))
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="device")


@partial(jax.jit, static_argnums=(0, 1, 2))
def _on_one_device(program: Any, rest: Any, many: tuple[bool, ...], risk: EmpiricalRisk, arrays: Any, numbers: Any):
    def one(risk: EmpiricalRisk, arrays: Any) -> Any:
        return program(risk, arrays, eqx.combine(numbers, rest))

    structure = jax.tree.structure(risk)
    if jax.tree.leaves(arrays)[0].shape[0] > 1:
        axes = jax.tree.unflatten(structure, [0 if own else None for own in many])
        return jax.vmap(one, in_axes=(axes, 0))(risk, arrays)
    first = jax.tree.map(lambda leaf, own: leaf[0] if own else leaf, risk, jax.tree.unflatten(structure, many))
    return jax.tree.map(lambda x: x[None], one(first, jax.tree.map(lambda x: x[0], arrays)))
