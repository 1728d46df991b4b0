"""Makes networks of `lcnn_flow` from configurations, and knows the names and the order of their parameters."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.schema import Configuration
from experiments.schema.network import Dense, Network, has_activation
from experiments.schema.numbers import hashable

__all__ = ["architecture", "architecture_of", "layer_names", "layers_of", "may_conserve", "params_of"]

if TYPE_CHECKING:
    import lcnn_flow as lf

    AnyNetwork = lf.Architecture | lf.Dense
else:
    AnyNetwork = Any  # the library is imported inside of the functions, because `status` works without JAX


def architecture(configuration: Configuration) -> Any:
    """The network of a configuration.

    Raises:
        lcnn_flow.ArchitectureError: its sizes do not fit together.
    """
    return architecture_of(hashable(configuration.network))


@functools.lru_cache(maxsize=1024)
def architecture_of(network: Network) -> Any:
    """The network that a section `[network]` describes.

    Raises:
        lcnn_flow.ArchitectureError: its sizes do not fit together.
    """
    import lcnn_flow as lf  # imported here, because the command `status` works without JAX

    activation = _activation(network.activation)
    if isinstance(network, Dense):
        return lf.Dense(network.widths, activation, network.bias)
    return lf.Architecture(
        network.input_shape,
        network.kernel_sizes,
        network.strides,
        network.channels,
        activation,
        network.padding or "valid",
    )


def _activation(chosen: Any) -> Any:
    """The activation of the library with the configured kind and numbers; None for a linear network."""
    if not has_activation(chosen):
        return None
    import lcnn_flow as lf

    known: Any = lf.activations.ACTIVATIONS[chosen.kind]
    numbers = chosen.model_dump(exclude={"kind"}).values()
    return known(*numbers) if numbers else known


def may_conserve(arch: AnyNetwork) -> bool:
    """Whether flows conserve the balance of layers: networks without activation, or with a homogeneous one."""
    return arch.activation is None or arch.activation.degree is not None


def layer_names(arch: AnyNetwork) -> tuple[str, ...]:
    """Names of the arrays of parameters in results, in their order: w1, w2, ..., with biases w1, b1, w2, ..."""
    letters = ("w", "b") if arch.bias else ("w",)
    return tuple(f"{letter}{layer}" for layer in range(1, arch.depth + 1) for letter in letters)


def layers_of(params: Any) -> tuple[np.ndarray, ...]:
    """The arrays of parameters, in the order of `layer_names`."""
    import jax

    return tuple(np.asarray(w) for w in jax.tree.leaves(params))


def params_of(arch: AnyNetwork, arrays: Sequence[Any]) -> Any:
    """Parameters in the structure of the network, from arrays in the order of `layer_names`."""
    import lcnn_flow as lf

    return arch.assemble(arrays[0::2], arrays[1::2]) if isinstance(arch, lf.Dense) and arch.bias else tuple(arrays)
