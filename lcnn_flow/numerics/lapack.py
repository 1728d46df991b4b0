"""LAPACK calls for one matrix at a time, also under jax.vmap.

jaxlib distributes a batch of matrices over the threads of a pool and waits for them inside a thread of the same pool.
With as many CPU devices as threads, all threads may wait at the same time, which is a deadlock. A loop over the
matrices cannot deadlock. On other devices a batch stays one call. All functions take one matrix (n, n); derivatives are
those of `jax.numpy.linalg`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

__all__ = ["eigh", "eigvalsh", "one_by_one", "singular_values", "thin_svd"]


def one_by_one(function: Callable[[jax.Array], Any]) -> Callable[[jax.Array], Any]:
    """`function` of one matrix; under jax.vmap on a CPU it runs in a loop."""
    in_turn = jax.custom_batching.sequential_vmap(function)

    @jax.custom_jvp
    def call(matrix: jax.Array) -> Any:
        return lax.platform_dependent(matrix, cpu=in_turn, default=function)

    @call.defjvp
    def derivative(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, ...]:
        # custom rules for vmap do not support reverse mode
        return jax.jvp(function, primals, tangents)

    return call


eigh = one_by_one(lambda matrix: tuple(jnp.linalg.eigh(matrix)))
eigvalsh = one_by_one(lambda matrix: jnp.linalg.eigvalsh(matrix))
singular_values = one_by_one(lambda matrix: jnp.linalg.svd(matrix, compute_uv=False))
thin_svd = one_by_one(lambda matrix: tuple(jnp.linalg.svd(matrix, full_matrices=False)))
