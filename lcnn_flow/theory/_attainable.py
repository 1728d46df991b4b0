"""The smallest |P v|/|v| over attainable end-to-end filters v = pi(w), by search from random filters.

pi is linear in each filter, v = J_l w_l: with J_l = Q R, the best w_l for the others fixed is R^-1 times the last right
singular vector of P Q. Sweeps over the layers settle far from the minimum, then Levenberg-Marquardt steps on
P v/|v|, which converge quadratically to a zero. Derived.
"""

from functools import partial

import jax
import numpy as np

from lcnn_flow.architecture import Architecture
from lcnn_flow.network import end_to_end_filter, unravel

__all__ = ["STARTS", "attainable_minimum"]

STARTS = 64
_SWEEPS = 12
_STEPS = 60


def attainable_minimum(arch: Architecture, rows: np.ndarray) -> float:
    """min |P v|/|v| over attainable v != 0, for P = `rows` of shape (windows, k_v), in units of P; an upper bound.

    Single channel. Zero is found to about eps times the largest singular value where ker P meets the attainable
    filters transversally. The same random starts on every call.
    """
    triangle = np.asarray(np.linalg.qr(rows.astype(float), mode="r"))
    largest = np.linalg.norm(triangle, 2)
    if largest == 0:
        return 0.0
    square = np.zeros((rows.shape[1], rows.shape[1]))
    square[: len(triangle)] = triangle / largest
    sizes = [int(np.prod(shape)) for shape in arch.layer_shapes]
    ends = np.cumsum(sizes)
    layers = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    filters = _unit(np.random.default_rng(0).normal(size=(STARTS, ends[-1])), layers)
    for _ in range(_SWEEPS):
        for layer in layers:
            basis, factor = np.linalg.qr(_jacobians(arch, filters)[:, :, layer])
            last = np.linalg.svd(square @ basis, full_matrices=False)[2][:, -1, :]
            filters[:, layer] = np.linalg.solve(factor, last[..., None])[..., 0]
            filters = _unit(filters, layers)
    return float(largest * np.min(_levenberg_marquardt(arch, square, filters, layers)))


def _levenberg_marquardt(arch: Architecture, square: np.ndarray, filters: np.ndarray, layers: list) -> np.ndarray:
    """|P v|/|v| after damped Gauss-Newton steps from every start."""
    damping = np.full(len(filters), 1e-3)
    residuals, slopes = _normalised(arch, square, filters)
    for _ in range(_STEPS):
        normal = np.swapaxes(slopes, 1, 2) @ slopes + damping[:, None, None] * np.eye(filters.shape[1])
        step = np.linalg.solve(normal, np.swapaxes(slopes, 1, 2) @ residuals[..., None])[..., 0]
        trial = _unit(filters - step, layers)
        trial_residuals, trial_slopes = _normalised(arch, square, trial)
        better = np.linalg.norm(trial_residuals, axis=1) < np.linalg.norm(residuals, axis=1)
        filters = np.where(better[:, None], trial, filters)
        residuals = np.where(better[:, None], trial_residuals, residuals)
        slopes = np.where(better[:, None, None], trial_slopes, slopes)
        damping = np.clip(np.where(better, damping / 5, damping * 5), 1e-12, 1e3)
    return np.linalg.norm(residuals, axis=1)


def _normalised(arch: Architecture, square: np.ndarray, filters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P v/|v| and its derivative in the filters; J w = N v by homogeneity."""
    jacobians = _jacobians(arch, filters)
    v = (jacobians @ filters[..., None])[..., 0] / arch.depth
    length = np.linalg.norm(v, axis=1)[:, None]
    unit = v / length
    across = jacobians - unit[..., None] * (unit[:, None, :] @ jacobians)
    return unit @ square.T, square @ across / length[..., None]


def _jacobians(arch: Architecture, filters: np.ndarray) -> np.ndarray:
    return np.asarray(_compiled_jacobians(arch, filters), float)


@partial(jax.jit, static_argnums=0)
def _compiled_jacobians(arch: Architecture, filters: jax.Array) -> jax.Array:
    def filter_of(vector):
        return end_to_end_filter(arch, unravel(arch, vector)).reshape(-1)

    return jax.vmap(jax.jacfwd(filter_of))(filters)


def _unit(filters: np.ndarray, layers: list) -> np.ndarray:
    """Every filter at norm 1."""
    return np.concatenate([f / np.linalg.norm(f, axis=1, keepdims=True) for f in (filters[:, s] for s in layers)], 1)
