"""The gradient flow as a user of diffrax would write it, for any of its solvers."""

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

import lcnn_flow as lf

__all__ = ["Arrival", "arrive", "gram_gradient"]


class Arrival(NamedTuple):
    """Where one integration ended."""

    end: jax.Array
    arrived: jax.Array
    """It came to the end of time or to a small gradient, not to the end of its steps."""
    saved: Any
    """States at the wanted times, or None."""


def gram_gradient(arch: lf.Architecture) -> Callable[..., Any]:
    """(w, (G, b)) -> gradient of v^T G v / 2 - b^T v, v the end-to-end filter, by automatic differentiation."""
    sizes = [shape[0] for shape in arch.layer_shapes]
    cuts = [sum(sizes[:i]) for i in range(1, len(sizes))]

    def risk(w: np.ndarray, moments: Any) -> Any:
        gram, moment = moments
        v = lf.end_to_end_filter(arch, tuple(jnp.split(w, cuts)))
        return v @ (gram @ v) / 2 - moment @ v

    return jax.grad(risk)


def arrive(
    gradient: Callable[..., Any],
    solver: diffrax.AbstractSolver[Any],
    start: jax.Array,
    args: Any,
    rtol: Any,
    atol: Any,
    end_time: Any,
    gradient_norm: Any,
    max_steps: int,
    times: Any = None,
) -> Arrival:
    """Integrates dw/dt = -gradient(w, args) until `end_time` or |gradient| <= `gradient_norm`, whichever is first."""
    subs = [diffrax.SubSaveAt(t1=True)]
    if times is not None:
        subs.append(diffrax.SubSaveAt(ts=times))
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, w, args: -gradient(w, args)),
        solver,
        0.0,
        end_time,
        None,
        start,
        args,
        saveat=diffrax.SaveAt(subs=subs),
        stepsize_controller=diffrax.PIDController(rtol, atol),
        event=diffrax.Event(lambda t, w, args, **_: jnp.linalg.norm(gradient(w, args)) <= gradient_norm),
        max_steps=max_steps,
        throw=False,
    )
    states: Any = solution.ys
    arrived = (solution.result == diffrax.RESULTS.successful) | (solution.result == diffrax.RESULTS.event_occurred)
    return Arrival(states[0][0], arrived, None if times is None else states[1])
