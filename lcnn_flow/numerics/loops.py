"""A while loop whose trace stays short under `jax.vmap`.

JAX determines which parts of the carry are batched by tracing the body until the answer is stable: once with the parts
that are batched at the start, and again with those that became batched. In nested loops the numbers of these traces
multiply. A carry whose parts are all batched at the start needs a single one.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

__all__ = ["while_loop"]

T = TypeVar("T")


def while_loop(
    condition: Callable[[T], Bool[Array, ""]], body: Callable[[T], T], begin: T, like: Float[Array, " n"]
) -> T:
    """`lax.while_loop` from `begin`, all of which is batched by vmap if `like` is.

    The values are unchanged; XLA removes the operations.
    """
    never = (jnp.sum(like) > 0) & False
    carry = jax.tree.map(lambda x: lax.select_n(jnp.broadcast_to(never, jnp.shape(x)), x, x), begin)
    return lax.while_loop(condition, body, carry)
