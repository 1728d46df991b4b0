"""Sizes of an architecture against formulas and brute force; messages with the layer and a size that fits."""

import math
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lcnn_flow.errors import ArchitectureError, LcnnFlowError
from lcnn_flow.network.architecture import Architecture

layers = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 3)), min_size=1, max_size=4)
quick = settings(max_examples=60, deadline=None, derandomize=True)


def fitting_length(pairs, outputs):
    """The input length that gives `outputs` outputs, walking the layers backwards."""
    length = outputs
    for k, s in reversed(pairs):
        length = (length - 1) * s + k
    return length


@quick
@given(pairs=layers, outputs=st.integers(1, 4))
def test_sizes_follow_from_the_layers_one_by_one(pairs, outputs):
    kernels, strides = [k for k, _ in pairs], [s for _, s in pairs]
    arch = Architecture(fitting_length(pairs, outputs), kernels, strides)
    spacing, k_v, length, lengths = 1, 1, arch.input_shape[0], [arch.input_shape[0]]
    spacings = []
    for k, s in pairs:
        spacings.append((spacing,))
        k_v += (k - 1) * spacing
        spacing *= s
        length = len(range(0, length - k + 1, s))
        lengths.append(length)
    assert arch.cumulative_strides == tuple(spacings)
    assert arch.end_to_end_kernel_size == arch.end_to_end_filter_shape == (k_v,)
    assert arch.end_to_end_stride == (spacing,)
    assert arch.spatial_shapes == tuple((n,) for n in lengths)
    assert arch.output_shape == (outputs,)
    assert arch.layer_shapes == tuple((k,) for k in kernels)
    assert arch.num_parameters == sum(kernels)
    assert (arch.depth, arch.dimension, arch.outputs_per_sample) == (len(pairs), 1, outputs)
    assert arch.input_shape[0] == k_v + (outputs - 1) * spacing


@quick
@given(rows=layers, columns=layers, channels=st.lists(st.integers(1, 3), min_size=5, max_size=5))
def test_images_are_the_product_of_their_axes_and_channels_only_add_axes(rows, columns, channels):
    depth = min(len(rows), len(columns))
    rows, columns, channels = rows[:depth], columns[:depth], tuple(channels[: depth + 1])
    axes = [
        Architecture(fitting_length(pairs, 2), [k for k, _ in pairs], [s for _, s in pairs])
        for pairs in (rows, columns)
    ]
    kernels = [(a[0], b[0]) for a, b in zip(rows, columns, strict=True)]
    strides = [(a[1], b[1]) for a, b in zip(rows, columns, strict=True)]
    shape = tuple(axis.input_shape[0] for axis in axes)
    image = Architecture(shape, kernels, strides)
    for name in ("output_shape", "end_to_end_kernel_size", "end_to_end_stride", "end_to_end_filter_shape"):
        assert getattr(image, name) == tuple(getattr(axis, name)[0] for axis in axes)
    assert (image.depth, image.dimension, image.sample_shape) == (depth, 2, shape)
    coloured = Architecture(shape, kernels, strides, channels=channels)
    assert coloured.sample_shape == (channels[0], *shape)
    assert coloured.output_shape == (channels[-1], *image.output_shape)
    assert coloured.end_to_end_filter_shape == (channels[-1], channels[0], *image.end_to_end_filter_shape)
    assert coloured.spatial_shapes == image.spatial_shapes
    assert coloured.num_parameters == sum(
        channels[i] * channels[i + 1] * math.prod(kernel) for i, kernel in enumerate(kernels)
    )


def test_numbers_and_tuples_describe_the_same_architecture():
    assert Architecture(16, (3, 3)) == Architecture((16,), [[3], [3]], strides=[1, [1]])
    assert Architecture((9, 9), (3, 2), 1) == Architecture([9, 9], ((3, 3), (2, 2)), ((1, 1), 1))
    assert Architecture(16, (3,)) != Architecture(16, (3,), channels=(1, 1))
    assert hash(Architecture(16, (3, 3))) == hash(Architecture(16, [3, 3]))


@quick
@given(pairs=layers, length=st.integers(1, 60))
def test_a_size_that_does_not_fit_is_refused_with_the_layer_and_a_size_that_fits(pairs, length):
    kernels, strides = [k for k, _ in pairs], [s for _, s in pairs]
    size, bad_layer = length, None
    for layer, (k, s) in enumerate(pairs, start=1):
        if k > size or (size - k) % s:
            bad_layer = layer
            break
        size = (size - k) // s + 1
    if bad_layer is None:
        assert Architecture(length, kernels, strides).spatial_shapes[-1] == (size,)
        return
    with pytest.raises(ArchitectureError) as caught:
        Architecture(length, kernels, strides)
    message = str(caught.value)
    assert message.startswith(f"layer {bad_layer}:")
    assert str(size) in message
    suggestion = int(re.search(r"input_shape (?:=|>=) (\d+) along", message)[1])
    Architecture(suggestion, kernels, strides)


def test_the_axis_of_an_image_is_named_and_its_suggestion_fits():
    with pytest.raises(ArchitectureError, match="layer 2, axis 1: input 5, filter 2, stride 2") as caught:
        Architecture((6, 7), (3, 2), (1, (1, 2)))
    suggestion = int(re.search(r"input_shape = (\d+)", str(caught.value))[1])
    Architecture((6, suggestion), (3, 2), (1, (1, 2)))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (((4, 4, 4), (2,)), "input_shape has 3 axes"),
        (((), (2,)), "input_shape has 0 axes"),
        ((0, (2,)), "input_shape: 0 is not an integer of at least 1"),
        ((4.0, (2,)), r"input_shape = 4\.0"),
        ((True, (1,)), "input_shape: True"),
        (("8", (2,)), "input_shape = '8'"),
        ((8, ()), "kernel_sizes is empty"),
        ((8, 3), "kernel_sizes = 3: write a tuple"),
        ((8, ("3", 2)), "kernel_sizes, layer 1: '3' is not an integer"),
        ((8, (3, 0)), "kernel_sizes, layer 2: 0 is not an integer of at least 1"),
        ((8, (3, 2.0)), r"kernel_sizes, layer 2: 2\.0 is not an integer of at least 1"),
        (((8, 8), ((3, 3, 3),)), "layer 1: .* has 3 numbers for a 2-D input: write 2, or one"),
        ((8, ((3, 3),)), "layer 1: .* has 2 numbers for a 1-D input"),
        ((8, (3, 3), (1, 1, 1)), "strides has 3 entries for 2 layers"),
        ((8, (3, 3), (1, 0)), "strides, layer 2: 0"),
        ((8, (3, 3), 0), "strides, layer 1: 0"),
        ((8, (3, 3), 1, (1, 2)), r"channels has 2 entries for 2 layers: .* 3 numbers"),
        ((8, (3, 3), 1, (1, 0, 1)), "channels: 0 is not an integer"),
        ((8, (3, 3), 1, 4), "channels = 4"),
        ((2**41, (2**40,)), "use a smaller network"),
    ],
)
def test_every_misuse_is_named(arguments, text):
    with pytest.raises(ArchitectureError, match=text) as caught:
        Architecture(*arguments)
    assert isinstance(caught.value, LcnnFlowError)
    assert "\n" not in str(caught.value)


def test_params_of_other_shapes_are_refused():
    arch = Architecture(8, (3, 2))
    arch.check_params((jnp.ones(3), np.ones(2)))
    with pytest.raises(ArchitectureError, match="params is a list: pass a tuple of 2 arrays"):
        arch.check_params([jnp.ones(3), jnp.ones(2)])
    for params in (
        (jnp.ones(3),),
        (jnp.ones(2), jnp.ones(3)),
        (jnp.ones((5, 3)), jnp.ones((5, 2))),
        (1.0, 2.0),
    ):
        with pytest.raises(ArchitectureError, match="needs"):
            arch.check_params(params)


def test_architectures_are_static_so_that_equal_ones_share_one_trace():
    @jax.jit
    @chex.assert_max_traces(n=1)
    def as_argument(arch, x):
        return x * arch.depth

    @chex.assert_max_traces(n=1)
    def as_static(x, arch):
        return x * arch.depth

    as_static = jax.jit(as_static, static_argnames="arch")
    for _ in range(2):
        arch = Architecture(8, (3, 2))
        assert as_argument(arch, 1.5) == 3.0
        assert as_static(1.5, arch=arch) == 3.0
    assert jax.tree.leaves(Architecture(8, (3, 2))) == []


def test_architectures_are_frozen():
    with pytest.raises(AttributeError):
        Architecture(8, (3,)).input_shape = (9,)  # pyright: ignore[reportAttributeAccessIssue]
