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

__all__ = ["BESIDE_RTOL", "conservation_beside", "flow_beside", "law_of_balancedness"]

BESIDE_RTOL = {"float64": 1e-9, "float32": 1e-5}
"""Far below the distances that are looked at."""
_LAW_STEPS = 100
"""Steps at the start that are put to the law, every one of them."""


def flow_beside(configuration: Configuration, risk: Any, start: Any, run: Any) -> dict[str, np.ndarray]:
    """Risk and sharpness of the flow from the same start at the times of the descent, and the distance from it."""
    flow = _flow(configuration, risk, start, run, record={"sharpness": OBSERVABLES["sharpness"]})
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
    descent = configuration.descent
    assert descent is not None
    if descent.optimizer.kind != "sgd" or not _has_balance(configuration, risk.network):
        return {}
    return _errors_of_law(*_first_steps(configuration, risk, start))


def conservation_beside(configuration: Configuration, risk: Any, start: Any, run: Any) -> dict[str, np.ndarray]:
    """How far the flow from the same start moves the balance, and by how much the steps of any optimiser miss the law.

    Nothing for minibatches, biases, or where the flow conserves nothing.
    """
    network = risk.network
    if not _has_balance(configuration, network):
        return {}
    squares = np.asarray(_flow(configuration, risk, start, run).trajectory.squared_norms)
    balance = _balance(squares, network)
    drift = np.abs(balance - balance[:, :1]).max(axis=(1, 2)) / squares.max(axis=(1, 2))
    change, law, size = _first_steps(configuration, risk, start)
    miss = np.abs(change - law).max(axis=(1, 2)) / np.abs(change).max(axis=(1, 2))
    assert configuration.descent is not None
    exact = configuration.descent.optimizer.kind == "sgd"
    return {"flow_drift": drift, "law_miss": miss} | (_errors_of_law(change, law, size) if exact else {})


def _flow(configuration: Configuration, risk: Any, start: Any, run: Any, **options: Any) -> Any:
    """The flows from the same starts at the times of the descents."""
    times, rtol = jnp.asarray(np.asarray(run.trajectory.time)[0]), BESIDE_RTOL[configuration.compute.precision]
    return lf.gradient_flow_ensemble(risk, start, times=times, rtol=rtol, **options)


def _errors_of_law(change: np.ndarray, law: np.ndarray, size: np.ndarray) -> dict[str, np.ndarray]:
    """What is stored of steps of plain descent, as `_first_steps` gives them."""
    return {
        "law_defect": np.abs(change - law).max(axis=(1, 2)) / size,
        "law_change": np.abs(change).max(axis=(1, 2)) / size,
    }


def _has_balance(configuration: Configuration, network: Any) -> bool:
    """Whether the flow conserves the balance of layers, and the descent takes the gradients of all samples."""
    descent = configuration.descent
    full = descent is not None and descent.batch_size is None
    return full and may_conserve(network) and not network.bias and network.depth > 1


def _balance(squares: np.ndarray, network: Any) -> np.ndarray:
    """|w_l|^2 - p |w_{l+1}|^2, or the same of the gradients, from squared norms whose last axis is that of layers."""
    degree = 1.0 if network.activation is None else float(network.activation.degree)
    return squares[..., :-1] - degree * squares[..., 1:]


def _first_steps(configuration: Configuration, risk: Any, start: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Change of the balance in each of the first steps, what the law of plain descent says, and the largest |w_l|^2."""
    descent = configuration.descent
    assert descent is not None
    steps = min(descent.steps, _LAW_STEPS)
    short = descent.model_copy(update={"steps": steps, "record_every": 1})
    few = configuration.model_copy(update={"dynamics": short})
    (seen,) = descents([few], [risk], [start], 0, {"squares": _squared_gradients}, lambda done, total: None)
    record = seen.trajectory.record
    assert record is not None
    squares, slopes = np.asarray(seen.trajectory.squared_norms), np.asarray(record["squares"])
    change = np.diff(_balance(squares, risk.network), axis=1)
    law = descent.optimizer.learning_rate**2 * _balance(slopes, risk.network)[:, :-1]
    return change, law, squares.max(axis=(1, 2))


def _squared_gradients(risk: Any, params: Any) -> jax.Array:
    """|g_l|^2 of every layer."""
    return jnp.stack([jnp.sum(g**2) for g in jax.tree.leaves(jax.grad(risk)(params))])
