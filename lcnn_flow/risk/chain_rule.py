"""Gradient and Hessian of L = l o pi in the raveled filters, from those of l in the end-to-end filter v = pi(w).

grad L = J^T grad l(v) and Hess L = J^T l''(v) J + sum_i (grad l)_i Hess pi_i, J = dv/dw. pi is linear in every layer. A
column of J is therefore pi with a layer replaced by a single tap: the columns of a layer are shifts of the product of
the other layers, and Hess pi has blocks for pairs of different layers only. Derived; 1-D, 2-D and channels. Raveled
filters may have trailing axes (n, ...).
"""

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.filters import filters_to_end
from lcnn_flow.network.parameters import Params, unravel
from lcnn_flow.numerics.compiling import traced_once
from lcnn_flow.numerics.kernels import as_kernel, outer_products, slice_of, unrolled_sum
from lcnn_flow.risk.outer import FilterRisk

__all__ = ["filter_columns", "filter_rows", "gradient", "gradient_and_hessian"]


def filter_rows(arch: Architecture, params: Params) -> Float[Array, "c q ..."]:
    """The end-to-end filter, one row per output channel."""
    v = filters_to_end(arch, params)
    first = arch.dimension if arch.channels is None else 2 + arch.dimension
    return v.reshape(1 if arch.channels is None else arch.channels[-1], -1, *v.shape[first:])


@traced_once
def gradient(arch: Architecture, form: FilterRisk, vector: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
    """grad L, where `form` is the risk as a function of the end-to-end filter (`EmpiricalRisk.filter_risk`)."""
    kernel = _kernels_if_batched(vector)
    filter_gradient = kernel(form.gradient)(kernel(partial(_rows, arch))(vector))
    return kernel(partial(_pull_back, arch))(vector, filter_gradient)


@traced_once
def gradient_and_hessian(
    arch: Architecture, form: FilterRisk, vector: Float[Array, "n ..."]
) -> tuple[Float[Array, "n ..."], Float[Array, "n n ..."]]:
    """grad L and Hess L; the Hessian is symmetric up to rounding."""
    kernel = _kernels_if_batched(vector)
    filter_gradient, multiply = form.gradient_and_curvature(kernel(partial(_rows, arch))(vector))
    columns = kernel(partial(filter_columns, arch))(vector)
    second_order = kernel(partial(_second_order_term, arch))(filter_gradient, vector)
    hessian = kernel(_add_product)(second_order, columns, kernel(multiply)(columns))
    return kernel(_transposed)(columns, filter_gradient), hessian


def _kernels_if_batched(vector: Array) -> Callable[..., Any]:
    """`as_kernel` for many flows at once; for a single flow a function that returns its argument."""
    return as_kernel if vector.ndim > 1 else lambda function: function


def _rows(arch: Architecture, vector: Float[Array, "n ..."]) -> Float[Array, "c q ..."]:
    return filter_rows(arch, unravel(arch, vector))


def _pull_back(arch: Architecture, vector: Float[Array, "n ..."], filter_gradient: Float[Array, "c q ..."]) -> Array:
    """J^T filter_gradient, by reverse-mode differentiation."""
    return jax.vjp(partial(_rows, arch), vector)[1](filter_gradient)[0]


def _add_product(start: Float[Array, "n n ..."], columns: Float[Array, "c q n ..."], products: Array) -> Array:
    """start + columns^T products."""
    columns, products = (x.reshape(-1, *x.shape[2:]) for x in (columns, products))
    return outer_products(columns, products, start)


def _transposed(columns: Float[Array, "c q n ..."], filter_gradient: Float[Array, "c q ..."]) -> Float[Array, "n ..."]:
    """J^T filter_gradient, from the columns of J."""
    columns, weights = (x.reshape(-1, *x.shape[2:]) for x in (columns, filter_gradient))
    return unrolled_sum(weights.shape[0], lambda k: slice_of(columns, k) * slice_of(weights, k)[None])


def filter_columns(arch: Architecture, vector: Float[Array, "n ..."]) -> Float[Array, "c q n ..."]:
    """The derivative J of `filter_rows`."""
    kernel = _kernels_if_batched(vector)
    others = kernel(partial(_without_one_layer, arch))(vector)
    return kernel(partial(_shifted, arch))(others)


def _without_one_layer(arch: Architecture, vector: Float[Array, "n ..."]) -> tuple[Array, ...]:
    """For every layer, the end-to-end filters with that layer replaced by a single tap, one per pair of channels."""
    params, spatial = unravel(arch, vector), (1,) * arch.dimension
    found = []
    for layer, filters in enumerate(params):

        def replaced(tap: Array, layer: int = layer) -> Array:
            return filters_to_end(arch, (*params[:layer], tap, *params[layer + 1 :]))

        pairs = () if arch.channels is None else arch.layer_shapes[layer][:2]
        found.append(_for_every_entry(replaced, filters, (*pairs, *spatial)))
    return tuple(found)


def _shifted(arch: Architecture, others: tuple[Array, ...]) -> Float[Array, "c q n ..."]:
    """The contribution of every tap to the end-to-end filter: the product of the other layers, shifted."""
    channels, columns = (1, 1) if arch.channels is None else arch.end_to_end_filter_shape[:2], []
    for layer, filters in enumerate(others):
        filters = filters.reshape(-1, *channels, *filters.shape[1 if arch.channels is None else 3 :])
        spacing, taps = arch.cumulative_strides[layer], arch.kernel_sizes[layer]
        free = tuple(s * (k - 1) for s, k in zip(spacing, taps, strict=True))
        moved = []
        for tap in itertools.product(*map(range, taps)):
            low = tuple(s * t for s, t in zip(spacing, tap, strict=True))
            pad = [(0, 0)] * 3 + [(a, n - a) for a, n in zip(low, free, strict=True)]
            pad += [(0, 0)] * (filters.ndim - len(pad))
            column = jnp.pad(filters, pad)
            moved.append(column.reshape(*column.shape[:2], -1, *column.shape[3 + arch.dimension :]))
        moved = jnp.moveaxis(jnp.stack(moved, axis=3), 0, 2)  # c, q, pairs of channels, taps
        columns.append(moved.reshape(*moved.shape[:2], -1, *moved.shape[4:]))
    return jnp.concatenate(columns, axis=2)


def _second_order_term(arch: Architecture, filter_gradient: Array, vector: Array) -> Array:
    """sum_i filter_gradient_i Hess pi_i, computed in blocks for pairs of layers."""
    params = unravel(arch, vector)
    sizes = [math.prod(shape) for shape in arch.layer_shapes]
    trailing = vector.shape[1:]
    blocks = [[jnp.zeros((rows, columns, *trailing), vector.dtype) for columns in sizes] for rows in sizes]
    for layer in range(1, arch.depth):

        def pulled(basis_filter: Array, layer: int = layer) -> tuple[Array, ...]:
            below, above = params[:layer], params[layer + 1 :]
            return jax.vjp(lambda *w: filter_rows(arch, (*w, basis_filter, *above)), *below)[1](filter_gradient)

        below = _for_every_entry(pulled, params[layer], arch.layer_shapes[layer])
        for other, block in enumerate(below):
            blocks[layer][other] = block = block.reshape(sizes[layer], sizes[other], *trailing)
            blocks[other][layer] = jnp.swapaxes(block, 0, 1)
    return jnp.concatenate([jnp.concatenate(row, axis=1) for row in blocks])


def _for_every_entry(function: Callable[[Array], Any], like: Array, shape: tuple[int, ...]) -> Any:
    """`function` of every unit vector of this shape, with the trailing axes of `like`, stacked along a new leading
    axis."""
    size = math.prod(shape)
    trailing = like.shape[len(shape) :]
    units = jnp.eye(size, dtype=like.dtype).reshape(size, *shape, *(1 for _ in trailing))
    return jax.vmap(function)(jnp.broadcast_to(units, (size, *shape, *trailing)))
