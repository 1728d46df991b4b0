"""Static description of a convolutional network, from which every size follows.

Layer l has a filter of length k_l and stride s_l. It maps length d_{l-1} to d_l = (d_{l-1} - k_l)/s_l + 1 (valid
cross-correlation), or to d_l = d_{l-1}/s_l for periodic signals. Without an activation the composition is one
convolution with stride s_v = prod s_l and a filter of length k_v = 1 + sum_l (k_l - 1) S_l, where S_l = prod_{m<l} s_m
(per axis).
"""

import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import jax
from jaxtyping import PyTree

from lcnn_flow.errors import ArchitectureError
from lcnn_flow.network.activations import Activation, check_activation

__all__ = ["Architecture", "refuse_flows"]

_MAX_ELEMENTS = 2**40
_KINDS = {1: "a 1-D", 2: "a 2-D"}

Padding = Literal["valid", "circular"]


@jax.tree_util.register_static
@dataclass(frozen=True, init=False)
class Architecture:
    """Input shape, filters, strides and channels of a convolutional network without bias.

    Inputs have shape (..., *input_shape), with channels (..., c_0, *input_shape). Filters have shape `layer_shapes[l]`:
    (*k_l,), with channels (c_l, c_{l-1}, *k_l).

    Args:
        input_shape: length d_0 of a 1-D input, or (height, width) of a 2-D input.
        kernel_sizes: one entry per layer, first layer first; in 2-D a pair, or one number for a square filter.
        strides: one entry per layer, in the form of `kernel_sizes`; 1 everywhere by default.
        channels: (c_0, ..., c_N) for a network with channels. `None` (the default) is the single-channel network of the
            theory, whose filters are plain vectors and whose inputs have no channel axis.
        activation: one of `lcnn_flow.activations`, applied between layers; None (the default) is a linear network.
        padding: "valid" takes windows inside the signal only; "circular" treats the signal as periodic.

    Raises:
        ArchitectureError: sizes do not fit; the message names the layer, the sizes and a size that fits.
    """

    input_shape: tuple[int, ...]
    kernel_sizes: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]
    channels: tuple[int, ...] | None
    activation: Activation | None
    padding: Padding
    bias = False

    def __init__(
        self,
        input_shape: int | Sequence[int],
        kernel_sizes: Sequence[int | Sequence[int]],
        strides: int | Sequence[int | Sequence[int]] = 1,
        channels: Sequence[int] | None = None,
        activation: Activation | None = None,
        padding: Padding = "valid",
    ) -> None:
        shape = (input_shape,) if _is_number(input_shape) else _tuple("input_shape", input_shape)
        shape = tuple(_size("input_shape", size) for size in shape)
        if len(shape) not in _KINDS:
            raise ArchitectureError(f"input_shape has {len(shape)} axes: write a length, or (height, width)")
        kernels = _per_layer("kernel_sizes", kernel_sizes, len(shape))
        if not kernels:
            raise ArchitectureError("kernel_sizes is empty: write one size per layer, for example (3, 3)")
        given: Any = strides
        steps = _per_layer("strides", (given,) * len(kernels) if _is_number(given) else given, len(shape))
        if len(steps) != len(kernels):
            raise ArchitectureError(
                f"strides has {len(steps)} entries for {len(kernels)} layers: write one stride per layer, or one number"
            )
        if channels is not None:
            channels = tuple(_size("channels", count) for count in _tuple("channels", channels))
            if len(channels) != len(kernels) + 1:
                raise ArchitectureError(
                    f"channels has {len(channels)} entries for {len(kernels)} layers: write (c_0, ..., c_N), "
                    f"{len(kernels) + 1} numbers"
                )
        if padding not in get_args(Padding):
            raise ArchitectureError(f"padding = {padding!r}: write 'valid' or 'circular'")
        object.__setattr__(self, "activation", check_activation(activation))
        object.__setattr__(self, "padding", padding)
        object.__setattr__(self, "input_shape", shape)
        object.__setattr__(self, "kernel_sizes", kernels)
        object.__setattr__(self, "strides", steps)
        object.__setattr__(self, "channels", channels)
        self._check_layers()

    def __repr__(self) -> str:
        def plain(entries: tuple[int, ...]) -> int | tuple[int, ...]:
            return entries[0] if self.dimension == 1 else entries

        words = [f"input_shape={plain(self.input_shape)}", f"kernel_sizes={tuple(map(plain, self.kernel_sizes))}"]
        if any(step != 1 for steps in self.strides for step in steps):
            words.append(f"strides={tuple(map(plain, self.strides))}")
        if self.channels is not None:
            words.append(f"channels={self.channels}")
        words += [f"activation={self.activation!r}"] * (self.activation is not None)
        words += [f"padding={self.padding!r}"] * (self.padding != "valid")
        return f"Architecture({', '.join(words)})"

    def _check_layers(self) -> None:
        size = self.input_shape
        for layer, (kernel, stride) in enumerate(zip(self.kernel_sizes, self.strides, strict=True), start=1):
            for axis, (d, k, s) in enumerate(zip(size, kernel, stride, strict=True)):
                where = f"layer {layer}" + (f", axis {axis}" if len(size) > 1 else "")
                if k > d:
                    raise ArchitectureError(
                        f"{where}: filter of size {k} on an input of size {d}: use a filter of at most {d}, "
                        f"or input_shape >= {self._fitting_input(axis, at_least=True)} along this axis"
                    )
                if self.padding == "circular" and d % s:
                    raise ArchitectureError(
                        f"{where}: stride {s} does not divide the period {d}: input_shape must be a multiple of "
                        f"{self.end_to_end_stride[axis]} along this axis"
                    )
                if self.padding == "valid" and (d - k) % s:
                    raise ArchitectureError(
                        f"{where}: input {d}, filter {k}, stride {s}: ({d} - {k})/{s} is not an integer, so samples "
                        f"would be left over; input_shape = {self._fitting_input(axis)} along this axis would fit"
                    )
            size = self._next_shape(size, kernel, stride)
        if math.prod(self.input_shape) > _MAX_ELEMENTS or self.num_parameters > _MAX_ELEMENTS:
            raise ArchitectureError(f"over {_MAX_ELEMENTS:.0e} inputs or parameters: use a smaller network")

    def _next_shape(self, size: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...]) -> tuple[int, ...]:
        """Spatial shape of a layer's output, from that of its input."""
        if self.padding == "circular":
            return tuple(d // s for d, s in zip(size, stride, strict=True))
        return tuple((d - k) // s + 1 for d, k, s in zip(size, kernel, stride, strict=True))

    def _fitting_input(self, axis: int, at_least: bool = False) -> int:
        """The size closest to input_shape[axis] that fits every layer: k_v + (d_N - 1) s_v."""
        k_v, s_v = self.end_to_end_kernel_size[axis], self.end_to_end_stride[axis]
        steps = max(0, round((self.input_shape[axis] - k_v) / s_v))
        return k_v if at_least else k_v + steps * s_v

    @property
    def depth(self) -> int:
        """Number of layers N."""
        return len(self.kernel_sizes)

    @property
    def is_linear(self) -> bool:
        """Whether the network is linear, and so equals one convolution with the end-to-end filter."""
        return self.activation is None

    @property
    def tested_with_older_emitter(self) -> bool:
        """Whether programs of this network have been tested, see `numerics.compiling`."""
        return self.is_linear

    @property
    def has_single_channel(self) -> bool:
        """Whether filters have no channel axes."""
        return self.channels is None

    @property
    def weight_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of each layer's filter."""
        return self.layer_shapes

    def convolution(self) -> "Architecture":
        """The network as a convolution, which is this architecture itself."""
        return self

    def assemble(self, weights: Sequence[Any], biases: Sequence[Any]) -> tuple[Any, ...]:
        """Parameters from one filter per layer; there are no biases."""
        del biases
        return tuple(weights)

    @property
    def dimension(self) -> int:
        """1 for signals, 2 for images."""
        return len(self.input_shape)

    @cached_property
    def spatial_shapes(self) -> tuple[tuple[int, ...], ...]:
        """(d_0, ..., d_N): the spatial shape of the input and of every layer's output."""
        shapes = [self.input_shape]
        for kernel, stride in zip(self.kernel_sizes, self.strides, strict=True):
            shapes.append(self._next_shape(shapes[-1], kernel, stride))
        return tuple(shapes)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one input: (*d_0,), with channels (c_0, *d_0)."""
        return self.input_shape if self.channels is None else (self.channels[0], *self.input_shape)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one output: (*d_N,), with channels (c_N, *d_N)."""
        spatial = self.spatial_shapes[-1]
        return spatial if self.channels is None else (self.channels[-1], *spatial)

    @cached_property
    def layer_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of each layer's filter: (*k_l,), with channels (c_l, c_{l-1}, *k_l)."""
        if self.channels is None:
            return self.kernel_sizes
        pairs = zip(self.channels[1:], self.channels[:-1], self.kernel_sizes, strict=True)
        return tuple((c_out, c_in, *kernel) for c_out, c_in, kernel in pairs)

    @property
    def num_parameters(self) -> int:
        """Total number of entries of all filters."""
        return sum(math.prod(shape) for shape in self.layer_shapes)

    @cached_property
    def cumulative_strides(self) -> tuple[tuple[int, ...], ...]:
        """(S_1, ..., S_N) per axis, S_l = prod_{m<l} s_m: the spacing of layer l's taps in the end-to-end filter."""
        spacing = [(1,) * self.dimension]
        for stride in self.strides[:-1]:
            spacing.append(tuple(a * b for a, b in zip(spacing[-1], stride, strict=True)))
        return tuple(spacing)

    @cached_property
    def end_to_end_kernel_size(self) -> tuple[int, ...]:
        """k_v per axis: 1 + sum_l (k_l - 1) S_l."""
        pairs = list(zip(self.kernel_sizes, self.cumulative_strides, strict=True))
        return tuple(1 + sum((k[i] - 1) * s[i] for k, s in pairs) for i in range(self.dimension))

    @cached_property
    def end_to_end_stride(self) -> tuple[int, ...]:
        """s_v per axis: the product of all strides."""
        return tuple(math.prod(stride[i] for stride in self.strides) for i in range(self.dimension))

    @property
    def end_to_end_filter_shape(self) -> tuple[int, ...]:
        """Shape of the end-to-end filter: (*k_v,), with channels (c_N, c_0, *k_v)."""
        k_v = self.end_to_end_kernel_size
        return k_v if self.channels is None else (self.channels[-1], self.channels[0], *k_v)

    @property
    def outputs_per_sample(self) -> int:
        """Number of entries of one output."""
        return math.prod(self.output_shape)

    def check_params(self, params: PyTree) -> None:
        """Raises ArchitectureError unless `params` is a tuple with the shapes `layer_shapes`."""
        refuse_flows(params)
        if not isinstance(params, tuple):
            raise ArchitectureError(
                f"params is a {type(params).__name__}: pass a tuple of {self.depth} arrays, one per layer"
            )
        shapes = tuple(tuple(getattr(w, "shape", ())) for w in params)
        if len(shapes) != self.depth:
            raise ArchitectureError(
                f"params have shapes {shapes} but this architecture needs {self.layer_shapes}, one per layer"
            )
        if shapes != self.layer_shapes:
            raise ArchitectureError(
                f"params have shapes {shapes} but this architecture needs {self.layer_shapes}; for a batch of them use "
                "jax.vmap or gradient_flow_ensemble"
            )


def refuse_flows(params: PyTree) -> None:
    """Raises ArchitectureError if `params` is the result of a flow."""
    if hasattr(params, "limit") and hasattr(params, "verdict"):
        raise ArchitectureError("params is the result of a flow: pass its .limit, or .final")


def _tuple(name: str, values: Any) -> tuple[Any, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ArchitectureError(f"{name} = {values!r}: write a tuple of integers")
    return tuple(values)


def _is_number(value: Any) -> bool:
    """Whether `value` is one integer (Python or numpy), and not one per axis or layer."""
    return hasattr(value, "__index__") and not isinstance(value, Iterable)


def _size(name: str, size: Any) -> int:
    """`size` as a Python integer of at least 1."""
    if not hasattr(size, "__index__") or isinstance(size, bool) or operator.index(size) < 1:
        raise ArchitectureError(f"{name}: {size!r} is not an integer of at least 1")
    return operator.index(size)


def _per_layer(name: str, entries: Any, dimension: int) -> tuple[tuple[int, ...], ...]:
    """Normalises `entries` to one tuple per layer with one number per axis."""
    layers = []
    for number, entry in enumerate(_tuple(name, entries), start=1):
        several = isinstance(entry, Iterable) and not isinstance(entry, str)
        sizes = tuple(entry) if several else (entry,) * dimension
        if len(sizes) != dimension:
            raise ArchitectureError(
                f"{name}, layer {number}: {entry!r} has {len(sizes)} numbers for {_KINDS[dimension]} input: "
                f"write {dimension}, or one"
            )
        layers.append(tuple(_size(f"{name}, layer {number}", size) for size in sizes))
    return tuple(layers)
