"""Flows followed once more, to the accuracy of a picture, where the limits alone were computed.

The method is ROS2 with gamma = 1 - 1/sqrt(2), of order two and L-stable (J. G. Verwer, E. J. Spee, J. G. Blom,
W. Hundsdorfer, SIAM J. Sci. Comput. 20, 1999). Its steps are as long as the filters move by 5%, at most. A program of
the gradient and the Hessian compiles in a fraction of the seconds that one of a flow with times takes; the end of every
path is compared with that of the flow, so that a path that misses it is not shown.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["rough_paths"]

_GAMMA = 1 - 0.5**0.5
_MOVE = 0.05
"""Distance moved in a step, relative to the norm of the filters, at most."""
_LONGER = 2.0
_MOST_STEPS = 1_000
_MISSED = 0.05
"""Distance of the end from that of the flow, relative to its norm, from which on a path is not shown."""


def rough_paths(risk: Any, start: list[np.ndarray], final: list[np.ndarray], until: np.ndarray) -> list[np.ndarray]:
    """Filters along flows whose ends are known.

    Args:
        risk: what is minimised, of a network with filters in one dimension and single channels.
        start: initial filters of every layer, (flows, taps).
        final: filters of every layer at the end of the flow, (flows, taps).
        until: time of that end, (flows,).

    Returns:
        Filters of every layer, (flows, steps, taps), the last of which are `final`; NaN for flows whose path ends
        elsewhere.
    """
    w, end = (np.concatenate(layers, axis=1).astype(float) for layers in (start, final))
    until = np.where(np.isfinite(until), until, 0.0)
    time, step, path = np.zeros_like(until), until / 10, [w]
    for _ in range(_MOST_STEPS):
        gradient, hessian = (np.asarray(x, float) for x in _slopes(risk, w))
        step = np.minimum(_longest(w, gradient, hessian, _LONGER * step), until - time)
        w, time = _ros2(risk, w, gradient, hessian, step), time + step
        path.append(w)
        if (time >= until).all() or not np.isfinite(w).all():
            break
    missed = ~(np.linalg.norm(w - end, axis=1) <= _MISSED * np.linalg.norm(end, axis=1))
    found = np.stack([*path, end], axis=1)
    found[missed] = np.nan
    sizes = np.cumsum([layer.shape[1] for layer in start])[:-1]
    return list(np.split(found, sizes, axis=2))


def _longest(w: np.ndarray, gradient: np.ndarray, hessian: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Steps no longer than `step`, in which neither the filters move nor negative curvatures grow by much."""
    slope, negative = np.linalg.norm(gradient, axis=1), -np.linalg.eigvalsh(hessian)[:, 0]
    with np.errstate(divide="ignore"):
        bounds = _MOVE * np.linalg.norm(w, axis=1) / slope, 1 / np.maximum(negative, 0)
    return np.minimum(step, np.minimum(*bounds))


def _ros2(risk: Any, w: np.ndarray, gradient: np.ndarray, hessian: np.ndarray, step: np.ndarray) -> np.ndarray:
    """One step of w' = -gradient."""
    h = step[:, None]
    matrix = np.eye(w.shape[1]) + _GAMMA * h[:, :, None] * hessian
    first = np.linalg.solve(matrix, -gradient[:, :, None])[:, :, 0]
    beyond = np.asarray(_slopes(risk, w + h * first)[0], float)
    second = np.linalg.solve(matrix, (-beyond - 2 * first)[:, :, None])[:, :, 0]
    return w + h * (1.5 * first + 0.5 * second)


@eqx.filter_jit
def _slopes(risk: Any, w: Any) -> tuple[jax.Array, jax.Array]:
    """Gradients (flows, n) and Hessians (flows, n, n)."""
    sizes = np.cumsum([shape[0] for shape in risk.network.layer_shapes])[:-1]

    def value(vector: jax.Array) -> jax.Array:
        return risk(tuple(jnp.split(vector, sizes)))

    return jax.vmap(jax.grad(value))(w), jax.vmap(jax.hessian(value))(w)
