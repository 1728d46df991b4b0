"""Closed forms of the limits for very large and very small initial parameters, for the square loss.

With large initial parameters a network hardly moves and learns like its linearisation at the start: with the kernel
K = J J^T, J = dv/dw, the flow from the filter v_0 ends at v_0 + K P^T (P K P^T)^+ (y - P v_0), where P is the patch
matrix and ^+ the pseudo-inverse (Jacot, Gabriel and Hongler 2018, for kernels; this form derived). The filter of least
norm among all least-squares filters is P^+ y.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lcnn_flow as lf
from experiments.computing.outer import patches_of
from experiments.computing.solved_cell import SolvedCell

__all__ = ["lazy_filters", "minimum_norm_filter"]

_NEGLIGIBLE = 1e-12
"""Largest singular value, relative to the largest of all, that counts as 0."""


def lazy_filters(cell: SolvedCell) -> dict[str, np.ndarray]:
    """Limits of the linearised flows from all starts, for a single output channel; (seeds, taps)."""
    rows, targets = _rows(cell.risk)
    filters, kernels = _linearised(cell.risk.network, cell.start)
    found = []
    for v, kernel in zip(np.asarray(filters), np.asarray(kernels), strict=True):
        gram = np.linalg.pinv(rows @ kernel @ rows.T, rcond=_NEGLIGIBLE, hermitian=True)
        found.append(v + kernel @ rows.T @ gram @ (targets - rows @ v))
    return {"lazy_filter": np.stack(found)}


def minimum_norm_filter(cell: SolvedCell) -> dict[str, np.ndarray]:
    """The least-squares filter of least norm, for a single output channel; (taps,)."""
    rows, targets = _rows(cell.risk)
    return {"minimum_norm_filter": np.linalg.pinv(rows, rcond=_NEGLIGIBLE) @ targets}


def _rows(risk: Any) -> tuple[np.ndarray, np.ndarray]:
    """Patches, (samples * outputs, taps), and targets, (samples * outputs,)."""
    patches = patches_of(risk)
    return patches.reshape(-1, patches.shape[-1]), np.asarray(risk.data.targets).reshape(-1)


def _linearised(network: Any, start: Any) -> tuple[jax.Array, jax.Array]:
    """End-to-end filters, (seeds, taps), and kernels, (seeds, taps, taps), at all starts."""

    def image(params: Any) -> jax.Array:
        return lf.end_to_end_filter(network, params).reshape(-1)

    def one(params: Any) -> tuple[jax.Array, jax.Array]:
        parts = [part.reshape(part.shape[0], -1) for part in jax.tree.leaves(jax.jacrev(image)(params))]
        jacobian = jnp.concatenate(parts, axis=1)
        return image(params), jacobian @ jacobian.T

    return jax.jit(jax.vmap(one))(start)
