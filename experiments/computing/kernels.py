"""Closed forms of the two ends of the scale of a start: the filter of the kernel, and the least filter that fits.

A network that hardly moves learns as its linearisation at the start: with the kernel K = J J^T, J = dv/dw, the flow of
the square loss from the filter v_0 ends at v_0 + K P^T (P K P^T)^+ (y - P v_0), P the patch matrix and ^+ the
pseudo-inverse (Jacot, Gabriel and Hongler 2018, for kernels; this form derived). The least of all filters that fit best
is P^+ y.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lcnn_flow as lf
from experiments.computing.outer import windows
from experiments.schema import Configuration

__all__ = ["lazy_filters", "minimum_norm_filter"]

_NEGLIGIBLE = 1e-12
"""Singular values, relative to the largest, that count as 0."""


def lazy_filters(configuration: Configuration, risk: Any, start: Any, flow: Any) -> dict[str, np.ndarray]:
    """Limits of the linearised flows from all starts, of the square loss and a single output channel; (seeds, taps)."""
    del configuration, flow
    rows, targets = _rows(risk)
    filters, kernels = _linearised(risk.network, start)
    found = []
    for v, kernel in zip(np.asarray(filters), np.asarray(kernels), strict=True):
        gram = np.linalg.pinv(rows @ kernel @ rows.T, rcond=_NEGLIGIBLE, hermitian=True)
        found.append(v + kernel @ rows.T @ gram @ (targets - rows @ v))
    return {"lazy_filter": np.stack(found)}


def minimum_norm_filter(configuration: Configuration, risk: Any) -> dict[str, np.ndarray]:
    """The smallest end-to-end filter among those of the least squares, of a single output channel; (taps,)."""
    del configuration
    rows, targets = _rows(risk)
    return {"minimum_norm_filter": np.linalg.pinv(rows, rcond=_NEGLIGIBLE) @ targets}


def _rows(risk: Any) -> tuple[np.ndarray, np.ndarray]:
    """Patches of all outputs, (outputs, taps), and targets, (outputs,)."""
    patches = windows(risk)
    return patches.reshape(-1, patches.shape[-1]), np.asarray(risk.data.targets).reshape(-1)


def _linearised(network: Any, start: Any) -> tuple[jax.Array, jax.Array]:
    """End-to-end filters, (seeds, taps), and their kernels, (seeds, taps, taps), of all starts."""

    def image(params: Any) -> jax.Array:
        return lf.end_to_end_filter(network, params).reshape(-1)

    def one(params: Any) -> tuple[jax.Array, jax.Array]:
        parts = [part.reshape(part.shape[0], -1) for part in jax.tree.leaves(jax.jacrev(image)(params))]
        jacobian = jnp.concatenate(parts, axis=1)
        return image(params), jacobian @ jacobian.T

    return jax.jit(jax.vmap(one))(start)
