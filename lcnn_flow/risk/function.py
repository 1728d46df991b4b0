"""Risks from arbitrary differentiable functions: the class `Risk`, and the conversion of a bare function."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from lcnn_flow.arguments import described
from lcnn_flow.errors import FlowError, RiskError
from lcnn_flow.numerics.arrays import DType, as_float_array
from lcnn_flow.numerics.nudges import nudged, signs
from lcnn_flow.numerics.parameter_space import ParameterSpace
from lcnn_flow.risk.autodiff import AutodiffRisk
from lcnn_flow.risk.base import is_risk
from lcnn_flow.risk.samples import Sampling, check_minibatch_size, named_axes
from lcnn_flow.risk.traced import Traced, trace
from lcnn_flow.symmetry.base import Symmetry
from lcnn_flow.symmetry.declared import Declared
from lcnn_flow.symmetry.none import NoSymmetry

__all__ = ["Risk", "as_risk"]


class Risk(AutodiffRisk):
    """A differentiable function of any tree of parameters: `risk(params)`; differentiable in parameters and data.

    Leaves of floating type are parameters and must share one type; a scalar is a layer with one entry. Integers,
    booleans, functions and `None` are held fixed, and empty arrays are skipped. The order of layers is that of
    `jax.tree.leaves`. Arrays that the function closes over count as data. A function object is compiled once per set of
    shapes; writing the same lambda again creates a new object and a new program. Where the function is constant up to
    its last digit, as a saturated tanh is, it counts as constant.

    Args:
        function: function(params), or function(params, data) if data are given; it returns one real number.
        example_params: parameters, or their shapes and types.
        data: a tree of arrays; floating leaves are differentiable like parameters, integers keep their type.
        symmetry: `lf.symmetry.Declared(conserved)`, or None.
        batched: {"X": 0} names the entries of `data` with an axis of conditions and the position of this axis. The
            result is a batch of risks for `gradient_flow_ensemble`. Risks can also be stacked by jax.tree.map.
        samples: {"X": 0, "y": 0} names the entries of `data` with an axis of samples and the position of this axis. A
            minibatch is the same function of fewer samples. The function must be a mean over samples; otherwise
            minibatches do not estimate it.

    Raises:
        RiskError: the function does not return one real number, or data cannot be used.
        FlowError: a leaf of `example_params` is neither a parameter nor can be held fixed.
    """

    data: PyTree
    constants: tuple[Array, ...]
    minibatch_constants: tuple[Array, ...]
    traced: Traced = eqx.field(static=True)
    sampling: Sampling | None = eqx.field(static=True)
    minibatch_program: Traced | None = eqx.field(static=True)
    """The program of minibatches, which closes over `minibatch_constants`."""
    space: ParameterSpace = eqx.field(static=True)
    symmetry: Symmetry = eqx.field(static=True)
    name: str = eqx.field(static=True)
    ranks: tuple[int, ...] = eqx.field(static=True)
    dtype: DType = eqx.field(static=True)

    def __init__(
        self,
        function: Callable[..., Any],
        example_params: PyTree,
        data: PyTree = None,
        symmetry: Declared | None = None,
        batched: Mapping[str, int] | None = None,
        samples: Mapping[str, int] | None = None,
    ) -> None:
        if isinstance(function, type) or not callable(function):
            raise RiskError(f"Risk: function is {described(function)}: write a function of params")
        if symmetry is not None and not isinstance(symmetry, Declared):
            raise RiskError(f"Risk: symmetry is {described(symmetry)}: write lf.symmetry.Declared(conserved), or None")
        self.space = space = ParameterSpace.of_tree(example_params)
        self.name = name = getattr(function, "__name__", type(function).__name__)
        data = _as_data(data)
        axes, (leaves, structure) = named_axes("batched", data, batched), jax.tree.flatten(data)
        self.sampling = None if samples is None else Sampling.of(function, data, samples, axes)
        leaves = [x if axis is None else jnp.moveaxis(x, axis, 0) for x, axis in zip(leaves, axes, strict=True)]
        self.data = jax.tree.unflatten(structure, leaves)
        shapes = [_shape(x, axis is not None) for x, axis in zip(leaves, axes, strict=True)]
        self.dtype = dtype = jnp.result_type(*space.moving(example_params))
        self.traced, self.constants = _program(function, name, space, dtype, self.data, shapes)
        self.minibatch_program, self.minibatch_constants = None, ()
        self.symmetry = NoSymmetry() if symmetry is None else symmetry.on(space, dtype)
        self.ranks = tuple(len(x.shape) for x in (*shapes, *self.constants))
        if self.sampling is not None:
            self.sampling.count(jax.tree.leaves(self.data), self.ranks[: len(shapes)])

    def __repr__(self) -> str:
        data = ", ".join(f"{x.dtype}{list(x.shape)}" for x in jax.tree.leaves(self.data) if hasattr(x, "dtype"))
        sizes = ", ".join(map(str, self.space.layer_shapes))
        return f"Risk({self.name}, parameters of shapes {sizes}{', data ' * bool(data)}{data})"

    @property
    def step_cost(self) -> int:
        """Multiply-adds of one step of Rodas4, without those of the function, which are unknown."""
        return 2 * self.space.num_parameters**3

    def __call__(self, params: PyTree) -> Float[Array, ""]:
        """The function at `params`; raises FlowError if they are not a point of the space."""
        return self._at(tuple(jnp.asarray(w) for w in self.layers(params)))

    def layers(self, params: PyTree) -> tuple[Any, ...]:
        """The leaves that are parameters; raises FlowError if the tree has another structure."""
        return self.space.layers(params)

    def check_params(self, params: PyTree) -> None:
        """Raises FlowError unless `params` are a single point of the space and have the type of the risk."""
        layers = self.layers(params)
        self.space.check(layers)
        if (dtype := jnp.result_type(*layers)) != self.dtype:
            raise FlowError(f"params are {dtype}, but the risk was made for {self.dtype}: make it with these params")

    def value(self, vector: Float[Array, " n"]) -> Float[Array, ""]:
        """The function at the raveled parameters."""
        return self._at(self.space.unravel(vector))

    def _at(self, layers: tuple[Array, ...]) -> Array:
        return self.traced(self.constants, *layers, *jax.tree.leaves(self.data))

    def nudged(
        self, vector: Float[Array, " n"], units: Float[Array, " n"], k: int | Array
    ) -> tuple["Risk", Float[Array, " n"]]:
        """The function and parameters with every number of data and parameters perturbed by one unit of rounding."""
        size = jnp.where(k > 0, jnp.finfo(vector.dtype).eps, 0).astype(vector.dtype)

        def change(x: Array) -> Array:
            return nudged(x, size, k) if jnp.issubdtype(x.dtype, jnp.floating) else x

        leaves = tuple(map(change, jax.tree.leaves((self.data, self.constants))))
        new = jax.tree.unflatten(jax.tree.structure((self.data, self.constants)), leaves)
        moved = vector + size * units * signs(vector.shape, k)
        return eqx.tree_at(lambda risk: (risk.data, risk.constants), self, new, is_leaf=lambda x: x is None), moved

    @property
    def num_samples(self) -> int:
        """Length of the sample axes named by `samples`; raises RiskError if it names none."""
        if self.sampling is None:
            raise RiskError(
                "minibatches need samples, but this risk names none: write lf.Risk(function, params, data, "
                "samples={'X': 0}), with the sample axis of every entry of data that has one"
            )
        leaves = jax.tree.leaves(self.data)
        return self.sampling.count(leaves, self.ranks[: len(leaves)])

    def for_minibatches(self, size: int) -> "Risk":
        """The same risk with the program for minibatches of `size` samples.

        Raises:
            RiskError: there are no samples or fewer than `size`, or a minibatch does not return one real number.
        """
        check_minibatch_size(size, self.num_samples)
        leaves, sampling = jax.tree.leaves(self.data), self.sampling
        assert sampling is not None
        ranks = self.ranks[: len(leaves)]
        full = [_shape(x, x.ndim > rank) for x, rank in zip(leaves, ranks, strict=True)]
        shapes = sampling.shapes(full, size)
        minibatch_program, constants = _program(sampling.function, self.name, self.space, self.dtype, self.data, shapes)
        ranks = (*self.ranks[: len(leaves) + len(self.constants)], *(jnp.ndim(x) for x in constants))
        return self.with_fields(minibatch_program=minibatch_program, minibatch_constants=constants, ranks=ranks)

    def minibatch(self, indices: Int[Array, " b"]) -> "Risk":
        """The function of the samples with these indices, see `risk.samples`; `for_minibatches` traces it in advance.

        Raises:
            RiskError: the risk has no samples.
        """
        if self.minibatch_program is None:
            return self.for_minibatches(indices.shape[0]).minibatch(indices)
        leaves, structure = jax.tree.flatten(self.data)
        assert self.sampling is not None
        data = jax.tree.unflatten(structure, self.sampling.chosen(leaves, indices))
        ranks = tuple(jnp.ndim(x) for x in (*jax.tree.leaves(data), *self.minibatch_constants))
        return self.with_fields(
            data=data,
            traced=self.minibatch_program,
            constants=self.minibatch_constants,
            minibatch_program=None,
            minibatch_constants=(),
            ranks=ranks,
        )

    def leaf_ranks(self) -> list[tuple[Any, int]]:
        """Every leaf with its rank in a single risk."""
        return list(zip(jax.tree.leaves(self), self.ranks, strict=True))


def as_risk(name: str, risk: Any, params: PyTree) -> Any:
    """A risk unchanged; a bare function of `params` converted to a `Risk`."""
    if is_risk(risk):
        return risk
    if isinstance(risk, type) or not callable(risk):
        raise RiskError(
            f"{name}: risk is {described(risk)}: write lf.EmpiricalRisk(arch, loss, data), lf.Risk(function, params) "
            f"or a function of params, and {name}(risk, ...)"
        )
    return Risk(risk, params)


def _as_data(data: PyTree) -> PyTree:
    """Converts the leaves of data to arrays."""

    def convert(path: Any, leaf: Any) -> Array:
        name = f"data{jax.tree_util.keystr(path)}"
        if not (hasattr(leaf, "dtype") or isinstance(leaf, int | float)):
            raise RiskError(f"{name} is {described(leaf)}: data are arrays")
        return as_float_array(leaf) if isinstance(leaf, float | np.floating) else jnp.asarray(leaf)

    return jax.tree_util.tree_map_with_path(convert, data)


def _program(
    function: Callable[..., Any], name: str, space: ParameterSpace, dtype: DType, data: PyTree, shapes: list[Any]
) -> tuple[Any, ...]:
    """The traced program of a function of parameters, and of data of these shapes unless `data` is None."""
    layers = tuple(jax.ShapeDtypeStruct(shape, dtype) for shape in space.layer_shapes)
    structure = jax.tree.structure(data)

    def call(layers: tuple[Any, ...], leaves: list[Any]) -> Any:
        params = space.tree(layers)
        return function(params) if data is None else function(params, jax.tree.unflatten(structure, leaves))

    return trace(name, function, call, layers, shapes)


def _shape(x: Array, batched: bool) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape[1:] if batched else x.shape, x.dtype)
