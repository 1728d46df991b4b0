"""Selection of a verdict and its reason by the first of several cases that holds, inside compiled programs."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Int

__all__ = ["first_case"]


def first_case(cases: Sequence[tuple[Array, int | Array, int | Array]]) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """Verdict and reason of the first case (holds, verdict, reason) that holds; (-1, 0) if none does."""
    verdict, reason = jnp.asarray(-1, jnp.int32), jnp.asarray(0, jnp.int32)
    for holds, code, why in reversed(cases):
        verdict = jnp.where(holds, jnp.asarray(code, jnp.int32), verdict)
        reason = jnp.where(holds, jnp.asarray(why, jnp.int32), reason)
    return verdict, reason
