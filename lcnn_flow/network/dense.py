"""Static description of a fully connected network, x -> W_N sigma(... sigma(W_1 x + b_1) ...) + b_N.

Without activation and biases it is a deep linear network, which equals the convolutional network with filters and
inputs of length 1 and with the widths as channels. All results for convolutional networks hold for it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import jax
from jaxtyping import PyTree

from lcnn_flow.errors import ArchitectureError
from lcnn_flow.network.activations import Activation, check_activation
from lcnn_flow.network.architecture import Architecture, refuse_flows

__all__ = ["Dense", "Network"]

_MOST_PARAMETERS = 2**40


@jax.tree_util.register_static
@dataclass(frozen=True, init=False)
class Dense:
    """Widths, activation and biases of a fully connected network.

    Inputs have shape (..., d_0), outputs (..., d_N). Parameters are a tuple with one matrix W_l of shape (d_l, d_{l-1})
    per layer; with biases, a tuple with one pair (W_l, b_l) per layer.

    Args:
        widths: (d_0, ..., d_N): the length of the input and of every layer's output.
        activation: one of `lcnn_flow.activations`, applied between layers; None is a linear network.
        bias: whether every layer adds a bias.

    Raises:
        ArchitectureError: invalid widths, activation or bias.
    """

    widths: tuple[int, ...]
    activation: Activation | None
    bias: bool

    def __init__(self, widths: Sequence[int], activation: Activation | None = None, bias: bool = False) -> None:
        given: Any = widths
        if isinstance(given, str) or not hasattr(given, "__len__") or len(given) < 2:
            raise ArchitectureError(f"widths = {widths!r}: write (d_0, ..., d_N), at least two numbers")
        for width in widths:
            if isinstance(width, bool) or not hasattr(width, "__index__") or int(width) < 1:
                raise ArchitectureError(f"widths: {width!r} is not an integer of at least 1")
        if not isinstance(bias, bool):
            raise ArchitectureError(f"bias = {bias!r}: write True or False")
        object.__setattr__(self, "widths", tuple(int(width) for width in widths))
        object.__setattr__(self, "activation", check_activation(activation))
        object.__setattr__(self, "bias", bias)
        if self.num_parameters > _MOST_PARAMETERS:
            raise ArchitectureError(f"over {_MOST_PARAMETERS:.0e} parameters: use a smaller network")

    def __repr__(self) -> str:
        words = [f"widths={self.widths}"]
        words += [f"activation={self.activation!r}"] * (self.activation is not None) + ["bias=True"] * self.bias
        return f"Dense({', '.join(words)})"

    @property
    def depth(self) -> int:
        """Number of layers N."""
        return len(self.widths) - 1

    @property
    def dimension(self) -> int:
        """1: inputs are vectors."""
        return 1

    @property
    def channels(self) -> None:
        """None: inputs have no channel axis."""
        return None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, (d_0,)."""
        return (self.widths[0],)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one input, (d_0,)."""
        return (self.widths[0],)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one output, (d_N,)."""
        return (self.widths[-1],)

    @cached_property
    def weight_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape (d_l, d_{l-1}) of each layer's matrix."""
        return tuple(zip(self.widths[1:], self.widths[:-1], strict=True))

    @cached_property
    def layer_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of all parameter arrays, in the order W_1, b_1, W_2, ...; matrices only if there are no biases."""
        if not self.bias:
            return self.weight_shapes
        return tuple(shape for matrix in self.weight_shapes for shape in (matrix, matrix[:1]))

    @property
    def num_parameters(self) -> int:
        """Total number of entries of all matrices and biases."""
        return sum(math.prod(shape) for shape in self.layer_shapes)

    @property
    def end_to_end_filter_shape(self) -> tuple[int, ...]:
        """(d_N, d_0), the shape of the product of all matrices."""
        return (self.widths[-1], self.widths[0])

    @property
    def has_single_channel(self) -> bool:
        """False: matrices have one axis of outputs and one of inputs."""
        return False

    @property
    def is_linear(self) -> bool:
        """Whether the network equals the product of its matrices."""
        return self.activation is None and not self.bias

    @property
    def tested_with_older_emitter(self) -> bool:
        """Whether programs of this network have been tested, see `numerics.compiling`."""
        return self.is_linear

    def convolution(self) -> Architecture:
        """This linear network as a convolutional one: filters and inputs of length 1, widths as channels."""
        return _as_convolution(self.widths)

    def assemble(self, weights: Sequence[Any], biases: Sequence[Any]) -> tuple[Any, ...]:
        """Parameters from one matrix and one bias per layer; the biases are ignored if the network has none."""
        return tuple(zip(weights, biases, strict=True)) if self.bias else tuple(weights)

    def check_params(self, params: PyTree) -> None:
        """Raises ArchitectureError unless `params` have the structure and shapes of this network."""
        refuse_flows(params)
        needed = self.assemble(self.weight_shapes, [shape[:1] for shape in self.weight_shapes])
        given = jax.tree.map(lambda w: tuple(getattr(w, "shape", ())), params)
        if not isinstance(params, tuple) or given != needed:
            raise ArchitectureError(f"params have shapes {given}, but {self!r} needs the tuple {needed}")


@cache
def _as_convolution(widths: tuple[int, ...]) -> Architecture:
    return Architecture(1, (1,) * (len(widths) - 1), channels=widths)


Network = Architecture | Dense
"""The networks that an empirical risk accepts."""
