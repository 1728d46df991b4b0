"""Parameters as one vector: the conversion between a pytree of arrays and its raveled layers.

A layer is a leaf that holds parameters; the order of layers is that of `jax.tree.leaves`. Leaves of floating type are
parameters and must share one type. Integers, booleans, functions, `None` and empty arrays are held fixed. Vectors may
have trailing axes, (n, ...), for many points at once; this layout runs fastest.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree

from lcnn_flow.arguments import described
from lcnn_flow.errors import FlowError

__all__ = ["ParameterSpace"]


@dataclass(frozen=True)
class ParameterSpace:
    """The structure of a tree of parameters; static and hashable.

    Attributes:
        layer_shapes: shapes of the leaves that hold parameters.
        structure: tree structure of the whole tree.
        held: one entry per leaf: the value that is held fixed, or None for a parameter.
    """

    layer_shapes: tuple[tuple[int, ...], ...]
    structure: Any
    held: tuple["Held | None", ...]

    @classmethod
    def of_tree(cls, tree: PyTree) -> "ParameterSpace":
        """The space of a tree of arrays, or of their shapes and types.

        Raises:
            FlowError: a leaf is neither a parameter nor can be held fixed, or there are no parameters at all.
        """
        paths, structure = jax.tree_util.tree_flatten_with_path(tree)
        shapes, held, types = [], [], {}
        for path, leaf in paths:
            name = f"params{jax.tree_util.keystr(path)}"
            if not _is_parameter(leaf, name):
                held.append(Held.of(leaf, name))
                continue
            held.append(None)
            shapes.append(tuple(np.shape(leaf)))
            if not isinstance(leaf, float):  # a Python float takes the type of the other leaves
                types.setdefault(jnp.result_type(leaf), name)
        if len(types) > 1:
            mixed = ", ".join(f"{name} is {dtype}" for dtype, name in types.items())
            raise FlowError(
                f"parameters need one floating type, and {mixed}: convert them, for example by x.astype(...)"
            )
        if not shapes:
            raise FlowError(f"params are {described(tree)} without a leaf of floating type: there is nothing to move")
        return cls(tuple(shapes), structure, tuple(held))

    @property
    def num_layers(self) -> int:
        """Number of leaves that hold parameters."""
        return len(self.layer_shapes)

    @property
    def num_parameters(self) -> int:
        """Number of parameters n."""
        return sum(self.layer_sizes)

    @property
    def layer_sizes(self) -> list[int]:
        """Number of parameters in each layer."""
        return [math.prod(shape) for shape in self.layer_shapes]

    def layers(self, tree: PyTree) -> tuple[Any, ...]:
        """The leaves of a tree that are parameters.

        Raises:
            FlowError: the tree has another structure, or another value is held fixed in it.
        """
        paths, structure = jax.tree_util.tree_flatten_with_path(tree)
        if structure != self.structure:
            given, needed = (str(x).removeprefix("PyTreeDef(")[:-1] for x in (structure, self.structure))
            raise FlowError(f"params are the tree {given}, but {needed} is needed")
        found = []
        for (path, leaf), held in zip(paths, self.held, strict=True):
            if held is None:
                found.append(leaf)
            elif Held.of(leaf, name := f"params{jax.tree_util.keystr(path)}") != held:
                raise FlowError(
                    f"{name} is held fixed, and differs from the value that the risk was made with: make a new risk"
                )
        return tuple(found)

    def moving(self, tree: PyTree) -> tuple[Any, ...]:
        """The leaves in the positions of parameters; the values that are held fixed are not compared.

        Raises:
            FlowError: the number of leaves differs.
        """
        leaves = jax.tree.leaves(tree)
        if len(leaves) != len(self.held):
            raise FlowError(f"{len(leaves)} leaves stand where params have {len(self.held)}: write a tree like params")
        return tuple(leaf for leaf, held in zip(leaves, self.held, strict=True) if held is None)

    def tree(self, layers: tuple[Any, ...]) -> PyTree:
        """The tree with these layers and the fixed values in their positions; the layers may have additional axes."""
        rest = iter(layers)
        leaves = [next(rest) if held is None else held.value for held in self.held]
        return jax.tree.unflatten(self.structure, leaves)

    def moving_tree(self, layers: tuple[Any, ...]) -> PyTree:
        """The tree with these layers and None in place of fixed values, in the form that optimisers receive."""
        rest = iter(layers)
        return jax.tree.unflatten(self.structure, [next(rest) if held is None else None for held in self.held])

    def check(self, layers: tuple[Any, ...]) -> None:
        """Raises FlowError unless `layers` have the shapes of a single point."""
        if (leading := self.leading_axes(layers)) != ():
            shapes = [tuple(np.shape(w)) for w in layers]
            many = "; for a batch of them use jax.vmap or gradient_flow_ensemble" if leading else ""
            raise FlowError(f"params have shapes {shapes}, but {list(self.layer_shapes)} are needed{many}")

    def leading_axes(self, layers: tuple[Any, ...]) -> tuple[int, ...] | None:
        """The shape of the leading axes that all layers share, () for a single point; None if the shapes do not fit."""
        if len(layers) != self.num_layers:
            return None
        shapes = [tuple(np.shape(w)) for w in layers]
        leading = shapes[0][: max(0, len(shapes[0]) - len(self.layer_shapes[0]))]
        fits = all(shape == leading + own for shape, own in zip(shapes, self.layer_shapes, strict=True))
        return leading if fits else None

    def unravel(self, vector: Float[Array, "n ..."]) -> tuple[Array, ...]:
        """Splits a vector of n entries into layers; trailing axes are kept."""
        parts = jnp.split(vector, self._ends[:-1])
        return tuple(w.reshape(shape + w.shape[1:]) for w, shape in zip(parts, self.layer_shapes, strict=True))

    def squared_norms(self, vector: Float[Array, "n ..."]) -> Float[Array, "N ..."]:
        """Squared Euclidean norm of each layer, (|w_1|^2, ..., |w_N|^2)."""
        return jnp.stack([jnp.sum(w**2, axis=0) for w in jnp.split(vector, self._ends[:-1])])

    def norms(self, vector: Float[Array, "n ..."]) -> Float[Array, "N ..."]:
        """Euclidean norm of each layer, (|w_1|, ..., |w_N|)."""
        return jnp.sqrt(self.squared_norms(vector))

    def per_entry(self, values: Float[Array, "N ..."]) -> Float[Array, "n ..."]:
        """One number per layer, repeated for every entry of the layer."""
        return values[np.repeat(np.arange(self.num_layers), self.layer_sizes)]

    @property
    def _ends(self) -> list[int]:
        return list(itertools.accumulate(self.layer_sizes))


@dataclass(frozen=True)
class Held:
    """The value of a leaf that is held fixed; two are equal if their contents are equal."""

    contents: Any
    value: Any = None

    @classmethod
    def of(cls, leaf: Any, name: str) -> "Held":
        """Wraps the value of a leaf, named `name` in error messages.

        Raises:
            FlowError: the leaf is a traced array.
        """
        if isinstance(leaf, Tracer):
            raise FlowError(f"{name} is held fixed, and cannot be traced: pass it as data of lf.Risk")
        if not hasattr(leaf, "dtype"):
            return cls((type(leaf), leaf), leaf)
        plain = jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        array = np.asarray(plain)
        return cls((str(leaf.dtype), array.shape, array.tobytes()), leaf)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Held) and self.contents == other.contents

    def __hash__(self) -> int:
        return hash(self.contents)


def _is_parameter(leaf: Any, name: str) -> bool:
    """Whether a leaf is a parameter; raises FlowError if it can neither be a parameter nor be held fixed."""
    if isinstance(leaf, complex) or (hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.complexfloating)):
        raise FlowError(f"{name} is complex: pass real and imaginary parts as two leaves")
    if isinstance(leaf, float):
        return True
    if hasattr(leaf, "dtype"):
        return bool(jnp.issubdtype(leaf.dtype, jnp.floating)) and math.prod(np.shape(leaf)) > 0
    if leaf is None or callable(leaf) or isinstance(leaf, int):
        return False
    raise FlowError(f"{name} is {described(leaf)}: parameters are arrays of floating-point numbers")
