"""What a family of functions is made of: the function in JAX, the same in jets, and how its coefficients are drawn."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import lcnn_flow as lf

__all__ = ["STARTS", "Draw", "Start", "Structure", "risk_function", "risks"]

STARTS = 2
"""Starts of each function."""


class Start(NamedTuple):
    """Where a flow begins, and what is known of its limit by construction."""

    vector: np.ndarray
    known: str = ""
    """"degenerate": the limit is degenerate. "none": there is none. "saddle": it is a simple saddle. "limit": it is
    `place`. "side": its scalar product with `place` is positive."""
    place: np.ndarray | None = None


class Draw(NamedTuple):
    """Coefficients of one function and starts of its flows, in units where both are of order 1."""

    data: dict[str, np.ndarray]
    starts: tuple[Start, ...]
    kind: str


class Structure(NamedTuple):
    """One program that serves many functions."""

    name: str
    shapes: dict[str, tuple[int, ...]]
    """Of the parameters, in the order of their names."""
    function: Callable[[dict, dict], Any]
    """In JAX, of parameters and data."""
    jet: Callable[[Any, dict], Any]
    """In jets, of the parameters in a row and data with a leading axis."""
    draw: Callable[[np.random.Generator, int], Draw]
    conserved: Callable[[dict], Any] | None = None
    most_conserved: int = 0

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(int(np.prod(shape)) for shape in self.shapes.values())

    def tree(self, vectors: np.ndarray) -> dict[str, np.ndarray]:
        """Vectors (..., n) as the tree of parameters."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes.values()])[:-1]
        parts = np.split(vectors, ends, axis=-1)
        named = zip(self.shapes.items(), parts, strict=True)
        return {k: np.reshape(x, (*x.shape[:-1], *s)) for (k, s), x in named}

    def vectors(self, tree: dict[str, Any], lead: int) -> np.ndarray:
        """The tree of parameters as vectors (..., n)."""
        arrays = [np.asarray(tree[k]) for k in self.shapes]
        return np.concatenate([x.reshape(*x.shape[:lead], -1) for x in arrays], axis=-1)


@cache
def risk_function(function: Callable[[dict, dict], Any]) -> Callable[[dict, dict], Any]:
    """The function with units of parameters, `length`, and of itself, `height`; one object per function."""

    def scaled(params: dict, data: dict) -> Any:
        return data["height"] * function(jax.tree.map(lambda w: w / data["length"], params), data)

    return scaled


def risks(structure: Structure, draws: list[Draw], lengths: np.ndarray, heights: np.ndarray) -> lf.Risk:
    """A batch of risks, one a draw."""
    data = {k: jnp.asarray(np.stack([d.data[k] for d in draws])) for k in draws[0].data}
    data |= {"length": jnp.asarray(lengths), "height": jnp.asarray(heights)}
    example = structure.tree(np.ones(structure.size))
    symmetry = None if structure.conserved is None else lf.symmetry.Declared(structure.conserved)
    return lf.Risk(risk_function(structure.function), example, data, symmetry, batched=dict.fromkeys(data, 0))
