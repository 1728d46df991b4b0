"""Division of programs for many flows, stored in the last axis, into kernels that run fast on a CPU.

On a CPU XLA fuses as much as it can into loops and recomputes a value for each of its uses. It runs a list of more than
eight independent kernels through a scheduler that costs more than most of the kernels. A reduction over any axis but
the last becomes a scalar loop, and a product of small matrices becomes a library call that costs more than the product.
A function marked by `as_kernel` is called, not inlined: nothing is fused across its boundary, and its kernels run one
after the other. Programs made of such functions, with at most eight kernels each and with sums over slices instead of
reductions, are several times as fast (benchmarks/). On other devices `as_kernel` returns the function itself.
"""

from collections.abc import Callable
from functools import partial, reduce, wraps
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata
from jaxtyping import Array, Float

__all__ = ["as_kernel", "matrix_vector", "outer_products", "slice_of", "unrolled_sum"]

_UNROLLED = 16
"""Number of terms of a sum that one kernel adds; longer sums are loops, which keeps programs small."""


def as_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of arrays, compiled as a separate program within the program that calls it."""
    if isinstance(function, eqx.Module):  # jit must see identity, not a comparison of arrays
        function = partial(function)  # pyright: ignore[reportArgumentType]

    @wraps(function)
    def call(*args: Any) -> Any:
        if jax.default_backend() != "cpu":
            return function(*args)
        leaves, structure = jax.tree.flatten(jax.jit(function)(*args))
        marked = set_xla_metadata(leaves[0], inlineable="false")  # marks the call that the value comes from
        return jax.tree.unflatten(structure, [marked, *leaves[1:]])

    return call


def unrolled_sum(count: int, term: Callable[[int | Array], Array], start: Array | None = None) -> Array:
    """start + term(0) + ... + term(count - 1), as one kernel; indices may be traced, see `slice_of`."""
    if count == 0 and start is not None:
        return start
    first = term(0) if start is None else start + term(0)
    if count <= _UNROLLED:
        return reduce(jnp.add, map(term, range(1, count)), first)
    return lax.fori_loop(1, count, lambda k, so_far: so_far + term(k), first)


def slice_of(array: Array, k: int | Array, axis: int = 0) -> Array:
    """Entry k of an axis; the axis is removed."""
    if isinstance(k, int):
        return lax.index_in_dim(array, k, axis, keepdims=False)
    return lax.dynamic_index_in_dim(array, k, axis, keepdims=False)


@as_kernel
def matrix_vector(matrix: Float[Array, "n m flows"], vector: Float[Array, "m flows"]) -> Float[Array, "n flows"]:
    """The product of each flow's matrix with its vector."""
    return unrolled_sum(vector.shape[0], lambda k: slice_of(matrix, k, 1) * slice_of(vector, k)[None])


def outer_products(
    left: Float[Array, "k n ..."], right: Float[Array, "k m ..."], start: Array | None = None
) -> Float[Array, "n m ..."]:
    """start + sum_k left_k right_k^T, as one kernel."""
    return unrolled_sum(len(left), lambda k: slice_of(left, k)[:, None] * slice_of(right, k)[None], start)
