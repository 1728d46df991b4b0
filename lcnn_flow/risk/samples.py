"""Samples of a risk: the position of their axis, and the restriction of a risk to some of them.

A minibatch B with b of m samples estimates L = sum_i w_i l_i / sum_i w_i by (m/b) sum_{i in B} w_i l_i / sum_i w_i. The
denominator is the sum of all weights, not of those in the minibatch. The expectation over uniformly drawn minibatches
is therefore L for any weights, and so is the mean over minibatches that partition the samples.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from lcnn_flow.data import Dataset
from lcnn_flow.errors import RiskError
from lcnn_flow.risk.outer import PatchForm

__all__ = ["Sampling", "check_minibatch_size", "minibatch_rows", "minibatch_samples", "named_axes", "refuse_reduced"]


@dataclass(frozen=True)
class Sampling:
    """The user's function of a `Risk` with samples, and the position of the samples; static and hashable.

    Attributes:
        function: the function of the user.
        axes: for every leaf of the data, the position of the sample axis in a single risk; None if it has none.
    """

    function: Callable[..., Any]
    axes: tuple[int | None, ...]

    @classmethod
    def of(
        cls, function: Callable[..., Any], data: PyTree, samples: Mapping[str, int], batched: list[int | None]
    ) -> "Sampling":
        """Creates it from the names of entries of `data`; `batched` are the axes of conditions.

        Raises:
            RiskError: a name or axis does not exist in the data, numbers of samples differ, or the function cannot be
                hashed.
        """
        axes = []
        for leaf, own, other in zip(jax.tree.leaves(data), named_axes("samples", data, samples), batched, strict=True):
            if own is None:
                axes.append(None)
                continue
            own, other = own % leaf.ndim, None if other is None else other % leaf.ndim
            if own == other:
                raise RiskError(f"samples and batched name the same axis {own} of an entry: each needs its own")
            axes.append(own - (other is not None and other < own))
        try:
            hash(function)
        except TypeError as error:
            raise RiskError("samples: the function cannot be hashed: write def function(params, data)") from error
        return cls(function, tuple(axes))

    def count(self, leaves: list[Array], ranks: tuple[int, ...]) -> int:
        """Number of samples of the data, whose leaves have these ranks in a single risk.

        Raises:
            RiskError: the numbers of samples of entries differ.
        """
        places = [(x, a) for x, a in zip(leaves, self._within(leaves, ranks), strict=True) if a is not None]
        counts = {x.shape[axis] for x, axis in places}
        if len(counts) != 1:
            raise RiskError(f"samples: the axes have lengths {sorted(counts)}, but one number of samples is needed")
        return counts.pop()

    def shapes(self, shapes: list[jax.ShapeDtypeStruct], size: int) -> list[jax.ShapeDtypeStruct]:
        """Shapes of a minibatch of `size` samples, from the shapes of a single risk."""

        def fewer(shape: tuple[int, ...], axis: int | None) -> tuple[int, ...]:
            return shape if axis is None else (*shape[:axis], size, *shape[axis + 1 :])

        found = zip(shapes, self.axes, strict=True)
        return [jax.ShapeDtypeStruct(fewer(x.shape, axis), x.dtype) for x, axis in found]

    def chosen(self, leaves: list[Array], indices: Int[Array, " b"]) -> list[Array]:
        """The samples with these indices, from the leaves of a single risk."""
        found = zip(leaves, self.axes, strict=True)
        return [x if axis is None else jnp.take(x, indices, axis=axis) for x, axis in found]

    def _within(self, leaves: list[Array], ranks: tuple[int, ...]) -> list[int | None]:
        found = zip(leaves, self.axes, ranks, strict=True)
        return [None if axis is None else axis + x.ndim - rank for x, axis, rank in found]


def named_axes(what: str, data: PyTree, names: Mapping[str, int] | None) -> list[int | None]:
    """For every leaf of `data`, the axis that `names` gives for the entry to which the leaf belongs; None without one.

    Raises:
        RiskError: a name or axis does not exist in the data; `what` is the name of the argument.
    """
    known, axes = set(), []
    for path, leaf in jax.tree_util.tree_leaves_with_path(data):
        first = path[0] if path else None
        name = str(getattr(first, "key", getattr(first, "name", getattr(first, "idx", None))))
        known.add(name)
        place = (names or {}).get(name)
        if place is not None and not (isinstance(place, int) and -leaf.ndim <= place < leaf.ndim):
            raise RiskError(f"{what}: {name!r} has no axis {place!r}: its shape is {leaf.shape}")
        axes.append(place)
    if unknown := set(names or {}) - known:
        raise RiskError(f"{what} names {sorted(unknown)}: data have {sorted(known)}")
    return axes


def refuse_reduced(form: str) -> None:
    """Raises RiskError for the form of `EmpiricalRisk` that keeps no samples."""
    if form == "reduced":
        raise RiskError(
            "minibatches need samples, but form='reduced' keeps none: write "
            "lf.EmpiricalRisk(arch, loss, data, form='patches')"
        )


def check_minibatch_size(size: object, samples: int) -> None:
    """Raises RiskError unless `size` is an integer with 1 <= size <= samples."""
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= samples:
        raise RiskError(f"batch_size = {size!r}: write an integer from 1 to {samples}, the number of samples")


def minibatch_rows(form: PatchForm, samples: int, indices: Int[Array, " b"]) -> PatchForm:
    """The rows of the patch matrix that belong to these of `samples` samples, with weights multiplied by m/b."""

    def chosen(x: Array) -> Array:
        rows = x.reshape(samples, -1, *x.shape[1:])[indices]
        return rows.reshape(-1, *x.shape[1:])

    weights = chosen(form.weights) * (samples / indices.shape[0])
    return PatchForm(form.loss, chosen(form.patches), chosen(form.targets), weights)


def minibatch_samples(data: Dataset, indices: Int[Array, " b"]) -> tuple[Dataset, Float[Array, ""]]:
    """These samples, and the factor by which their weighted mean is to be multiplied."""
    inputs, targets = data.inputs[indices], data.targets[indices]
    if data.weights is None:
        return Dataset(inputs, targets), jnp.ones((), inputs.dtype)
    weights = data.weights[indices]
    total = jnp.sum(weights)
    share = total / jnp.sum(data.weights) * (data.num_samples / indices.shape[0])
    return Dataset(inputs, targets, jnp.where(total > 0, weights, 1)), share
