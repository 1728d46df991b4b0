"""The code under test: all flows of a family by the ensemble's engine, and by `gradient_flow` under jit and vmap."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import lcnn_flow as lf

from .cases import Condition
from .families import Family, architecture

__all__ = ["ENGINES", "Outcome", "library_outcomes"]

ENGINES = ("ensemble", "single")
_CHUNK = 64
"""Flows under one vmap."""


class Outcome(NamedTuple):
    """What the library says of flows; a leading axis for flows."""

    verdict: np.ndarray
    limit: np.ndarray
    final: np.ndarray
    isolated: np.ndarray


def library_outcomes(family: Family, conditions: list[Condition], engine: str) -> Outcome:
    """All starts of all conditions, in that order."""
    arch, dtype = architecture(family), np.dtype(family.dtype)

    def risk(inputs, targets, numbers):
        loss = lf.losses.Lp(family.p) if family.p is not None else lf.losses.LOSSES[family.loss](*numbers)
        return lf.EmpiricalRisk(arch, loss, lf.Dataset(inputs, targets))

    inputs, targets = (jnp.asarray(np.stack([getattr(c, name) for c in conditions])) for name in ("inputs", "targets"))
    columns = () if family.p is not None else zip(*(c.numbers for c in conditions), strict=True)
    risks = jax.jit(jax.vmap(risk))(inputs, targets, tuple(jnp.asarray(x, dtype) for x in columns))
    starts = np.stack([c.starts for c in conditions]).astype(dtype)
    ends = np.cumsum([math.prod(shape) for shape in arch.layer_shapes])[:-1]
    layers = np.split(starts, ends, axis=-1)
    params = tuple(w.reshape(*w.shape[:2], *s) for w, s in zip(layers, arch.layer_shapes, strict=True))
    if engine == "ensemble":
        flows = lf.gradient_flow_ensemble(risks, params, block_size=starts.shape[1])  # few flows, but in lanes
        flows = jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), flows)
    else:
        flows = _one_by_one(risks, params)
    return Outcome(
        np.asarray(flows.verdict), _vectors(flows.limit), _vectors(flows.final), np.asarray(flows.limit_is_isolated)
    )


def _one_by_one(risks: lf.EmpiricalRisk, params: tuple) -> lf.Flow:
    """`gradient_flow` of every start, `_CHUNK` at a time."""
    conditions, seeds = params[0].shape[:2]
    program = jax.jit(jax.vmap(lambda risk, w: lf.gradient_flow(risk, w), in_axes=(risks_axes(risks), 0)))
    total = conditions * seeds
    flat = tuple(w.reshape(total, *w.shape[2:]) for w in params)
    parts = []
    for first in range(0, total, _CHUNK):
        rows = np.arange(first, first + _CHUNK) % total
        chosen = jax.tree.map(lambda leaf, on, rows=rows: leaf[rows // seeds] if on else leaf, risks, risks.batched())
        flow = jax.tree.map(np.asarray, program(chosen, tuple(w[rows] for w in flat)))
        parts.append(jax.tree.map(lambda x, first=first: x[: total - first], flow))
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def risks_axes(risks: lf.EmpiricalRisk):
    """Which leaves carry the axis of a batch."""
    return jax.tree.map(lambda on: 0 if on else None, risks.batched())


def _vectors(params: tuple) -> np.ndarray:
    return np.concatenate([np.asarray(w, float).reshape(len(w), -1) for w in params], axis=1)
