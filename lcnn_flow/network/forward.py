"""The forward pass of a network as a pure function, and the input windows that the outputs of a linear network depend
on."""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree, Real

from lcnn_flow.arguments import check_kind
from lcnn_flow.errors import ArchitectureError
from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.dense import Dense, Network

__all__ = ["apply", "forward", "patches"]

_CONVOLUTION_AXES = {1: ("NCH", "OIH", "NCH"), 2: ("NCHW", "OIHW", "NCHW")}


def apply(arch: Network, params: PyTree, inputs: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
    """Output of the network, layer by layer: (..., *sample_shape) -> (..., *output_shape).

    Each convolution is a cross-correlation (a_l(x))_i = sum_j w_l[j] x[i s_l + j], summed over input channels, on valid
    windows or on a periodic signal. The activation is applied between layers.

    Args:
        arch: an `Architecture` or `Dense`.
        params: its parameters, in the form that the class describes.
        inputs: may have any leading axes.

    Returns:
        (..., *arch.output_shape), with the leading axes of the inputs.

    Raises:
        ArchitectureError: shapes of params or inputs do not fit `arch`.
    """
    order = "the order is apply(arch, params, inputs)"
    check_kind("apply", "arch", arch, (Architecture, Dense), order, ArchitectureError)
    arch.check_params(params)
    x = jnp.asarray(inputs)
    sample = arch.sample_shape
    if x.ndim < len(sample) or x.shape[x.ndim - len(sample) :] != sample:
        raise ArchitectureError(f"inputs have shape {x.shape}: this architecture needs (..., {sample})")
    batch = x.shape[: x.ndim - len(sample)]
    layers = [jnp.asarray(w) for w in jax.tree.leaves(params)]
    step = _dense_layer(arch, layers) if isinstance(arch, Dense) else _convolutions(arch, layers)
    outputs = _through(arch, x.reshape(math.prod(batch), *sample), step)[0]
    return outputs.reshape(*batch, *arch.output_shape)


def forward(arch: Network, layers: Sequence[Any], inputs: Float[Array, "m ..."]) -> tuple[Array, list[Array]]:
    """Outputs for m inputs, and the inputs of the activation of every hidden layer; unchecked.

    It computes the same as `apply`, but is fast for many networks at once: convolutions are matrix products, because
    `lax` convolutions with both operands batched become grouped ones, whose Hessians were ten times slower.
    """
    layers = [jnp.asarray(w) for w in layers]
    return _through(arch, inputs, _dense_layer(arch, layers) if isinstance(arch, Dense) else _windows(arch, layers))


def _through(
    arch: Network, inputs: Float[Array, "m ..."], step: Callable[[int, Array], Array]
) -> tuple[Array, list[Array]]:
    x, hidden = inputs, []
    for layer in range(arch.depth):
        if layer > 0 and arch.activation is not None:
            hidden.append(x)
            x = arch.activation(x)
        x = step(layer, x)
    return x, hidden


def _dense_layer(net: Dense, layers: Sequence[Array]) -> Callable[[int, Array], Array]:
    def step(layer: int, x: Array) -> Array:
        y = jnp.matmul(x, layers[2 * layer if net.bias else layer].T, precision=lax.Precision.HIGHEST)
        return y + layers[2 * layer + 1][None] if net.bias else y

    return step


def _windows(arch: Architecture, layers: Sequence[Array]) -> Callable[[int, Array], Array]:
    """Convolutions as one matrix product each; between layers, arrays have shape (channels, samples, *spatial)."""
    channels = (1,) * (arch.depth + 1) if arch.channels is None else arch.channels

    def step(layer: int, x: Array) -> Array:
        if layer == 0:
            x = jnp.moveaxis(x.reshape(x.shape[0], channels[0], *arch.input_shape), 1, 0)
        x = _wrapped(arch, layer, x)
        sizes, strides, out = arch.kernel_sizes[layer], arch.strides[layer], arch.spatial_shapes[layer + 1]
        taps = []
        for offsets in itertools.product(*map(range, sizes)):
            ends = [o + (d - 1) * s + 1 for o, d, s in zip(offsets, out, strides, strict=True)]
            taps.append(lax.slice(x, (0, 0, *offsets), (*x.shape[:2], *ends), (1, 1, *strides)))
        table = jnp.stack(taps, axis=1).reshape(channels[layer] * len(taps), -1)
        rows = layers[layer].reshape(channels[layer + 1], -1)
        y = jnp.matmul(rows, table, precision=lax.Precision.HIGHEST).reshape(channels[layer + 1], x.shape[1], *out)
        last = layer == arch.depth - 1
        return jnp.moveaxis(y, 0, 1).reshape(x.shape[1], *arch.output_shape) if last else y

    return step


def _convolutions(arch: Architecture, layers: Sequence[Array]) -> Callable[[int, Array], Array]:
    channels = (1,) * (arch.depth + 1) if arch.channels is None else arch.channels

    def step(layer: int, x: Array) -> Array:
        y = lax.conv_general_dilated(
            _wrapped(arch, layer, x.reshape(x.shape[0], channels[layer], *arch.spatial_shapes[layer])),
            layers[layer].reshape(channels[layer + 1], channels[layer], *arch.kernel_sizes[layer]),
            arch.strides[layer],
            "VALID",
            dimension_numbers=_CONVOLUTION_AXES[arch.dimension],
            precision=lax.Precision.HIGHEST,
        )
        return y.reshape(x.shape[0], *arch.output_shape) if layer == arch.depth - 1 else y

    return step


def _wrapped(arch: Architecture, layer: int, x: Array) -> Array:
    """Signals with two leading axes; periodic ones are continued as far as the windows reach."""
    if arch.padding == "valid":
        return x
    sizes = zip(arch.kernel_sizes[layer], arch.strides[layer], strict=True)
    return jnp.pad(x, [(0, 0), (0, 0), *((0, max(k - s, 0)) for k, s in sizes)], mode="wrap")


@partial(jax.jit, static_argnums=0)
def patches(arch: Architecture, inputs: Float[Array, "m ..."]) -> Float[Array, "m outputs q"]:
    """The input windows that each output depends on: (m, *sample_shape) -> (m, prod d_N, q).

    q = c_0 prod k_v is the number of entries of one output channel's end-to-end filter, in its memory order, so that
    for a single channel `apply(...)` equals `patches(...) @ v.ravel()`.
    """
    k_v, s_v, d_n = arch.end_to_end_kernel_size, arch.end_to_end_stride, arch.spatial_shapes[-1]
    x = inputs if arch.channels is not None else inputs[:, None]
    for axis, (k, s, d) in enumerate(zip(k_v, s_v, d_n, strict=True)):
        index = s * jnp.arange(d)[:, None] + jnp.arange(k)[None, :]
        if arch.padding == "circular":
            index %= arch.input_shape[axis]
        x = jnp.take(x, index, axis=2 + 2 * axis)  # axes: sample, channel, then (output, tap) per finished axis
    dim = arch.dimension
    outputs, taps = [2 + 2 * i for i in range(dim)], [3 + 2 * i for i in range(dim)]
    x = jnp.transpose(x, (0, *outputs, 1, *taps))
    return x.reshape(inputs.shape[0], math.prod(d_n), -1)
