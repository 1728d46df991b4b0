"""Compares descents with the gradient flow from the same start at the same times, and with the law of balancedness.

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
from experiments.computing.solved_cell import SolvedCell
from experiments.networks import may_conserve

__all__ = ["COMPARISON_RTOL", "compare_conservation", "compare_with_flow", "law_of_balancedness"]

COMPARISON_RTOL = {"float64": 1e-9, "float32": 1e-5}
"""Relative tolerance of the flows, by precision: far below the distances that are measured."""
_LAW_STEPS = 100
"""Number of steps from the start for which the law is checked."""


def compare_with_flow(cell: SolvedCell) -> dict[str, np.ndarray]:
    """Risk and sharpness of the flow from the same start at the times of the descent, and the distance from it."""
    flow = _flow(cell, record={"sharpness": OBSERVABLES["sharpness"]})
    assert flow.trajectory.record is not None
    return {
        "flow_risk": np.asarray(flow.trajectory.risk),
        "flow_sharpness": np.asarray(flow.trajectory.record["sharpness"]),
        "distance_to_flow": np.asarray(cell.flows.distance_to_flow(flow)),
    }


def law_of_balancedness(cell: SolvedCell) -> dict[str, np.ndarray]:
    """Error of the law in the first steps, and the change itself, relative to the largest |w_l|^2.

    Empty for other optimisers than "sgd", for minibatches, for networks with biases, and where the flow conserves
    nothing.
    """
    if cell.descent.optimizer.kind != "sgd" or not _has_balance(cell):
        return {}
    return _errors_of_law(*_first_steps(cell))


def compare_conservation(cell: SolvedCell) -> dict[str, np.ndarray]:
    """How far the flow from the same start moves the balance, and how far steps of any optimiser are from the law.

    Empty for minibatches, for networks with biases, and where the flow conserves nothing.
    """
    if not _has_balance(cell):
        return {}
    squares = np.asarray(_flow(cell).trajectory.squared_norms)
    balance = _balance(squares, cell.risk.network)
    drift = np.abs(balance - balance[:, :1]).max(axis=(1, 2)) / squares.max(axis=(1, 2))
    change, law, size = _first_steps(cell)
    miss = np.abs(change - law).max(axis=(1, 2)) / np.abs(change).max(axis=(1, 2))
    exact = cell.descent.optimizer.kind == "sgd"
    return {"flow_drift": drift, "law_miss": miss} | (_errors_of_law(change, law, size) if exact else {})


def _flow(cell: SolvedCell, **options: Any) -> Any:
    """The flows from the same starts, at the times of the descents."""
    times = jnp.asarray(np.asarray(cell.flows.trajectory.time)[0])
    rtol = COMPARISON_RTOL[cell.configuration.compute.precision]
    return lf.gradient_flow_ensemble(cell.risk, cell.start, times=times, rtol=rtol, **options)


def _errors_of_law(change: np.ndarray, law: np.ndarray, size: np.ndarray) -> dict[str, np.ndarray]:
    """What is stored of steps of plain descent, as `_first_steps` gives them."""
    return {
        "law_defect": np.abs(change - law).max(axis=(1, 2)) / size,
        "law_change": np.abs(change).max(axis=(1, 2)) / size,
    }


def _has_balance(cell: SolvedCell) -> bool:
    """Whether the flow conserves the balance of layers, and the descent uses the gradients of all samples."""
    network = cell.risk.network
    return cell.descent.batch_size is None and may_conserve(network) and not network.bias and network.depth > 1


def _balance(squares: np.ndarray, network: Any) -> np.ndarray:
    """|w_l|^2 - p |w_{l+1}|^2, or the same of the gradients, from squared norms whose last axis is that of layers."""
    degree = 1.0 if network.activation is None else float(network.activation.degree)
    return squares[..., :-1] - degree * squares[..., 1:]


def _first_steps(cell: SolvedCell) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Change of the balance in each of the first steps, what the law of plain descent says, and the largest |w_l|^2."""
    descent, risk = cell.descent, cell.risk
    steps = min(descent.steps, _LAW_STEPS)
    short = descent.model_copy(update={"steps": steps, "record_every": 1})
    few = cell.configuration.model_copy(update={"dynamics": short})
    (seen,) = descents([few], [risk], [cell.start], 0, {"squares": _squared_gradients}, lambda done, total: None)
    record = seen.trajectory.record
    assert record is not None
    squares, slopes = np.asarray(seen.trajectory.squared_norms), np.asarray(record["squares"])
    change = np.diff(_balance(squares, risk.network), axis=1)
    law = descent.optimizer.learning_rate**2 * _balance(slopes, risk.network)[:, :-1]
    return change, law, squares.max(axis=(1, 2))


def _squared_gradients(risk: Any, params: Any) -> jax.Array:
    """|g_l|^2 of every layer."""
    return jnp.stack([jnp.sum(g**2) for g in jax.tree.leaves(jax.grad(risk)(params))])
