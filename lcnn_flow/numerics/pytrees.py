"""The base of classes whose data are leaves of a pytree."""

import equinox as eqx

__all__ = ["Pytree"]


class Pytree(eqx.Module):
    """A frozen class that JAX takes apart: annotated attributes are leaves, those of `eqx.field(static=True)` are not.

    Instances compare and hash by identity, so that they may sit in closures and caches without comparing arrays, and
    `jax.jit(risk)` works. `__init__` converts and validates. JAX rebuilds instances with tracers, `None` and bare
    objects as leaves, and does not call it.
    """

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)
