"""The code under test: flows and descents of all conditions of a family."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import lcnn_flow as lf

from .cases import Condition
from .descents import MOMENTUM, RATES, STEPS
from .families import Family, library_risk, net_of

__all__ = ["Outcome", "outcomes"]

_SGD: dict[str, Any] = {"sgd": optax.sgd, "momentum": optax.sgd, "adam": optax.adam}


class Outcome(NamedTuple):
    """What the library says; axes (rates, conditions, starts), with one rate for flows."""

    verdict: np.ndarray
    reason: np.ndarray
    final: np.ndarray
    limit: np.ndarray
    isolated: np.ndarray
    index: np.ndarray
    time: np.ndarray
    steps: np.ndarray


def outcomes(family: Family, conditions: list[Condition], engine: str = "ensemble") -> Outcome:
    """All starts of all conditions."""
    data = {k: np.stack([c.data[k] for c in conditions]) for k in conditions[0].data}
    risk = library_risk(family, data)
    vectors = np.stack([[start.vector for start in c.starts] for c in conditions])
    params = _tree(risk, vectors)
    if not family.optimiser:
        found: Any = lf.gradient_flow_ensemble(risk, params) if engine == "ensemble" else _singly(risk, params)
    else:
        numbers = {"learning_rate": np.asarray(RATES[family.optimiser])}
        if family.optimiser == "momentum":
            numbers["momentum"] = np.full(len(RATES["momentum"]), MOMENTUM)
        key = None if family.batch is None else jax.random.key(0)
        options: dict[str, Any] = {"steps": STEPS, "batch_size": family.batch, "key": key}
        found = lf.gradient_descent_ensemble(risk, params, _SGD[family.optimiser], numbers, **options)
    lead = np.ndim(found.verdict)
    size = net_of(family).size

    def vectors_of(tree: Any) -> np.ndarray:
        arrays = [np.asarray(w) for w in jax.tree.leaves(tree)]
        flat = np.concatenate([x.reshape(*x.shape[:lead], -1) for x in arrays], axis=-1)
        return flat.reshape(-1, *vectors.shape[:2], size)

    def numbers_of(x: Any) -> np.ndarray:
        return np.asarray(x).reshape(-1, *vectors.shape[:2])

    return Outcome(
        verdict=numbers_of(found.verdict),
        reason=numbers_of(found.reason),
        final=vectors_of(found.final),
        limit=vectors_of(found.limit),
        isolated=numbers_of(found.limit_is_isolated),
        index=numbers_of(found.hessian_index),
        time=numbers_of(found.time),
        steps=numbers_of(found.steps),
    )


def _tree(risk: lf.EmpiricalRisk, vectors: np.ndarray) -> Any:
    """The vectors (C, S, n) in the form that the library takes."""
    shapes = risk.network.layer_shapes
    ends = np.cumsum([int(np.prod(s)) for s in shapes])[:-1]
    arrays = [x.reshape(*vectors.shape[:2], *s) for x, s in zip(np.split(vectors, ends, axis=-1), shapes, strict=True)]
    if isinstance(risk.network, lf.Dense):
        return risk.network.assemble(arrays[:: 2 if risk.network.bias else 1], arrays[1::2])
    return tuple(arrays)


def _singly(risk: lf.EmpiricalRisk, params: Any) -> Any:
    """`gradient_flow` of one start after the other."""
    conditions, seeds = np.shape(jax.tree.leaves(params)[0])[:2]

    def one(condition: int, seed: int) -> Any:
        start = jax.tree.map(lambda w: jnp.asarray(w[condition, seed]), params)
        return lf.gradient_flow(risk.condition(condition), start)

    rows = [[one(c, s) for s in range(seeds)] for c in range(conditions)]
    stacked = [jax.tree.map(lambda *x: np.stack([np.asarray(y) for y in x]), *row) for row in rows]
    return jax.tree.map(lambda *x: np.stack(x), *stacked)
