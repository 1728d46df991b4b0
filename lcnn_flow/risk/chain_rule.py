"""Gradient and Hessian of L = l o pi in the raveled filters, from those of l in the end-to-end filter v = pi(w).

grad L = J^T grad l(v) and Hess L = J^T l''(v) J + sum_i (grad l)_i Hess pi_i, J = dv/dw. pi is linear in every
layer, so that its derivatives need no differences: a column of J is pi with a single tap in place of a layer, so that
the columns of a layer are shifts of what the others make, and Hess pi has blocks for pairs of different layers only.
Derived; 1-D, 2-D, channels; raveled filters may carry trailing axes (n, ...).
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
from lcnn_flow.numerics.kernels import outer_products, slice_of, total, unit

__all__ = ["filter_columns", "filter_rows", "gradient", "gradient_and_hessian"]


def filter_rows(arch: Architecture, params: Params) -> Float[Array, "c q ..."]:
    """End-to-end filter, one row an output channel."""
    v = filters_to_end(arch, params)
    first = arch.dimension if arch.channels is None else 2 + arch.dimension
    return v.reshape(1 if arch.channels is None else arch.channels[-1], -1, *v.shape[first:])


def gradient(arch: Architecture, form: Any, vector: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
    """grad L for the risk `form` of the end-to-end filter (`filter_risk`)."""
    cut = _cut(vector)
    slope = cut(form.gradient)(cut(partial(_rows, arch))(vector))
    return cut(partial(_pull_back, arch))(vector, slope)


def gradient_and_hessian(
    arch: Architecture, form: Any, vector: Float[Array, "n ..."]
) -> tuple[Float[Array, "n ..."], Float[Array, "n n ..."]]:
    """grad L and Hess L, symmetric up to rounding."""
    cut = _cut(vector)
    slope, bend = form.gradient_and_curvature(cut(partial(_rows, arch))(vector))
    columns = cut(partial(filter_columns, arch))(vector)
    bending = cut(partial(_bending, arch))(slope, vector)
    hessian = cut(_add_product)(bending, columns, cut(bend)(columns))
    return cut(_transposed)(columns, slope), hessian


def _cut(vector: Array) -> Callable[..., Any]:
    """Many flows side by side are worked on in units."""
    return unit if vector.ndim > 1 else lambda function: function


def _rows(arch: Architecture, vector: Float[Array, "n ..."]) -> Float[Array, "c q ..."]:
    return filter_rows(arch, unravel(arch, vector))


def _pull_back(arch: Architecture, vector: Float[Array, "n ..."], slope: Float[Array, "c q ..."]) -> Array:
    """J^T slope."""
    return jax.vjp(partial(_rows, arch), vector)[1](slope)[0]


def _add_product(start: Float[Array, "n n ..."], columns: Float[Array, "c q n ..."], bent: Array) -> Array:
    """start + columns^T bent."""
    columns, bent = (x.reshape(-1, *x.shape[2:]) for x in (columns, bent))
    return outer_products(columns, bent, start)


def _transposed(columns: Float[Array, "c q n ..."], slope: Float[Array, "c q ..."]) -> Float[Array, "n ..."]:
    """J^T slope, where J is at hand."""
    columns, slope = columns.reshape(-1, *columns.shape[2:]), slope.reshape(-1, *slope.shape[2:])
    return total(slope.shape[0], lambda k: slice_of(columns, k) * slice_of(slope, k)[None])


def filter_columns(arch: Architecture, vector: Float[Array, "n ..."]) -> Float[Array, "c q n ..."]:
    """J, the derivative of `filter_rows`."""
    cut = _cut(vector)
    others = cut(partial(_without_one_layer, arch))(vector)
    return cut(partial(_shifted, arch))(others)


def _without_one_layer(arch: Architecture, vector: Float[Array, "n ..."]) -> tuple[Array, ...]:
    """For every layer the end-to-end filters with a single tap in its place, one for every pair of channels."""
    params, spatial = unravel(arch, vector), (1,) * arch.dimension
    found = []
    for layer, filters in enumerate(params):

        def replaced(tap: Array, layer: int = layer) -> Array:
            return filters_to_end(arch, (*params[:layer], tap, *params[layer + 1 :]))

        pairs = () if arch.channels is None else arch.layer_shapes[layer][:2]
        found.append(_for_every_entry(replaced, filters, (*pairs, *spatial)))
    return tuple(found)


def _shifted(arch: Architecture, others: tuple[Array, ...]) -> Float[Array, "c q n ..."]:
    """What every tap adds to the end-to-end filter: the other layers, moved to where the tap sits."""
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


def _bending(arch: Architecture, slope: Array, vector: Array) -> Array:
    """sum_i slope_i Hess pi_i, block by block of two layers."""
    params = unravel(arch, vector)
    sizes = [math.prod(shape) for shape in arch.layer_shapes]
    trailing = vector.shape[1:]
    blocks = [[jnp.zeros((rows, columns, *trailing), vector.dtype) for columns in sizes] for rows in sizes]
    for layer in range(1, arch.depth):

        def pulled(unit: Array, layer: int = layer) -> tuple[Array, ...]:
            below, above = params[:layer], params[layer + 1 :]
            return jax.vjp(lambda *w: filter_rows(arch, (*w, unit, *above)), *below)[1](slope)

        below = _for_every_entry(pulled, params[layer], arch.layer_shapes[layer])
        for other, block in enumerate(below):
            blocks[layer][other] = block = block.reshape(sizes[layer], sizes[other], *trailing)
            blocks[other][layer] = jnp.swapaxes(block, 0, 1)
    return jnp.concatenate([jnp.concatenate(row, axis=1) for row in blocks])


def _for_every_entry(function: Callable[[Array], Any], like: Array, shape: tuple[int, ...]) -> Any:
    """`function` of every unit vector of this shape, with the trailing axes of `like`, along a new leading axis."""
    size = math.prod(shape)
    trailing = like.shape[len(shape) :]
    units = jnp.eye(size, dtype=like.dtype).reshape(size, *shape, *(1 for _ in trailing))
    return jax.vmap(function)(jnp.broadcast_to(units, (size, *shape, *trailing)))
