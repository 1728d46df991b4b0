"""Synthetic data from three independent choices: inputs, targets, corruption."""

import math
from typing import Any

import jax
from jax.typing import ArrayLike
from jaxtyping import Real

from lcnn_flow.arguments import check_key, check_kind
from lcnn_flow.data.checks import number
from lcnn_flow.data.corruption import Outliers, add_noise
from lcnn_flow.data.dataset import Dataset
from lcnn_flow.data.inputs import InputSource, White
from lcnn_flow.data.targets import Planted, TargetSource
from lcnn_flow.errors import DataError
from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.dense import Dense, Network

__all__ = ["synthesize"]

_DEFAULT_INPUTS, _DEFAULT_TARGETS = White(), Planted()


def synthesize(
    key: Any,
    arch: Network,
    samples: int | None = None,
    inputs: InputSource = _DEFAULT_INPUTS,
    targets: TargetSource = _DEFAULT_TARGETS,
    noise: Real[ArrayLike, "..."] = 0.0,
    outliers: Outliers | None = None,
) -> Dataset:
    """A data set for `arch`: y_i = (clean target of x_i) + noise + outliers.

    A pure function of the key, under jit and vmap too. Inputs, targets, noise and outliers each have a key of
    their own: changing one choice leaves what the others draw unchanged.

    Args:
        key: JAX random key.
        arch: the network that the data are for.
        samples: number of samples m; `None` only for `Windows`: all windows.
        inputs: `White` (the default), `Autoregressive`, `LowRank`, `MissingPatches`, `Windows`, or any
            callable `(key, arch, samples) -> (m, *arch.sample_shape)`.
        targets: `Planted` (the default), `Cascade`, `Filter`, `Unrelated`, or any callable
            `(key, arch, inputs) -> (targets, true_filter or None)`.
        noise: standard deviation of white noise relative to the root mean square of the clean targets.
        outliers: `Outliers(fraction, scale)`, or `None`.

    Raises:
        DataError: choices that are out of range or do not fit the architecture.
    """
    check_kind(
        "synthesize", "arch", arch, (Architecture, Dense), "the order is synthesize(key, arch, samples=...)", DataError
    )
    check_key("synthesize", key, DataError)
    noise = number("synthesize", "noise", noise, 0, math.inf)
    key_inputs, key_targets, key_noise, key_outliers = jax.random.split(key, 4)
    x = inputs(key_inputs, arch, samples)
    clean, true_filter = targets(key_targets, arch, x)
    y = clean if isinstance(noise, float) and noise == 0 else add_noise(key_noise, clean, noise)
    if outliers is not None:
        y = y + outliers(key_outliers, clean)
    return Dataset(x, y, true_filter=true_filter)
