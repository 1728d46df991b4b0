"""The parameters of a network as one vector, and the norms of its filters.

Raveled filters may have trailing axes, (n, ...), for many networks at once; this layout runs fastest. Results have the
same trailing axes.
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
    "per_entry",
    "ravel",
    "squared_norms",
    "unravel",
]

Params = tuple[Float[Array, "..."], ...]
"""One filter per layer, first layer first, with the shapes `Architecture.layer_shapes`."""
ParamsLike = Sequence[Real[ArrayLike, "..."]]
"""What users may pass as `Params`: JAX or numpy arrays in a tuple or list."""


def as_params(params: ParamsLike) -> Params:
    """The same filters as JAX arrays."""
    return tuple(jnp.asarray(w) for w in params)


def as_filters(network: Network, layers: Sequence[Any]) -> Params:
    """The layers of a linear network, reshaped to filters of `network.convolution()`."""
    shapes = network.convolution().layer_shapes
    return tuple(jnp.asarray(w).reshape(shape) for w, shape in zip(layers, shapes, strict=True))


def by_layer(function: Callable[[str, Any], Any], params: Sequence[Any]) -> tuple[Any, ...]:
    """Applies function(name, array) to every layer, which is an array, a nested list, or a pair of matrix and bias."""

    def of_layer(i: int, layer: Any) -> Any:
        if isinstance(layer, tuple) and len(layer) == 2 and np.ndim(layer[0]) == 2:
            return tuple(function(f"[{i}][{j}]", w) for j, w in enumerate(layer))
        return function(f"[{i}]", layer)

    return tuple(of_layer(i, layer) for i, layer in enumerate(params))


def ravel(params: ParamsLike) -> Float[Array, " n"]:
    """All filters as one vector, layer by layer; gradients, Hessians and flows use these coordinates."""
    return jnp.concatenate([jnp.ravel(w) for w in params])


@cache
def parameter_space(arch: Network) -> ParameterSpace:
    """The parameter space of a network, with one layer per array."""
    count = len(arch.layer_shapes)
    tree = arch.assemble((0,) * arch.depth, (0,) * arch.depth)
    return ParameterSpace(arch.layer_shapes, jax.tree.structure(tree), (None,) * count)


def unravel(arch: Network, vector: Float[Array, "n ..."]) -> Params:
    """Inverse of `ravel`: splits a vector of `arch.num_parameters` entries into a tuple of arrays; trailing axes are
    kept."""
    return parameter_space(arch).unravel(vector)


def layer_norms(arch: Network, vector: Float[Array, "n ..."]) -> Float[Array, "N ..."]:
    """Norms (|w_1|, ..., |w_N|) of the raveled filters."""
    return parameter_space(arch).norms(vector)


def squared_norms(arch: Network, vector: Float[Array, "n ..."]) -> Float[Array, "N ..."]:
    """Squared norms (|w_1|^2, ..., |w_N|^2) of the raveled filters."""
    return parameter_space(arch).squared_norms(vector)


def per_entry(arch: Network, values: Float[Array, "N ..."]) -> Float[Array, "n ..."]:
    """One number per layer, repeated for every entry of the layer's filter."""
    return parameter_space(arch).per_entry(values)
