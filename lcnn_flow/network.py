"""Network definitions as pure functions: the layer-by-layer map and the end-to-end filter.

`apply` is the definition, W^(N) ... W^(1) x. `end_to_end_filter` is v = pi(w) with V x = v * x at stride s_v:
v = w_1 * up_{S_2}(w_2) * ... * up_{S_N}(w_N), full convolutions with S_l - 1 zeros between the taps of layer l.
It is built by shifted multiply-adds: `lax` convolutions with both operands batched lower to grouped
convolutions, whose cost a seed rises with the number of seeds.

Raveled filters may carry trailing axes, (n, ...): many networks at once, the layout in which they run fastest. What
is computed from them has the same trailing axes.
"""

import itertools
import math
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from lcnn_flow.architecture import Architecture
from lcnn_flow.errors import ArchitectureError

__all__ = [
    "Params",
    "apply",
    "end_to_end_filter",
    "filters_to_end",
    "layer_norms",
    "patches",
    "ravel",
    "spread",
    "squared_norms",
    "tap_offsets",
    "unravel",
]

Params = tuple[Float[Array, "..."], ...]
"""One filter a layer, first layer first, with the shapes `Architecture.layer_shapes`."""

_CONVOLUTION_AXES = {1: ("NCH", "OIH", "NCH"), 2: ("NCHW", "OIHW", "NCHW")}


def apply(arch: Architecture, params: Params, inputs: Float[Array, "..."]) -> Float[Array, "..."]:
    """Network output, layer by layer: (..., *sample_shape) -> (..., *output_shape).

    Each layer is a valid cross-correlation (a_l(x))_i = sum_j w_l[j] x[i s_l + j], summed over input channels.

    Raises:
        ArchitectureError: shapes of params or inputs do not fit `arch`.
    """
    arch.check_params(params)
    inputs = jnp.asarray(inputs)
    sample = arch.sample_shape
    if inputs.ndim < len(sample) or inputs.shape[inputs.ndim - len(sample) :] != sample:
        raise ArchitectureError(f"inputs have shape {inputs.shape}: this architecture needs (..., {sample})")
    batch = inputs.shape[: inputs.ndim - len(sample)]
    channels = (1,) * (arch.depth + 1) if arch.channels is None else arch.channels
    x = inputs.reshape(math.prod(batch), channels[0], *arch.input_shape)
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


def end_to_end_filter(arch: Architecture, params: Params) -> Float[Array, "..."]:
    """End-to-end filter v = pi(w): shape (*k_v,), with channels (c_N, c_0, *k_v).

    Multilinear in the filters. With it `apply(arch, params, x)` is one cross-correlation of x with v at stride
    `arch.end_to_end_stride`.

    Raises:
        ArchitectureError: shapes of params do not fit `arch`.
    """
    arch.check_params(params)
    return _composed(arch, params)


def filters_to_end(arch: Architecture, params: Params) -> Float[Array, "..."]:
    """`end_to_end_filter` of filters that may carry trailing axes; unchecked."""
    first, product = (0, _scale) if arch.channels is None else (2, _mix_channels)
    v = params[0]
    for w, spacing in zip(params[1:], arch.cumulative_strides[1:], strict=True):
        v = _compose(v, w, spacing, first, product)
    return v


_composed = jax.jit(filters_to_end, static_argnums=0)


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


def tap_offsets(arch: Architecture) -> tuple[tuple[int, ...], ...]:
    """Where the taps of every layer lie in the raveled end-to-end filter, single channel: offsets add up."""
    shape = arch.end_to_end_kernel_size
    places = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return tuple(
        tuple(
            sum(tap * stride * place for tap, stride, place in zip(index, strides, places, strict=True))
            for index in itertools.product(*map(range, sizes))
        )
        for sizes, strides in zip(arch.kernel_sizes, arch.cumulative_strides, strict=True)
    )


def ravel(params: Params) -> Float[Array, " n"]:
    """All filters as one vector, layer by layer: the coordinates of gradients, Hessians and flows."""
    return jnp.concatenate([jnp.ravel(w) for w in params])


def unravel(arch: Architecture, vector: Float[Array, "n ..."]) -> Params:
    """Inverse of `ravel`: a vector of `arch.num_parameters` entries as a tuple of filters; trailing axes stay."""
    parts = jnp.split(vector, _ends(arch)[:-1])
    return tuple(w.reshape(shape + w.shape[1:]) for w, shape in zip(parts, arch.layer_shapes, strict=True))


def layer_norms(arch: Architecture, vector: Float[Array, "n ..."]) -> Float[Array, "N ..."]:
    """(|w_1|, ..., |w_N|) of the raveled filters."""
    return jnp.sqrt(squared_norms(arch, vector))


def squared_norms(arch: Architecture, vector: Float[Array, "n ..."]) -> Float[Array, "N ..."]:
    """(|w_1|^2, ..., |w_N|^2) of the raveled filters."""
    return jnp.stack([jnp.sum(w**2, axis=0) for w in jnp.split(vector, _ends(arch)[:-1])])


def spread(arch: Architecture, values: Float[Array, "N ..."]) -> Float[Array, "n ..."]:
    """One number a layer, repeated for every entry of the layer's filter."""
    layer = np.repeat(np.arange(arch.depth), [math.prod(s) for s in arch.layer_shapes])
    return values[layer]


def _ends(arch: Architecture) -> list[int]:
    return list(itertools.accumulate(math.prod(shape) for shape in arch.layer_shapes))


def _compose(v, w, spacing, first, product):
    """Full convolution of v with w, its taps `spacing` apart, over the spatial axes, of which `first` is the first."""
    dim = len(spacing)
    k_w, k_v = w.shape[first : first + dim], v.shape[first : first + dim]
    size = tuple(kv + (kw - 1) * s for kv, kw, s in zip(k_v, k_w, spacing, strict=True))
    terms = []
    for tap in itertools.product(*map(range, k_w)):
        low = tuple(t * s for t, s in zip(tap, spacing, strict=True))
        term = product(v, w[(slice(None),) * first + tap])
        pad = [(a, n - k - a) for a, n, k in zip(low, size, k_v, strict=True)]
        terms.append(jnp.pad(term, [(0, 0)] * first + pad + [(0, 0)] * (term.ndim - first - dim)))
    return reduce(jnp.add, terms)


def _scale(v: jax.Array, tap: jax.Array) -> jax.Array:
    """v times one tap."""
    return v * tap.reshape((1,) * (v.ndim - tap.ndim) + tap.shape)


def _mix_channels(v: jax.Array, tap: jax.Array) -> jax.Array:
    """(c_l, c_0, *k) composed with one tap (c_{l+1}, c_l): (c_{l+1}, c_0, *k)."""
    if tap.ndim == 2:
        return jnp.tensordot(tap, v, axes=1, precision=lax.Precision.HIGHEST)
    taps = tap.reshape(tap.shape[:2] + (1,) * (v.ndim - tap.ndim + 1) + tap.shape[2:])  # trailing axes pair with v's
    return jnp.sum(taps * v[None], axis=1)
