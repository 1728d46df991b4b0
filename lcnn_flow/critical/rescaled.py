"""Identification of equal critical points: orbits under the rescaling w_l -> a_l w_l, prod_l a_l = 1.

A rescaling does not change the network, so limits of flows from different starts may differ by a rescaling although
they are the same critical point. Its invariants are the projections u_l u_l^T, where u_l = w_l / |w_l|, and the
end-to-end filter v.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from lcnn_flow.errors import ArchitectureError
from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.filters import end_to_end_filter
from lcnn_flow.network.parameters import Params, ParamsLike

__all__ = ["Orbits", "orbits"]


@dataclass(frozen=True)
class Orbits:
    """A partition of points into orbits, the most frequent orbit first."""

    labels: Int[np.ndarray, " S"]
    """Number of the orbit of every point, from 0; -1 for points with NaN."""
    representatives: Int[np.ndarray, " K"]
    """The first point of every orbit."""
    counts: Int[np.ndarray, " K"]
    """Number of points in every orbit."""


def orbits(arch: Architecture, params: ParamsLike, tolerance: float = 1e-6) -> Orbits:
    """Partitions a batch of points into orbits under rescaling; exchanged filters belong to different orbits.

    Two points are in one orbit if their invariants differ by less than `tolerance` in every entry, where v is divided
    by the largest |v| of the batch. With channels a larger group acts, and only v is compared. Not for use under jit.

    Args:
        arch: the network.
        params: filters with one leading axis S.
        tolerance: relative tolerance.

    Raises:
        ArchitectureError: params do not have one leading axis.
    """
    invariants = _invariants(arch, params)
    labels = np.full(len(invariants), -1)
    known: list[int] = []
    for i in np.flatnonzero(np.all(np.isfinite(invariants), axis=1)):
        if known:
            distances = np.max(np.abs(invariants[known] - invariants[i]), axis=1)
            nearest = int(np.argmin(distances))
            if distances[nearest] < tolerance:
                labels[i] = nearest
                continue
        labels[i] = len(known)
        known.append(int(i))
    counts = np.bincount(labels[labels >= 0], minlength=len(known))
    order = np.argsort(-counts, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    labels[labels >= 0] = rank[labels[labels >= 0]]
    return Orbits(labels, np.asarray(known, int)[order], counts[order])


def _invariants(arch: Architecture, params: ParamsLike) -> Float[np.ndarray, "S d"]:
    filters = [np.asarray(w, float) for w in params]
    if len(filters) != arch.depth or any(
        w.ndim == 0 or w.shape[1:] != shape or len(w) != len(filters[0])
        for w, shape in zip(filters, arch.layer_shapes, strict=True)
    ):
        raise ArchitectureError(
            f"params have shapes {[w.shape for w in filters]}: needed are {arch.layer_shapes} with one leading axis"
        )
    v = _end_to_end(arch, filters)
    largest = np.max(np.abs(v), where=np.isfinite(v), initial=0.0)
    parts = [v / largest if largest > 0 else v]
    if arch.channels is None:
        for w in filters:
            flat = w.reshape(len(w), -1)
            norm = np.linalg.norm(flat, axis=1, keepdims=True)
            normalised = flat / np.where(norm > 0, norm, 1)
            parts.append((normalised[:, :, None] * normalised[:, None, :]).reshape(len(w), -1))
    return np.concatenate(parts, axis=1)


def _end_to_end(arch: Architecture, filters: list[Any]) -> Float[np.ndarray, "S q"]:
    return np.asarray(_batched_filter(arch, tuple(filters))).reshape(len(filters[0]), -1)


@partial(jax.jit, static_argnames="arch")
def _batched_filter(arch: Architecture, params: Params) -> jax.Array:
    return jax.vmap(lambda w: end_to_end_filter(arch, w))(params)
