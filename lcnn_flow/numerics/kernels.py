"""How programs for many flows in the last axis are cut into kernels, so that a CPU runs them at its speed.

XLA on a CPU fuses what it can into loops, computing a value again for every use; it runs a list of more than eight
kernels that do not depend on one another through a scheduler that costs more than most of them; a reduction over any
axis but the last becomes a scalar loop; and a product of small matrices goes to a library whose call costs more than
it does. A `unit` is called, not inlined: nothing is fused across its border, and its kernels run in turn. Programs
made of units of at most eight kernels, with sums over slices instead of reductions, are several times as fast
(benchmarks/). Elsewhere than on a CPU a unit is the function itself.
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

__all__ = ["matrix_vector", "outer_products", "slice_of", "total", "unit"]

_UNROLLED = 16
"""Terms of a sum that one kernel adds; past that a loop keeps programs small."""


def unit(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of arrays as a program of its own within the one that calls it."""
    if isinstance(function, eqx.Module):  # a method of a `Pytree` compares its arrays: jit takes functions by identity
        function = partial(function)  # pyright: ignore[reportArgumentType]

    @wraps(function)
    def call(*args: Any) -> Any:
        if jax.default_backend() != "cpu":
            return function(*args)
        leaves, structure = jax.tree.flatten(jax.jit(function)(*args))
        marked = set_xla_metadata(leaves[0], inlineable="false")  # marks the call that the value comes from
        return jax.tree.unflatten(structure, [marked, *leaves[1:]])

    return call


def total(count: int, term: Callable[[Any], Array], start: Array | None = None) -> Array:
    """start + term(0) + ... + term(count - 1), one kernel; indices may be traced, see `slice_of`."""
    if count == 0 and start is not None:
        return start
    first = term(0) if start is None else start + term(0)
    if count <= _UNROLLED:
        return reduce(jnp.add, map(term, range(1, count)), first)
    return lax.fori_loop(1, count, lambda k, so_far: so_far + term(k), first)


def slice_of(array: Array, k: Any, axis: int = 0) -> Array:
    """Entry k of an axis, which goes away."""
    if isinstance(k, int):
        return lax.index_in_dim(array, k, axis, keepdims=False)
    return lax.dynamic_index_in_dim(array, k, axis, keepdims=False)


@unit
def matrix_vector(matrix: Float[Array, "n m flows"], vector: Float[Array, "m flows"]) -> Float[Array, "n flows"]:
    """The product of every flow's matrix with its vector."""
    return total(vector.shape[0], lambda k: slice_of(matrix, k, 1) * slice_of(vector, k)[None])


def outer_products(
    left: Float[Array, "k n ..."], right: Float[Array, "k m ..."], start: Array | None = None
) -> Float[Array, "n m ..."]:
    """start + sum_k left_k right_k^T, one kernel."""
    return total(len(left), lambda k: slice_of(left, k)[:, None] * slice_of(right, k)[None], start)
