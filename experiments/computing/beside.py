"""What modules about descents compute beside them: the gradient flow at the same times, and the law of balancedness.

A step w - eta g of gradient descent changes |w_l|^2 - p |w_{l+1}|^2 by exactly eta^2 (|g_l|^2 - p |g_{l+1}|^2) where
the flow conserves it, p being the degree of homogeneity of the activation, 1 of a linear network.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lcnn_flow as lf
from experiments.computing.descents import descents
from experiments.computing.observables import OBSERVABLES
from experiments.networks import may_conserve
from experiments.schema import Configuration

__all__ = ["flow_beside", "law_of_balancedness"]

_RTOL = {"float64": 1e-9, "float32": 1e-5}
"""Far below the distances that are looked at."""
_LAW_STEPS = 100
"""Steps at the start that are put to the law, every one of them."""


def flow_beside(configuration: Configuration, risk: Any, start: Any, run: Any) -> dict[str, np.ndarray]:
    """Risk and sharpness of the flow from the same start at the times of the descent, and the distance from it."""
    times = jnp.asarray(np.asarray(run.trajectory.time)[0])
    rtol = _RTOL[configuration.compute.precision]
    flow = lf.gradient_flow_ensemble(risk, start, times=times, rtol=rtol, record=dict(OBSERVABLES))
    assert flow.trajectory is not None
    assert flow.trajectory.record is not None
    return {
        "flow_risk": np.asarray(flow.trajectory.risk),
        "flow_sharpness": np.asarray(flow.trajectory.record["sharpness"]),
        "distance_to_flow": np.asarray(run.distance_to_flow(flow)),
    }


def law_of_balancedness(configuration: Configuration, risk: Any, start: Any, run: Any) -> dict[str, np.ndarray]:
    """Error of the law in the first steps, and the change itself, relative to the largest |w_l|^2.

    Nothing for other optimisers than "sgd", minibatches, biases, or where the flow conserves nothing.
    """
    descent, network = configuration.descent, risk.network
    assert descent is not None
    plain = descent.optimizer.kind == "sgd" and descent.batch_size is None
    if not plain or not may_conserve(network) or network.bias or network.depth < 2:
        return {}
    steps = min(descent.steps, _LAW_STEPS)
    short = descent.model_copy(update={"steps": steps, "record_every": 1})
    few = configuration.model_copy(update={"dynamics": short})
    (seen,) = descents([few], [risk], [start], 0, {"squares": _squared_gradients}, lambda done, total: None)
    record = seen.trajectory.record
    assert record is not None
    degree = 1.0 if network.activation is None else float(network.activation.degree)
    squares, slopes = np.asarray(seen.trajectory.squared_norms), np.asarray(record["squares"])
    change = np.diff(squares[..., :-1] - degree * squares[..., 1:], axis=1)
    law = descent.optimizer.learning_rate**2 * (slopes[..., :-1] - degree * slopes[..., 1:])[:, :-1]
    size = squares.max(axis=(1, 2))
    return {
        "law_defect": np.abs(change - law).max(axis=(1, 2)) / size,
        "law_change": np.abs(change).max(axis=(1, 2)) / size,
    }


def _squared_gradients(risk: Any, params: Any) -> jax.Array:
    """|g_l|^2 of every layer."""
    return jnp.stack([jnp.sum(g**2) for g in jax.tree.leaves(jax.grad(risk)(params))])
