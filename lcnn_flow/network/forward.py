"""The network as a pure function, layer by layer, W^(N) ... W^(1) x, and the windows that its outputs see."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Real

from lcnn_flow.arguments import check_kind
from lcnn_flow.errors import ArchitectureError
from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.parameters import ParamsLike, as_params

__all__ = ["apply", "patches"]

_CONVOLUTION_AXES = {1: ("NCH", "OIH", "NCH"), 2: ("NCHW", "OIHW", "NCHW")}


def apply(arch: Architecture, params: ParamsLike, inputs: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
    """Network output, layer by layer: (..., *sample_shape) -> (..., *output_shape).

    Each layer is a valid cross-correlation (a_l(x))_i = sum_j w_l[j] x[i s_l + j], summed over input channels.

    Raises:
        ArchitectureError: shapes of params or inputs do not fit `arch`.
    """
    check_kind("apply", "arch", arch, Architecture, "the order is apply(arch, params, inputs)", ArchitectureError)
    arch.check_params(params)
    params, x = as_params(params), jnp.asarray(inputs)
    sample = arch.sample_shape
    if x.ndim < len(sample) or x.shape[x.ndim - len(sample) :] != sample:
        raise ArchitectureError(f"inputs have shape {x.shape}: this architecture needs (..., {sample})")
    batch = x.shape[: x.ndim - len(sample)]
    channels = (1,) * (arch.depth + 1) if arch.channels is None else arch.channels
    x = x.reshape(math.prod(batch), channels[0], *arch.input_shape)
    for layer, w in enumerate(params):
        kernel = w.reshape(channels[layer + 1], channels[layer], *arch.kernel_sizes[layer])
        x = lax.conv_general_dilated(
            x,
            kernel,
            arch.strides[layer],
            "VALID",
            dimension_numbers=_CONVOLUTION_AXES[arch.dimension],
            precision=lax.Precision.HIGHEST,
        )
    return x.reshape(*batch, *arch.output_shape)


@partial(jax.jit, static_argnums=0)
def patches(arch: Architecture, inputs: Float[Array, "m ..."]) -> Float[Array, "m outputs q"]:
    """Windows of the inputs that the end-to-end filter sees: (m, *sample_shape) -> (m, prod d_N, q).

    q = c_0 prod k_v is the number of entries of one output channel's end-to-end filter, in its memory order, so
    that for a single channel `apply(...)` equals `patches(...) @ v.ravel()`.
    """
    k_v, s_v, d_n = arch.end_to_end_kernel_size, arch.end_to_end_stride, arch.spatial_shapes[-1]
    x = inputs if arch.channels is not None else inputs[:, None]
    for axis, (k, s, d) in enumerate(zip(k_v, s_v, d_n, strict=True)):
        index = s * jnp.arange(d)[:, None] + jnp.arange(k)[None, :]
        x = jnp.take(x, index, axis=2 + 2 * axis)  # axes: sample, channel, (output, tap) for every axis done
    dim = arch.dimension
    outputs, taps = [2 + 2 * i for i in range(dim)], [3 + 2 * i for i in range(dim)]
    x = jnp.transpose(x, (0, *outputs, 1, *taps))
    return x.reshape(inputs.shape[0], math.prod(d_n), -1)
