"""Synthetic data from three independent choices: inputs, targets, corruption."""

import math
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import PRNGKeyArray, Real

from lcnn_flow.arguments import check_key, check_kind
from lcnn_flow.data.checks import count, number
from lcnn_flow.data.corruption import Outliers, add_noise
from lcnn_flow.data.dataset import Dataset
from lcnn_flow.data.inputs import Anisotropic, Autoregressive, InputSource, LowRank, MissingPatches, White, Windows
from lcnn_flow.data.targets import Cascade, Filter, Labels, Planted, TargetSource, Unrelated
from lcnn_flow.errors import DataError
from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.dense import Dense, Network
from lcnn_flow.numerics.compiling import quick_to_compile

__all__ = ["synthesize"]

_OF_A_NUMBER = 300
"""Multiply-adds that take as long as a number of the inputs and its share of the targets and the noise."""

_DEFAULT_INPUTS, _DEFAULT_TARGETS = White(), Planted()
_TRACEABLE = (
    *(Anisotropic, Autoregressive, LowRank, MissingPatches, White, Windows),
    *(Cascade, Filter, Labels, Planted, Unrelated, Outliers),
)
"""Choices that are traced into one program; objects of other types may need concrete values and are called outside jit.
"""


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

    A pure function of the key, also under jit and vmap. Inputs, targets, noise and outliers each have their own key: a
    change of one of them does not change the random numbers of the others. Sources of this library are traced into one
    program per architecture, types of the sources and number of samples; callables of the user are called outside it.

    Args:
        key: JAX random key.
        arch: the network that the data are for.
        samples: number of samples m; `None` is allowed for `Windows` only and means all windows.
        inputs: `White` (the default), `Autoregressive`, `Anisotropic`, `LowRank`, `MissingPatches`, `Windows`, or any
            callable `(key, arch, samples) -> (m, *arch.sample_shape)`.
        targets: `Planted` (the default), `Cascade`, `Filter`, `Unrelated`, `Labels`, or any callable `(key, arch,
            inputs) -> (targets, true_filter or None)`.
        noise: standard deviation of white noise relative to the root mean square of the clean targets.
        outliers: `Outliers(fraction, scale)`, or `None`.

    Returns:
        `Dataset` with inputs (m, *arch.sample_shape), targets (m, *arch.output_shape) and the true filter where there
        is one.

    Raises:
        DataError: a choice is out of range or does not fit the architecture.
    """
    check_kind(
        "synthesize", "arch", arch, (Architecture, Dense), "the order is synthesize(key, arch, samples=...)", DataError
    )
    check_key("synthesize", key, DataError)
    noise = number("synthesize", "noise", noise, 0, math.inf)
    noisy = not (isinstance(noise, float) and noise == 0)
    choices = (inputs, targets, noise, outliers)
    sources = (inputs, targets, outliers, getattr(targets, "source", None))
    if all(type(choice) in _TRACEABLE for choice in sources if choice is not None):
        samples = None if samples is None else count(type(inputs).__name__, "samples", samples)
        numbers = jax.tree.map(lambda leaf: np.asarray(leaf) if isinstance(leaf, float) else leaf, choices)
        x, y, true_filter = _drawn(arch, samples, noisy, key, numbers)
    else:
        x, y, true_filter = _draw(arch, samples, noisy, key, choices)
    return Dataset(x, y, true_filter=true_filter)


def _draw(
    arch: Network, samples: int | None, noisy: bool, key: PRNGKeyArray, choices: tuple[Any, ...]
) -> tuple[Any, Any, Any]:
    """Inputs, targets, and the end-to-end filter that generated the targets or None."""
    inputs, targets, noise, outliers = choices
    key_inputs, key_targets, key_noise, key_outliers = jax.random.split(key, 4)
    x = inputs(key_inputs, arch, samples)
    clean, true_filter = targets(key_targets, arch, x)
    y = add_noise(key_noise, clean, noise) if noisy else clean
    if outliers is not None:
        y = y + outliers(key_outliers, clean)
    return x, y, true_filter


def _work_of_drawing(arch: Network, samples: int | None, *_: Any) -> float:
    return _OF_A_NUMBER * (samples or 1) * math.prod(arch.sample_shape)


_drawn = quick_to_compile(_draw, keep=False, work=_work_of_drawing)
