"""From the network of a configuration to one of `lcnn_flow`, and what is known of it before anything is computed."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.schema import Configuration
from experiments.schema.network import Dense, Network

__all__ = ["architecture", "layer_names", "layers_of", "may_conserve", "params_of"]

if TYPE_CHECKING:
    import lcnn_flow as lf

    AnyNetwork = lf.Architecture | lf.Dense
else:
    AnyNetwork = Any  # names and keys of cells are wanted before JAX is there


def architecture(configuration: Configuration) -> Any:
    """The network of a configuration; raises lcnn_flow.ArchitectureError."""
    key: Any = configuration.network  # a frozen model can be hashed; type checkers do not see that
    return _architecture(key)


@functools.lru_cache(maxsize=1024)
def _architecture(network: Network) -> AnyNetwork:
    import lcnn_flow as lf

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
    """An activation of the library; None for a linear network."""
    if chosen is None or chosen.kind == "none":
        return None
    import lcnn_flow as lf

    known: Any = lf.activations.ACTIVATIONS[chosen.kind]
    numbers = chosen.model_dump(exclude={"kind"}).values()
    return known(*numbers) if numbers else known


def may_conserve(arch: AnyNetwork) -> bool:
    """Whether its flows conserve what balances layers: without an activation, or with a homogeneous one."""
    return arch.activation is None or arch.activation.degree is not None


def layer_names(arch: AnyNetwork) -> tuple[str, ...]:
    """What arrays of parameters are called in results, in their order: w1, w2, ..., with biases w1, b1, w2, ..."""
    letters = ("w", "b") if arch.bias else ("w",)
    return tuple(f"{letter}{layer}" for layer in range(1, arch.depth + 1) for letter in letters)


def layers_of(params: Any) -> tuple[np.ndarray, ...]:
    """The arrays of parameters, in the order of `layer_names`."""
    import jax

    return tuple(np.asarray(w) for w in jax.tree.leaves(params))


def params_of(arch: AnyNetwork, arrays: Sequence[Any]) -> Any:
    """Parameters in the structure that the network needs, from arrays in the order of `layer_names`."""
    import lcnn_flow as lf

    return arch.assemble(arrays[0::2], arrays[1::2]) if isinstance(arch, lf.Dense) and arch.bias else tuple(arrays)
