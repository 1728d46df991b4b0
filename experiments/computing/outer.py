"""The risk as a function of the end-to-end filter v, for comparisons with closed forms."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

import lcnn_flow as lf
from experiments.computing.solved_cell import SolvedCell

__all__ = ["outer_risk", "patches_of"]


def patches_of(risk: Any) -> np.ndarray:
    """The patches of the data, (samples, outputs, taps), of a network with a single output channel."""
    data, network = risk.data, risk.network.convolution()
    return np.asarray(lf.patches(network, data.inputs.reshape(data.num_samples, *network.sample_shape)))


def outer_risk(cell: SolvedCell) -> dict[str, np.ndarray]:
    """`pull` = -dl/dv (taps,) and `curvature` = d^2l/dv^2 (taps, taps) at v = 0, l(v) being the risk of the filter v.

    For the square loss l(v) = l(0) - pull . v + v . curvature v / 2 exactly, so that pull = P^T y / m and curvature =
    P^T P / m. Nothing for networks with several output channels.
    """
    risk = cell.risk
    if risk.arch.channels is not None and risk.arch.channels[-1] > 1:
        return {}
    zero = jnp.zeros((1, math.prod(risk.arch.end_to_end_filter_shape)))
    return {"pull": -np.asarray(risk.outer.gradient(zero))[0], "curvature": np.asarray(risk.outer.hessian(zero))[0]}
