"""Ensembles of gradient descent against a hand-written jit(vmap(scan)) of the same optimiser.

The hand-written program is what one writes for a question: optax on the filters, gradients by jax.grad, filters, risk
and gradient norm recorded every so many steps. It watches for no divergence, measures nothing else and tests no end;
`gradient_descent_ensemble` does all of that, shares blocks of lanes among the devices, and takes other rates without
compiling.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

import lcnn_flow as lf
from benchmarks import text
from benchmarks.problems import named, starts
from benchmarks.timing import Candidate, Say, in_turns, median, ratio, warm_up

__all__ = ["drawings", "hand_written", "measure", "section"]

_SEEDS, _STEPS, _EVERY, _TURNS = 256, 20_000, 200, 7
_OPTIMISERS: dict[str, tuple[Any, dict[str, float]]] = {
    "gradient descent": (optax.sgd, {"learning_rate": 5e-3}),
    "momentum": (optax.sgd, {"learning_rate": 2e-3, "momentum": 0.9}),
    "Adam": (optax.adam, {"learning_rate": 1e-3}),
}
_OURS, _HAND = "lcnn_flow ensemble", "jit(vmap(scan)), one device"
_ALONE, _STEPS_ALONE = "lcnn_flow ensemble, one device", "the same with ends hardly tested"
_FINEST = 3e-14
"""Of gradient_rtol: hardly any gradient gets below, so that ends are not tested."""


def hand_written(risk: Any, params: tuple[Any, ...], optimiser: Any, steps: int, every: int) -> Callable[[], Any]:
    """A call of the hand-written program: the last filters, and (filters, risk, gradient norm) as recorded."""

    def one(risk: Any, params: tuple[Any, ...]) -> Any:
        def step(carry: Any, _: None) -> tuple[Any, None]:
            w, state = carry
            updates, state = optimiser.update(jax.grad(risk)(w), state, w)
            return (optax.apply_updates(w, updates), state), None

        def chunk(carry: Any, _: None) -> tuple[Any, Any]:
            carry, _ = jax.lax.scan(step, carry, None, length=every)
            value, gradient = jax.value_and_grad(risk)(carry[0])
            return carry, (carry[0], value, jnp.sqrt(sum(jnp.sum(g**2) for g in gradient)))

        return jax.lax.scan(chunk, (params, optimiser.init(params)), None, length=steps // every)

    program = jax.jit(jax.vmap(one, in_axes=(None, 0)))
    return lambda: jax.block_until_ready(program(risk, params))


def measure(quick: bool, say: Say) -> dict[str, Any]:
    """Seconds of every optimiser by turns, and how many ends were judged."""
    seeds, steps, turns = (32, 400, 2) if quick else (_SEEDS, _STEPS, _TURNS)
    risk, found = named("SMALL"), {}
    params = starts(risk.arch, seeds)
    for name, (factory, numbers) in _OPTIMISERS.items():

        def ours(
            devices: Any, rtol: Any = None, factory: Any = factory, numbers: dict[str, Any] = numbers
        ) -> lf.Descent:
            options: dict[str, Any] = {
                "steps": steps,
                "record_every": _EVERY,
                "devices": devices,
                "gradient_rtol": rtol,
            }
            return lf.gradient_descent_ensemble(risk, params, factory, numbers, **options)

        candidates = [
            Candidate(_HAND, hand_written(risk, params, factory(**numbers), steps, _EVERY), seeds),
            Candidate(_ALONE, lambda ours=ours: ours(jax.local_devices()[:1]), seeds),
            Candidate(_STEPS_ALONE, lambda ours=ours: ours(jax.local_devices()[:1], _FINEST), seeds),
            Candidate(_OURS, lambda ours=ours: ours(None), seeds),
        ]
        run = warm_up(candidates, say)[_OURS]
        limits = int((run.limit_is_isolated | (run.hessian_index >= 0)).sum())
        found[name] = {"seconds": in_turns(candidates, turns), "limits": limits}
    return {"seeds": seeds, "steps": steps, "every": _EVERY, "optimisers": found, "devices": len(jax.local_devices())}


def section(data: dict[str, Any]) -> str:
    """This part of RESULTS.md."""
    rows = []
    for name, found in data["optimisers"].items():
        seconds = found["seconds"]
        for program in (_HAND, _ALONE, _STEPS_ALONE, _OURS):
            a_step = f"{text.number(median(seconds[program]) / data['steps'] * 1e9)} ns"
            part = f"{ratio(seconds[program], seconds[_HAND]):.2f}"
            rows.append(
                [f"{name}, {program}", a_step, part, str(found["limits"]) if program in (_ALONE, _OURS) else "-"]
            )
    head = ["optimiser, program", "a step and seed", "of the hand-written", "limits found"]
    return "\n\n".join(
        [
            "## Gradient descent",
            f"SMALL, {data['seeds']} seeds, {data['steps']:,} steps, recorded every {data['every']} steps, on "
            f"{data['devices']} device(s). The hand-written program records filters, risk and gradient norm; the "
            "ensemble also watches for divergence, measures what a flow conserves, and tests every end whose gradient "
            "is below tolerance by Newton's method and curvature.",
            text.table(head, rows),
        ]
    )


def drawings(data: dict[str, Any]) -> list[Any]:
    """None: the table says it all."""
    del data
    return []
