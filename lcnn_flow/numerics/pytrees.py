"""Registration of classes as JAX pytrees whose public constructor may validate.

JAX rebuilds pytrees with tracers, `None` and bare objects as leaves, so unflattening must never run
`__init__`: it goes through `object.__new__`.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax

__all__ = ["pytree"]

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
