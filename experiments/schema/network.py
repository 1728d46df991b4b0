"""The network of a configuration: `[network] kind = "convolution"` (the default) or `"dense"`, and its activation."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeGuard

from pydantic import BeforeValidator, Field, PlainValidator, Strict

from experiments.schema.numbers import Model

__all__ = ["Activation", "Convolution", "Dense", "Network", "has_activation"]

_MOST_LAYERS = 256  # compilation of more layers takes hours, or all memory
_Size = Annotated[int, Strict(), Field(ge=1, le=10**6)]


def _number_or_list(value: Any) -> Any:
    """Validates one size, or one size per axis; a pydantic union would report every mistake once per member."""
    entries = value if isinstance(value, list | tuple) else [value]
    if not entries or any(type(n) is not int or not 1 <= n <= 10**6 for n in entries):
        raise ValueError("should be an integer between 1 and 1000000, or a list of such integers")
    return tuple(value) if isinstance(value, list | tuple) else value


_Sizes = Annotated[Any, PlainValidator(_number_or_list)]  # typed as Any, because pydantic warns when it writes a union


def _number_or_lists(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_number_or_list(entry) for entry in value)
    return _number_or_list(value)


_Strides = Annotated[Any, PlainValidator(_number_or_lists)]


class NoActivation(Model):
    """A linear network, the default; for axes over activations."""

    kind: Literal["none"]


class Relu(Model):
    """max(x, 0); most flows move along kinks of the risk until they reach the step limit."""

    kind: Literal["relu"]


class LeakyRelu(Model):
    """x for x >= 0, `slope` x below."""

    kind: Literal["leaky_relu"]
    slope: Annotated[float, Strict(), Field(ge=0, lt=1, allow_inf_nan=False)]


class Tanh(Model):
    """tanh(x)."""

    kind: Literal["tanh"]


class Softplus(Model):
    """log(1 + e^x)."""

    kind: Literal["softplus"]


class Gelu(Model):
    """x Phi(x), Phi the normal distribution function."""

    kind: Literal["gelu"]


class Power(Model):
    """x^p for a whole p, sign(x) |x|^p for others."""

    kind: Literal["power"]
    p: Annotated[float, Strict(), Field(ge=1, lt=100, allow_inf_nan=False)]


Activation = Annotated[
    NoActivation | Relu | LeakyRelu | Tanh | Softplus | Gelu | Power,
    Field(discriminator="kind"),
]


def has_activation(chosen: Activation | None) -> TypeGuard[Activation]:
    """Whether an activation is chosen; kind = "none" is one way to choose none."""
    return chosen is not None and chosen.kind != "none"


class Convolution(Model):
    """Arguments of `lcnn_flow.Architecture`."""

    kind: Literal["convolution"] = "convolution"
    input_shape: _Sizes
    kernel_sizes: tuple[_Sizes, ...] = Field(min_length=1, max_length=_MOST_LAYERS)
    strides: _Strides = 1
    channels: tuple[_Size, ...] | None = None
    activation: Activation | None = None
    padding: Literal["valid", "circular"] | None = None
    """None means "valid"."""

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.kernel_sizes)

    @property
    def is_linear(self) -> bool:
        """Whether there is no activation."""
        return not has_activation(self.activation)


class Dense(Model):
    """Arguments of `lcnn_flow.Dense`."""

    kind: Literal["dense"]
    widths: tuple[_Size, ...] = Field(min_length=2, max_length=_MOST_LAYERS + 1)
    activation: Activation | None = None
    bias: Annotated[bool, Strict()] = False

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.widths) - 1

    @property
    def is_linear(self) -> bool:
        """Whether there are neither an activation nor biases."""
        return not (self.bias or has_activation(self.activation))


def _convolution_by_default(value: Any) -> Any:
    if isinstance(value, Mapping) and "kind" not in value:
        return {"kind": "convolution", **value}
    return value


Network = Annotated[
    Convolution | Dense,
    Field(discriminator="kind"),
    BeforeValidator(_convolution_by_default),
]
