"""The part of the data that is stored with the results, so that a report can show how well the filters fit."""

from typing import Any

import jax.numpy as jnp
import numpy as np

import lcnn_flow as lf
from experiments.sweeps.sizes import SHOWN_DATA

__all__ = ["shown_data"]

_MOST_POINTS = 2_000


def shown_data(arch: Any, data: lf.Dataset) -> dict[str, np.ndarray]:
    """Evenly spaced entries of the targets, with their patches and weights.

    Returns:
        `shown_patches` (points, taps), whose product with a raveled end-to-end filter predicts `shown_target`
        (points,), and `shown_weight` (points,).
    """
    inputs, targets = np.asarray(data.inputs), np.asarray(data.targets)
    arch = arch.convolution()
    samples, channels = len(targets), 1 if arch.channels is None else arch.channels[-1]
    targets = targets.reshape(samples, channels, -1)  # (sample, channel, output)
    taps = int(np.prod(arch.end_to_end_filter_shape))
    count = min(targets.size, _MOST_POINTS, max(1, SHOWN_DATA // (taps + 2)))
    chosen = np.unique(np.linspace(0, targets.size - 1, count).round().astype(int))
    sample, channel, output = np.unravel_index(chosen, targets.shape)
    needed, place = np.unique(sample, return_inverse=True)
    rows = inputs[needed].reshape(len(needed), *arch.sample_shape)
    patches = np.asarray(lf.patches(arch, jnp.asarray(rows)))[place, output]
    blocks = np.zeros((len(chosen), channels, patches.shape[-1]))
    blocks[np.arange(len(chosen)), channel] = patches
    weights = np.ones(samples) if data.weights is None else np.asarray(data.weights)
    return {
        "shown_patches": blocks.reshape(len(chosen), -1),
        "shown_target": targets[sample, channel, output],
        "shown_weight": weights[sample],
    }
