"""The end-to-end filter v = pi(w) of a linear network, whose output is the convolution v * x at stride s_v.

v = w_1 * up_{S_2}(w_2) * ... * up_{S_N}(w_N), where * is full convolution and up_S inserts S - 1 zeros between taps. It
is computed by shifted multiply-adds, because `lax` convolutions with both operands batched become grouped convolutions,
whose cost per seed rises with the number of seeds.
"""

import itertools
import math
from collections.abc import Callable
from functools import reduce

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from lcnn_flow.arguments import check_kind
from lcnn_flow.errors import ArchitectureError
from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.dense import Dense, Network
from lcnn_flow.network.parameters import Params, as_filters

__all__ = ["end_to_end_filter", "filters_to_end", "tap_offsets"]


def end_to_end_filter(arch: Network, params: PyTree) -> Float[Array, "..."]:
    """The end-to-end filter v = pi(w), of shape (*k_v,), with channels (c_N, c_0, *k_v).

    For `Dense` it is the product of the matrices. It is multilinear in the filters, and `apply(arch, params, x)` is one
    cross-correlation of x with v at stride `arch.end_to_end_stride`.

    Args:
        arch: a linear `Architecture` or `Dense`.
        params: its filters, one array per layer.

    Returns:
        (*k_v,), with channels (c_N, c_0, *k_v); of `Dense` the matrix (d_N, d_0).

    Raises:
        ArchitectureError: shapes of params do not fit `arch`, or the network is not linear.
    """
    order = "the order is end_to_end_filter(arch, params)"
    check_kind("end_to_end_filter", "arch", arch, (Architecture, Dense), order, ArchitectureError)
    if not arch.is_linear:
        raise ArchitectureError(f"{arch!r} is not linear: it has no end-to-end filter")
    arch.check_params(params)
    return _composed(arch.convolution(), as_filters(arch, params)).reshape(arch.end_to_end_filter_shape)


def filters_to_end(arch: Architecture, params: Params) -> Float[Array, "..."]:
    """`end_to_end_filter` without checks, for filters that may have trailing axes."""
    first, product = (0, _scale) if arch.channels is None else (2, _mix_channels)
    v = params[0]
    for w, spacing in zip(params[1:], arch.cumulative_strides[1:], strict=True):
        v = _compose(v, w, spacing, first, product)
    return v


_composed = jax.jit(filters_to_end, static_argnums=0)


def tap_offsets(arch: Architecture) -> tuple[tuple[int, ...], ...]:
    """Offsets of every layer's taps in the raveled end-to-end filter, for a single channel.

    A product of taps, one per layer, contributes at the sum of their offsets.
    """
    shape = arch.end_to_end_kernel_size
    places = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return tuple(
        tuple(
            sum(tap * stride * place for tap, stride, place in zip(index, strides, places, strict=True))
            for index in itertools.product(*map(range, sizes))
        )
        for sizes, strides in zip(arch.kernel_sizes, arch.cumulative_strides, strict=True)
    )


def _compose(
    v: Array, w: Array, spacing: tuple[int, ...], first: int, product: Callable[[Array, Array], Array]
) -> Array:
    """Full convolution of v with w, whose taps are `spacing` apart; the spatial axes start at axis `first`."""
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
    """v times one tap of a single-channel filter."""
    return v * tap.reshape((1,) * (v.ndim - tap.ndim) + tap.shape)


def _mix_channels(v: jax.Array, tap: jax.Array) -> jax.Array:
    """v of shape (c_l, c_0, *k) multiplied by one tap (c_{l+1}, c_l): shape (c_{l+1}, c_0, *k)."""
    if tap.ndim == 2:
        return jnp.tensordot(tap, v, axes=1, precision=lax.Precision.HIGHEST)
    taps = tap.reshape(tap.shape[:2] + (1,) * (v.ndim - tap.ndim + 1) + tap.shape[2:])  # trailing axes pair with v's
    return jnp.sum(taps * v[None], axis=1)
