"""LAPACK one matrix at a time, also where jax.vmap would make one call for a batch of matrices.

jaxlib's calls for a batch share it out among the threads of a pool and wait for them, in a thread of that pool. With
as many CPU devices as threads all of them may wait and none is left to work, for ever. A loop over the matrices waits
for nobody. Elsewhere than on CPUs a batch stays one call. Functions of one matrix (n, n); derivatives are those of
`jax.numpy.linalg`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

__all__ = ["eigh", "eigvalsh", "one_by_one", "singular_values", "thin_svd"]


def one_by_one(function: Callable[[jax.Array], Any]) -> Callable[[jax.Array], Any]:
    """`function` of one matrix, in a loop under jax.vmap on CPUs."""
    in_turn = jax.custom_batching.sequential_vmap(function)

    @jax.custom_jvp
    def call(matrix: jax.Array) -> Any:
        return lax.platform_dependent(matrix, cpu=in_turn, default=function)

    @call.defjvp
    def derivative(primals: tuple, tangents: tuple) -> tuple:  # rules for vmap have no reverse mode
        return jax.jvp(function, primals, tangents)

    return call


eigh = one_by_one(lambda matrix: tuple(jnp.linalg.eigh(matrix)))
eigvalsh = one_by_one(lambda matrix: jnp.linalg.eigvalsh(matrix))
singular_values = one_by_one(lambda matrix: jnp.linalg.svd(matrix, compute_uv=False))
thin_svd = one_by_one(lambda matrix: tuple(jnp.linalg.svd(matrix, full_matrices=False)))
