"""Filters as one vector, and their norms.

Raveled filters may carry trailing axes, (n, ...): many networks at once, the layout in which they run fastest. What
is computed from them has the same trailing axes.
"""

import itertools
import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Real

from lcnn_flow.network.architecture import Architecture

__all__ = ["Params", "ParamsLike", "as_params", "layer_norms", "ravel", "spread", "squared_norms", "unravel"]

Params = tuple[Float[Array, "..."], ...]
"""One filter a layer, first layer first, with the shapes `Architecture.layer_shapes`."""
ParamsLike = Sequence[Real[ArrayLike, "..."]]
"""What may be passed for them: arrays of JAX or numpy in a tuple or a list."""


def as_params(params: ParamsLike) -> Params:
    """The same filters as arrays of JAX."""
    return tuple(jnp.asarray(w) for w in params)


def ravel(params: ParamsLike) -> Float[Array, " n"]:
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
