"""One program applied to many blocks on all devices at once; each device receives whole blocks.

The program is the one that a single device would run, so that results do not depend on the number of devices bit for
bit: XLA compiles a program partitioned over several devices differently. While one call runs, the inputs of the next
are prepared and the results of the previous one are read.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache, partial
from typing import Any

import equinox as eqx
import jax
import numpy as np

from lcnn_flow.numerics.stored_programs import StoredProgram
from lcnn_flow.risk.base import RiskLike

__all__ = ["run_blocks"]


def run_blocks(
    program: Callable[..., Any],
    risk: RiskLike,
    calls: Iterable[tuple[np.ndarray, Any]],
    settings: Any,
    devices: Sequence[Any],
    options: dict[str, Any] | None = None,
) -> Iterator[Any]:
    """Computes program(risk, arrays, settings) for every block along the leading axis of `arrays`, call by call.

    Args:
        program: receives one block without a leading axis. Must be hashable and compare equal in later calls; otherwise
            it is compiled again.
        risk: one risk, or a batch of risks.
        calls: for every call, the number of the risk of every block, (blocks,), and a pytree of numpy arrays (blocks,
            ...). All calls have the same shapes, and the number of blocks is a multiple of the number of devices;
            several blocks on one device run under vmap.
        settings: further arguments of the program, the same for all blocks.
        devices: devices to use.
        options: XLA compiler options.

    Yields:
        The results of every call as numpy arrays, with leading axis blocks.
    """
    batched = risk.batched()
    many = tuple(jax.tree.leaves(batched))
    numbers, rest = eqx.partition(settings, eqx.is_array)
    own, same = eqx.partition(risk, batched)
    shared = [jax.device_put((same, numbers), device) for device in devices]

    def given(conditions: np.ndarray, arrays: Any) -> list[tuple[Any, ...]]:
        """The inputs of every device."""
        inputs, shares = [], np.array_split(np.arange(len(conditions)), len(devices))
        for share, device, (same, numbers) in zip(shares, devices, shared, strict=True):
            parts = jax.tree.map(lambda leaf, mine=conditions[share]: leaf[mine], own)
            parts = jax.device_put((parts, jax.tree.map(lambda x, share=share: x[share], arrays)), device)
            inputs.append((eqx.combine(same, parts[0]), parts[1], numbers))
        return inputs

    compiled, running = _compiled(None if options is None else tuple(options.items())), []
    for conditions, arrays in calls:
        inputs = given(conditions, arrays)
        jax.block_until_ready(running)  # otherwise a device would run both calls at once
        found, running = running, _launch(compiled, (program, rest, many), inputs)
        if found:
            yield _read(found)
    if running:
        yield _read(running)


_launched: set[Any] = set()
"""Programs that were launched on several devices before, with the shapes of their inputs."""


def _launch(compiled: Any, static: tuple[Any, ...], inputs: list[tuple[Any, ...]]) -> list[Any]:
    """Starts the program on every device, and compiles it for all of them in parallel.

    If a launch waits for its results or compiles, every device has its own thread.
    """
    call = partial(compiled, *static)
    leaves, structure = jax.tree.flatten(inputs)
    program = (static, structure, tuple((x.shape, x.dtype, x.device) for x in leaves))
    returns_at_once = program in _launched and jax.config.read("jax_cpu_enable_async_dispatch")
    if len(inputs) == 1 or returns_at_once:
        return [call(*given) for given in inputs]
    compiled.prepare(*static, *inputs[0])  # once, not in every thread
    threads = _threads(len(inputs))
    launched = [threads.submit(copy_context().run, call, *given) for given in inputs]  # in the context of the caller
    results = [future.result() for future in launched]
    _launched.add(program)
    return results


def _read(found: list[Any]) -> Any:
    parts = jax.tree.map(np.asarray, found)
    return parts[0] if len(parts) == 1 else jax.tree.map(lambda *x: np.concatenate(x), *parts)


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="device")


@cache
def _compiled(items: tuple[tuple[str, Any], ...] | None) -> Any:
    options = None if items is None else dict(items)
    plain = jax.jit(_on_one_device, static_argnums=(0, 1, 2), compiler_options=options)
    return StoredProgram(_on_one_device, plain, options)


def _on_one_device(program: Any, rest: Any, many: tuple[bool, ...], risk: RiskLike, arrays: Any, numbers: Any) -> Any:
    def one(risk: RiskLike, arrays: Any) -> Any:
        return program(risk, arrays, eqx.combine(numbers, rest))

    structure = jax.tree.structure(risk)
    if jax.tree.leaves(arrays)[0].shape[0] > 1:
        axes = jax.tree.unflatten(structure, [0 if own else None for own in many])
        return jax.vmap(one, in_axes=(axes, 0))(risk, arrays)
    first = jax.tree.map(lambda leaf, own: leaf[0] if own else leaf, risk, jax.tree.unflatten(structure, many))
    return jax.tree.map(lambda x: x[None], one(first, jax.tree.map(lambda x: x[0], arrays)))
