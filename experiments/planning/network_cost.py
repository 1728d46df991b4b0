"""Cost and memory of a step of a flow for networks that are not linear, from counts of multiply-adds."""

import math
from typing import Any, NamedTuple

import jax

__all__ = ["NetworkSize", "size_of_network", "step_cost_of"]

_REVERSE = 3
"""Cost of a gradient in evaluations of the network; a column of the Hessian costs twice as much."""
_STAGES = 6
"""Number of gradients per step of Rodas4."""
_FLOAT = 8  # bytes


class NetworkSize(NamedTuple):
    """The fields of `lcnn_flow.describe` that a plan needs."""

    step_cost: int
    """Multiply-adds of one step of a flow."""
    gradient_cost: int
    """Multiply-adds of one step of a descent."""
    lane_bytes: int
    lanes: int
    data_bytes: int
    devices: int
    device: str


def size_of_network(risk: Any) -> NetworkSize:
    """The sizes that follow from the shapes of a risk, which may be abstract."""
    network, devices = risk.network, jax.local_devices()
    n, samples = network.num_parameters, risk.num_samples
    numbers = samples * _activations(network)
    return NetworkSize(
        step_cost=step_cost_of(network, samples),
        gradient_cost=_REVERSE * samples * _products(network),
        lane_bytes=_FLOAT * (4 * n * n + 4 * n * numbers),
        lanes=64,
        data_bytes=0,
        devices=len(devices),
        device=devices[0].platform,
    )


def step_cost_of(network: Any, samples: int) -> int:
    """Multiply-adds per step: the Hessian column by column, the gradients of all stages, and one factorisation."""
    gradient = _REVERSE * samples * _products(network)
    n = network.num_parameters
    return 2 * n * gradient + _STAGES * gradient + n**3


def _products(network: Any) -> int:
    """Multiply-adds of the network on one sample."""
    if hasattr(network, "widths"):
        return sum(math.prod(shape) for shape in network.weight_shapes)
    outputs = [math.prod(shape) for shape in network.spatial_shapes[1:]]
    return sum(math.prod(w) * count for w, count in zip(network.weight_shapes, outputs, strict=True))


def _activations(network: Any) -> int:
    """Number of activations for one sample."""
    if hasattr(network, "widths"):
        return sum(network.widths)
    channels = network.channels or (1,) * len(network.spatial_shapes)
    return sum(c * math.prod(shape) for c, shape in zip(channels, network.spatial_shapes, strict=True))
