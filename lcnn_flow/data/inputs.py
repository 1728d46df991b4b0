"""Sources of inputs: each is a function `source(key, arch, samples) -> (m, *arch.sample_shape)`.

Inputs of the random sources have mean square 1 (White: std^2), so that risks of different sources are comparable.
"""

import math
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, Real

from lcnn_flow.data.checks import check_finite, count, number, real_array
from lcnn_flow.errors import DataError
from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.dense import Network
from lcnn_flow.numerics.pytrees import Pytree

__all__ = ["Anisotropic", "Autoregressive", "InputSource", "LowRank", "MissingPatches", "White", "Windows"]


@runtime_checkable
class InputSource(Protocol):
    """A pure function of the key; `samples` is static, and `None` asks for all available inputs."""

    def __call__(self, key: PRNGKeyArray, arch: Network, samples: int | None) -> Float[Array, "m ..."]:
        """Inputs of shape (m, *arch.sample_shape)."""
        ...


class White(Pytree):
    """Independent N(0, std^2) entries.

    Raises:
        DataError: std is negative or not finite.
    """

    std: float | Array

    def __init__(self, std: Real[ArrayLike, "..."] = 1.0) -> None:
        self.std = number("White", "std", std, 0, math.inf)

    def __call__(self, key: PRNGKeyArray, arch: Network, samples: int | None) -> Float[Array, "m ..."]:
        return self.std * _white(key, arch, _needed("White", samples))


class Autoregressive(Pytree):
    """Stationary AR(1) signals of unit variance: entries i and j have covariance rho^|i - j|.

    In 2-D the covariance is the product of the covariances along both axes. Channels are independent.

    Raises:
        DataError: rho is outside (-1, 1).
    """

    rho: float | Array

    def __init__(self, rho: Real[ArrayLike, "..."]) -> None:
        self.rho = number("Autoregressive", "rho", rho, -1, 1, open_ends=True)

    def __call__(self, key: PRNGKeyArray, arch: Network, samples: int | None) -> Float[Array, "m ..."]:
        x = _white(key, arch, _needed("Autoregressive", samples))
        rho = jnp.asarray(self.rho, x.dtype)
        innovation = jnp.sqrt((1 - rho) * (1 + rho))

        def step(previous: Array, noise: Array) -> tuple[Array, Array]:
            current = rho * previous + innovation * noise
            return current, current

        for axis in range(x.ndim - arch.dimension, x.ndim):
            first, rest = jnp.split(jnp.moveaxis(x, axis, 0), [1])
            later = jax.lax.scan(step, first[0], rest)[1]
            x = jnp.moveaxis(jnp.concatenate([first, later]), 0, axis)
        return x


class Anisotropic(Pytree):
    """Inputs whose second moments are known exactly: X X^T / m = R diag(lambda) R^T with a random rotation R.

    The eigenvalues lambda are geometric, with mean 1 and lambda_max / lambda_min = `condition`: 1 gives X X^T = m I. At
    least as many samples are needed as an input has entries.

    Raises:
        DataError: condition is below 1 or not finite; or, when called, there are fewer samples than that.
    """

    condition: float | Array

    def __init__(self, condition: Real[ArrayLike, "..."]) -> None:
        self.condition = number("Anisotropic", "condition", condition, 1, math.inf)

    def __call__(self, key: PRNGKeyArray, arch: Network, samples: int | None) -> Float[Array, "m ..."]:
        m, size = _needed("Anisotropic", samples), math.prod(arch.sample_shape)
        if m < size:
            raise DataError(f"Anisotropic: samples = {m} for inputs of {size} entries: use at least {size}")
        to_rotation, to_rows = jax.random.split(key)
        rotation = jnp.linalg.qr(jax.random.normal(to_rotation, (size, size)))[0]
        rows = jnp.linalg.qr(jax.random.normal(to_rows, (m, size)))[0]
        powers = jnp.asarray(self.condition, rows.dtype) ** jnp.linspace(0, 1, size, dtype=rows.dtype)
        lengths = jnp.sqrt(m * powers / jnp.mean(powers))
        return ((rows * lengths[None, :]) @ rotation.T).reshape(m, *arch.sample_shape)


class LowRank(Pytree):
    """White inputs of unit mean square in a random subspace of dimension `rank` of the input space.

    The matrix of all inputs has rank min(rank, samples).

    Raises:
        DataError: rank is not an integer of at least 1; or, when called, exceeds the dimension of the inputs.
    """

    rank: int = eqx.field(static=True)

    def __init__(self, rank: int) -> None:
        self.rank = count("LowRank", "rank", rank)

    def __call__(self, key: PRNGKeyArray, arch: Network, samples: int | None) -> Float[Array, "m ..."]:
        m, dimension = _needed("LowRank", samples), math.prod(arch.sample_shape)
        if self.rank > dimension:
            raise DataError(f"LowRank: rank = {self.rank} but inputs have {dimension} entries: use at most {dimension}")
        key_basis, key_weights = jax.random.split(key)
        basis = jnp.linalg.qr(jax.random.normal(key_basis, (dimension, self.rank)))[0]
        weights = jax.random.normal(key_weights, (m, self.rank)) * math.sqrt(dimension / self.rank)
        x = jnp.matmul(weights, basis.T, precision=jax.lax.Precision.HIGHEST)
        return x.reshape(m, *arch.sample_shape)


class MissingPatches(Pytree):
    """White inputs with x[i s_v + tap] = 0 for the listed taps and every output position i.

    The patch matrix has zero columns there, so that the data do not determine these entries of the end-to-end filter.
    Where patches overlap, the zeros of two taps may also make the column of a tap between them zero.

    Args:
        taps: indices into the flattened end-to-end filter of one output channel, 0 <= tap < c_0 prod k_v.

    Raises:
        DataError: a tap is not an integer of at least 0; or, when called, out of range.
    """

    taps: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, taps: int | Sequence[int]) -> None:
        entries = taps if isinstance(taps, Sequence | np.ndarray) else (taps,)
        self.taps = tuple(count("MissingPatches", "tap", tap, least=0) for tap in entries)
        if not self.taps:
            raise DataError("MissingPatches: taps is empty: list at least one tap, or use White()")

    def __call__(self, key: PRNGKeyArray, arch: Network, samples: int | None) -> Float[Array, "m ..."]:
        m = _needed("MissingPatches", samples)
        if not isinstance(arch, Architecture):
            raise DataError(f"MissingPatches: {arch!r} has no filter whose taps could be missing: write White()")
        channels = 1 if arch.channels is None else arch.channels[0]
        taps_shape = (channels, *arch.end_to_end_kernel_size)
        keep = np.ones((channels, *arch.input_shape))
        for tap in self.taps:
            if tap >= math.prod(taps_shape):
                raise DataError(
                    f"MissingPatches: tap {tap} but the end-to-end filter has {math.prod(taps_shape)} "
                    f"entries: use 0 to {math.prod(taps_shape) - 1}"
                )
            channel, *offsets = np.unravel_index(tap, taps_shape)
            seen = [
                slice(int(offset), int(offset) + (d - 1) * s + 1, s)
                for offset, d, s in zip(offsets, arch.spatial_shapes[-1], arch.end_to_end_stride, strict=True)
            ]
            keep[(channel, *seen)] = 0
        x = _white(key, arch, m)
        return x * jnp.asarray(keep.reshape(1, *arch.sample_shape), x.dtype)


class Windows(Pytree):
    """Windows of shape `arch.input_shape`, cut from a real signal or image at every `step`-th position.

    `samples=None` takes all windows in order; a smaller number is a random choice without replacement, in order.

    Args:
        signal: (n,) or (height, width); with c_0 > 1 channels (c_0, n) or (c_0, height, width).
        step: distance between neighbouring windows, or one number per axis.

    Raises:
        DataError: the signal is not finite or not real, or step is below 1; or, when called, the signal has the wrong
            rank or is shorter than a window, or there are fewer windows than samples.
    """

    signal: Array
    step: int | tuple[int, ...] = eqx.field(static=True)

    def __init__(self, signal: Any, step: int | Sequence[int] = 1) -> None:
        self.signal = real_array("signal", signal)
        check_finite("signal", self.signal)
        if isinstance(step, Sequence):
            self.step = tuple(count("Windows", "step", entry) for entry in step)
        else:
            self.step = count("Windows", "step", step)

    def __call__(self, key: PRNGKeyArray, arch: Network, samples: int | None) -> Float[Array, "m ..."]:
        signal, steps = self._with_channel_axis(arch), self._steps(arch)
        sizes = tuple(int(n) for n in signal.shape[1:])
        if any(n < d for n, d in zip(sizes, arch.input_shape, strict=True)):
            raise DataError(f"Windows: a signal of shape {sizes} has no window of shape {arch.input_shape}")
        starts = [np.arange(0, n - d + 1, s) for n, d, s in zip(sizes, arch.input_shape, steps, strict=True)]
        corners = np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1)
        positions = jnp.asarray(corners.reshape(-1, arch.dimension))
        total = positions.shape[0]
        if samples is not None:
            m = count("Windows", "samples", samples)
            if m > total:
                raise DataError(
                    f"Windows: {m} samples wanted but the signal has {total} windows at step {self.step}: "
                    f"use at most {total}, a smaller step, or samples=None for all"
                )
            if m < total:
                positions = positions[jnp.sort(jax.random.permutation(key, total)[:m])]

        def window(start: Array) -> Array:
            corner = (jnp.zeros((), start.dtype), *start)
            return jax.lax.dynamic_slice(signal, corner, (signal.shape[0], *arch.input_shape))

        return jax.vmap(window)(positions).reshape(-1, *arch.sample_shape)

    def _with_channel_axis(self, arch: Network) -> Float[Array, "c ..."]:
        channels = 1 if arch.channels is None else arch.channels[0]
        shape = self.signal.shape
        if channels == 1 and len(shape) == arch.dimension:
            return self.signal[None]
        if len(shape) == arch.dimension + 1 and shape[0] == channels:
            return self.signal
        axes = ("length",) if arch.dimension == 1 else ("height", "width")
        wanted = ", ".join(axes if channels == 1 else (str(channels), *axes))
        raise DataError(f"Windows: the signal has shape {shape}: this architecture needs ({wanted})")

    def _steps(self, arch: Network) -> tuple[int, ...]:
        steps = (self.step,) * arch.dimension if isinstance(self.step, int) else self.step
        if len(steps) != arch.dimension:
            raise DataError(
                f"Windows: step = {steps} has {len(steps)} numbers for {arch.dimension} axes: write one "
                "number, or one per axis"
            )
        return steps


def _needed(source: str, samples: int | None) -> int:
    if samples is None:
        raise DataError(f"samples = None: {source}() is not limited; write for example samples=64")
    return count(source, "samples", samples)


def _white(key: PRNGKeyArray, arch: Network, samples: int) -> Float[Array, "m ..."]:
    return jax.random.normal(key, (samples, *arch.sample_shape))
