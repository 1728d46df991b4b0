"""Filters as one vector, and their norms.

Raveled filters may carry trailing axes, (n, ...): many networks at once, the layout in which they run fastest. What
is computed from them has the same trailing axes.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Real

from lcnn_flow.network.dense import Network
from lcnn_flow.numerics.parameter_space import ParameterSpace

__all__ = [
    "Params",
    "ParamsLike",
    "as_filters",
    "as_params",
    "by_layer",
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


def as_filters(network: Network, layers: Sequence[Any]) -> Params:
    """The layers of a linear network as filters of `network.convolution()`."""
    shapes = network.convolution().layer_shapes
    return tuple(jnp.asarray(w).reshape(shape) for w, shape in zip(layers, shapes, strict=True))


def by_layer(function: Callable[[str, Any], Any], params: Sequence[Any]) -> tuple[Any, ...]:
    """function(name, array) for every array of the layers: one each, nested lists, or a pair of matrix and bias."""

    def of_layer(i: int, layer: Any) -> Any:
        if isinstance(layer, tuple) and len(layer) == 2 and np.ndim(layer[0]) == 2:
            return tuple(function(f"[{i}][{j}]", w) for j, w in enumerate(layer))
        return function(f"[{i}]", layer)

    return tuple(of_layer(i, layer) for i, layer in enumerate(params))


def ravel(params: ParamsLike) -> Float[Array, " n"]:
    """All filters as one vector, layer by layer: the coordinates of gradients, Hessians and flows."""
    return jnp.concatenate([jnp.ravel(w) for w in params])


@cache
def parameter_space(arch: Network) -> ParameterSpace:
    """Parameters of a network, one layer per array."""
    count = len(arch.layer_shapes)
    tree = arch.assemble((0,) * arch.depth, (0,) * arch.depth)
    return ParameterSpace(arch.layer_shapes, jax.tree.structure(tree), (None,) * count)


def unravel(arch: Network, vector: Float[Array, "n ..."]) -> Params:
    """Inverse of `ravel`: a vector of `arch.num_parameters` entries as a tuple of arrays; trailing axes stay."""
    return parameter_space(arch).unravel(vector)


def layer_norms(arch: Network, vector: Float[Array, "n ..."]) -> Float[Array, "N ..."]:
    """(|w_1|, ..., |w_N|) of the raveled filters."""
    return parameter_space(arch).norms(vector)


def squared_norms(arch: Network, vector: Float[Array, "n ..."]) -> Float[Array, "N ..."]:
    """(|w_1|^2, ..., |w_N|^2) of the raveled filters."""
    return parameter_space(arch).squared_norms(vector)


def spread(arch: Network, values: Float[Array, "N ..."]) -> Float[Array, "n ..."]:
    """One number a layer, repeated for every entry of the layer's filter."""
    return parameter_space(arch).spread(values)
