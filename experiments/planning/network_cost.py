"""What a step of a flow costs and takes in networks that are not linear: counts, for the cost model alone."""

import math
from typing import Any

import jax

__all__ = ["size_of_network", "step_cost_of"]

_REVERSE = 3
"""A gradient in multiply-adds of the network on all samples; a column of the Hessian costs twice as much."""
_STAGES = 6
"""Gradients in a step of Rodas4."""
_FLOAT = 8  # bytes


def size_of_network(risk: Any) -> dict[str, Any]:
    """The numbers of `cost_model.Work` that follow from the shapes of a risk, which need not be computed."""
    network, devices = risk.network, jax.local_devices()
    n, samples = network.num_parameters, risk.num_samples
    numbers = samples * _activations(network)
    return {
        "depth": network.depth,
        "parameters": n,
        "rows": samples * math.prod(network.output_shape),
        "step_cost": step_cost_of(network, samples),
        "gradient_cost": _REVERSE * samples * _products(network),
        "working_bytes": len(devices) * 64 * _FLOAT * (4 * n * n + 4 * n * numbers),
        "devices": len(devices),
        "on_cpu": devices[0].platform == "cpu",
        "provable": False,
    }


def step_cost_of(network: Any, samples: int) -> int:
    """Multiply-adds of a step: the Hessian column by column, the gradients of all stages, and one factorisation."""
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
    """Numbers between the layers for one sample."""
    if hasattr(network, "widths"):
        return sum(network.widths)
    channels = network.channels or (1,) * len(network.spatial_shapes)
    return sum(c * math.prod(shape) for c, shape in zip(channels, network.spatial_shapes, strict=True))
