"""The base of classes whose data are leaves of a pytree, and trees that can be arguments of compiled programs."""

from dataclasses import fields
from typing import Any, TypeVar

import equinox as eqx
import jax

__all__ = ["HashableTree", "Pytree"]

P = TypeVar("P", bound="Pytree")


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

    def with_fields(self: P, **changes: Any) -> P:
        """A copy with some attributes exchanged, static ones too; `__init__` is not called, as where JAX rebuilds."""
        new = object.__new__(type(self))
        for field in fields(self):  # pyright: ignore[reportArgumentType]
            object.__setattr__(new, field.name, changes.get(field.name, getattr(self, field.name)))
        return new


class HashableTree(eqx.Module):
    """Any tree: its arrays are leaves, all else is static, hashable, and equal where its entries are."""

    arrays: tuple[Any, ...]
    others: tuple[Any, ...] = eqx.field(static=True)
    structure: Any = eqx.field(static=True)

    @classmethod
    def of(cls, tree: Any) -> "HashableTree":
        """What `tree` gives back."""
        leaves, structure = jax.tree.flatten(tree)
        arrays, others = eqx.partition(leaves, eqx.is_array)
        return cls(tuple(arrays), tuple(others), structure)

    @property
    def tree(self) -> Any:
        """As it was given."""
        return jax.tree.unflatten(self.structure, eqx.combine(self.arrays, self.others))
