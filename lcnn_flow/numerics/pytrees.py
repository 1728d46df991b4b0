"""Base class of pytrees whose data are leaves, and a hashable wrapper for arbitrary trees."""

from dataclasses import fields
from typing import Any, TypeVar

import equinox as eqx
import jax
from jaxtyping import PyTree

__all__ = ["HashableTree", "Pytree"]

P = TypeVar("P", bound="Pytree")


class Pytree(eqx.Module):
    """A frozen class that is a pytree: annotated attributes are leaves, except those with `eqx.field(static=True)`.

    Instances compare and hash by identity, so that closures and caches may hold them without comparing arrays, and
    `jax.jit(risk)` works. `__init__` converts and validates its arguments. JAX does not call it when it rebuilds an
    instance with tracers, `None` or placeholder objects as leaves.
    """

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def with_fields(self: P, **changes: Any) -> P:
        """A copy with some attributes replaced, including static ones; `__init__` is not called."""
        new = object.__new__(type(self))
        for field in fields(self):  # pyright: ignore[reportArgumentType]
            object.__setattr__(new, field.name, changes.get(field.name, getattr(self, field.name)))
        return new


class HashableTree(eqx.Module):
    """Any tree: its arrays are leaves; everything else is static and hashable, and compares by value."""

    arrays: tuple[Any, ...]
    others: tuple[Any, ...] = eqx.field(static=True)
    structure: Any = eqx.field(static=True)

    @classmethod
    def of(cls, tree: PyTree) -> "HashableTree":
        """Wraps a tree; the property `tree` returns it."""
        leaves, structure = jax.tree.flatten(tree)
        arrays, others = eqx.partition(leaves, eqx.is_array)
        return cls(tuple(arrays), tuple(others), structure)

    @property
    def tree(self) -> PyTree:
        """The tree that was passed to `of`."""
        return jax.tree.unflatten(self.structure, eqx.combine(self.arrays, self.others))
