"""Registration of classes as JAX pytrees whose public constructor may validate.

JAX rebuilds pytrees with tracers, `None` and bare objects as leaves, so unflattening must never run
`__init__`: it goes through `object.__new__`.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

__all__ = ["as_float_array", "is_concrete", "pytree"]

T = TypeVar("T")


def pytree(*, leaves: tuple[str, ...] = (), static: tuple[str, ...] = ()) -> Callable[[type[T]], type[T]]:
    """Class decorator: attributes `leaves` are pytree children, attributes `static` are hashable metadata.

    Instances compare by identity, so that they may sit in closures and caches without comparing arrays.
    """

    def register(cls: type[T]) -> type[T]:
        def flatten_with_keys(obj: Any):
            children = tuple((jax.tree_util.GetAttrKey(name), getattr(obj, name)) for name in leaves)
            return children, tuple(getattr(obj, name) for name in static)

        def flatten(obj: Any):
            return tuple(getattr(obj, name) for name in leaves), tuple(getattr(obj, name) for name in static)

        def unflatten(metadata: tuple, children: Any) -> Any:
            obj = object.__new__(cls)
            for name, value in zip(leaves, children, strict=True):
                object.__setattr__(obj, name, value)
            for name, value in zip(static, metadata, strict=True):
                object.__setattr__(obj, name, value)
            return obj

        jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
        return cls

    return register


def is_concrete(*arrays: Any) -> bool:
    """Whether all `arrays` have values to look at: false for tracers and abstract shapes."""
    return all(isinstance(x, int | float) or (hasattr(x, "__array__") and not isinstance(x, Tracer)) for x in arrays)


def as_float_array(x: Any) -> jax.Array:
    """`x` as an array of the widest floating type that is switched on, or of its own floating type."""
    if isinstance(x, np.ndarray) and x.dtype.kind in "biu":  # by numpy: JAX would compile a program for every shape
        x = x.astype(jnp.result_type(float))
    array = jnp.asarray(x)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(jnp.result_type(float))
