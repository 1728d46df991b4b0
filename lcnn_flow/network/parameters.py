"""Filters as one vector, and their norms.

Raveled filters may carry trailing axes, (n, ...): many networks at once, the layout in which they run fastest. What
is computed from them has the same trailing axes.
"""

from collections.abc import Sequence
from functools import cache

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Real

from lcnn_flow.network.architecture import Architecture
from lcnn_flow.numerics.parameter_space import ParameterSpace

__all__ = [
    "Params",
    "ParamsLike",
    "as_params",
    "layer_norms",
    "parameter_space",
    "ravel",
    "spread",
    "squared_norms",
    "unravel",
]

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


@cache
def parameter_space(arch: Architecture) -> ParameterSpace:
    """Filters of a network as a tuple, one layer each."""
    return ParameterSpace.of_shapes(arch.layer_shapes)


def unravel(arch: Architecture, vector: Float[Array, "n ..."]) -> Params:
    """Inverse of `ravel`: a vector of `arch.num_parameters` entries as a tuple of filters; trailing axes stay."""
    return parameter_space(arch).unravel(vector)


def layer_norms(arch: Architecture, vector: Float[Array, "n ..."]) -> Float[Array, "N ..."]:
    """(|w_1|, ..., |w_N|) of the raveled filters."""
    return parameter_space(arch).norms(vector)


def squared_norms(arch: Architecture, vector: Float[Array, "n ..."]) -> Float[Array, "N ..."]:
    """(|w_1|^2, ..., |w_N|^2) of the raveled filters."""
    return parameter_space(arch).squared_norms(vector)


def spread(arch: Architecture, values: Float[Array, "N ..."]) -> Float[Array, "n ..."]:
    """One number a layer, repeated for every entry of the layer's filter."""
    return parameter_space(arch).spread(values)
