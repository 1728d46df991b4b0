"""Gradient and Hessian of L = l o pi in the raveled filters, from those of l in the end-to-end filter v = pi(w).

grad L = J^T grad l(v) and Hess L = J^T l''(v) J + sum_i (grad l)_i Hess pi_i, J = dv/dw. pi is linear in every
layer, so that its derivatives need no differences: a column of J is pi with one layer replaced by a unit vector, and
Hess pi has blocks for pairs of different layers only. Derived; 1-D, 2-D, channels; raveled filters may carry trailing
axes (n, ...).
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lcnn_flow.architecture import Architecture
from lcnn_flow.network import Params, filters_to_end, unravel
from lcnn_flow.side_by_side import slice_of, total, unit

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
    return cut(partial(_pull_back, arch))(vector, slope), hessian


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
    return total(columns.shape[0], lambda k: slice_of(columns, k)[:, None] * slice_of(bent, k)[None], start)


def filter_columns(arch: Architecture, vector: Float[Array, "n ..."]) -> Float[Array, "c q n ..."]:
    """J, the derivative of `filter_rows`."""
    params = unravel(arch, vector)
    columns = []
    for layer in range(arch.depth):

        def replaced(unit: Array, layer: int = layer) -> Array:
            return filter_rows(arch, (*params[:layer], unit, *params[layer + 1 :]))

        columns.append(_for_every_tap(replaced, params[layer], arch.layer_shapes[layer]))
    return jnp.moveaxis(jnp.concatenate(columns), 0, 2)


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

        below = _for_every_tap(pulled, params[layer], arch.layer_shapes[layer])
        for other, block in enumerate(below):
            blocks[layer][other] = block = block.reshape(sizes[layer], sizes[other], *trailing)
            blocks[other][layer] = jnp.swapaxes(block, 0, 1)
    return jnp.concatenate([jnp.concatenate(row, axis=1) for row in blocks])


def _for_every_tap(function: Callable[[Array], Any], filters: Array, shape: tuple[int, ...]) -> Any:
    """`function` of every unit vector of a layer, along a new leading axis."""
    size = math.prod(shape)
    units = jnp.eye(size, dtype=filters.dtype).reshape(size, *shape, *(1 for _ in filters.shape[len(shape) :]))
    return jax.vmap(function)(jnp.broadcast_to(units, (size, *filters.shape)))
