"""The code under test: flows of many functions of one structure, by the ensemble's engine or one by one."""

from typing import NamedTuple

import jax
import numpy as np

import lcnn_flow as lf

from .structure import Draw, Structure, risks

__all__ = ["ENGINES", "Outcome", "outcomes"]

ENGINES = ("ensemble", "single")


class Outcome(NamedTuple):
    """What the library says; axes (functions, starts) and those of a vector, in units of each function's length."""

    verdict: np.ndarray
    reason: np.ndarray
    limit: np.ndarray
    isolated: np.ndarray


def outcomes(
    structure: Structure, draws: list[Draw], lengths: np.ndarray, heights: np.ndarray, engine: str = "ensemble"
) -> Outcome:
    """Flows of all functions from all their starts."""
    batch = risks(structure, draws, lengths, heights)
    starts = np.stack([[start.vector for start in draw.starts] for draw in draws])
    params = structure.tree(starts * lengths[:, None, None])
    if engine == "ensemble":
        flows = lf.gradient_flow_ensemble(batch, params)
    else:
        rows = [jax.tree.map(lambda x, i=i: x[i], batch) for i in range(len(draws))]
        every = [
            [lf.gradient_flow(risk, jax.tree.map(lambda x, i=i, j=j: x[i, j], params)) for j in range(starts.shape[1])]
            for i, risk in enumerate(rows)
        ]
        flows = jax.tree.map(lambda *x: np.stack(x), *[jax.tree.map(lambda *x: np.stack(x), *row) for row in every])
    limit = structure.vectors(flows.limit, 2) / lengths[:, None, None]
    return Outcome(*(np.asarray(x) for x in (flows.verdict, flows.reason, limit, flows.limit_is_isolated)))
