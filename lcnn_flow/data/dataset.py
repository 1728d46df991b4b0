"""The samples over which the empirical risk is a mean: inputs, targets and weights."""

from typing import Any

import numpy as np
from jaxtyping import Array, Float

from lcnn_flow.data.checks import check_finite, real_array
from lcnn_flow.errors import DataError
from lcnn_flow.numerics.arrays import is_concrete
from lcnn_flow.numerics.pytrees import Pytree

__all__ = ["Dataset"]


class Dataset(Pytree):
    """Samples (x_i, y_i) with weights w_i.

    Integers become numbers of the default floating type; floating types are kept. Shapes are always checked; values are
    checked where they are known, that is, outside jit.

    Args:
        inputs: (m, *sample_shape), sample_shape = (*d_0,), with channels (c_0, *d_0).
        targets: (m, *output_shape), output_shape = (*d_N,), with channels (c_N, *d_N).
        weights: (m,), at least 0 and not all 0; `None` means weight 1 for every sample.
        true_filter: the end-to-end filter that generated the targets before any corruption; `None` if there is none or
            it is unknown.

    Raises:
        DataError: ranks or numbers of samples do not fit, an entry is not finite, or a weight is negative.
    """

    inputs: Float[Array, "m ..."]
    targets: Float[Array, "m ..."]
    weights: Float[Array, " m"] | None
    true_filter: Float[Array, "..."] | None

    def __init__(self, inputs: Any, targets: Any, weights: Any | None = None, true_filter: Any | None = None) -> None:
        self.inputs = real_array("inputs", inputs)
        self.targets = real_array("targets", targets)
        self.weights = None if weights is None else real_array("weights", weights)
        self.true_filter = None if true_filter is None else real_array("true_filter", true_filter)
        self._check_shapes()
        self._check_values()

    def _check_shapes(self) -> None:
        for name, array in (("inputs", self.inputs), ("targets", self.targets)):
            if array.ndim < 2:
                raise DataError(
                    f"{name} have shape {array.shape}: the first axis counts samples, the others are those "
                    f"of one sample; for a single sample write {name}[None]"
                )
            if array.size == 0:
                raise DataError(f"{name} have shape {array.shape}: pass at least one sample with one entry")
        m = self.inputs.shape[0]
        if self.targets.shape[0] != m:
            raise DataError(f"{m} inputs but {self.targets.shape[0]} targets: pass one target per input")
        if self.weights is not None and self.weights.shape != (m,):
            raise DataError(f"weights have shape {self.weights.shape} for {m} samples: pass shape ({m},)")

    def _check_values(self) -> None:
        for name in ("inputs", "targets", "weights", "true_filter"):
            if getattr(self, name) is not None:
                check_finite(name, getattr(self, name))
        if self.weights is not None and is_concrete(self.weights):
            weights = np.asarray(self.weights)
            if (weights < 0).any():
                first = int(np.argmax(weights < 0))
                raise DataError(f"weights[{first}] is {weights[first]}: weights must be at least 0")
            if not weights.sum() > 0:
                raise DataError("all weights are 0: give at least one sample a positive weight")

    @property
    def num_samples(self) -> int:
        """Number of samples m."""
        return self.inputs.shape[0]

    def replace(self, **changes: Any) -> "Dataset":
        """A copy in which some of inputs, targets, weights and true_filter are replaced.

        Raises:
            DataError: the name is unknown, or the data do not fit.
        """
        fields = {name: getattr(self, name) for name in ("inputs", "targets", "weights", "true_filter")}
        unknown = sorted(set(changes) - set(fields))
        if unknown:
            raise DataError(f"Dataset has no {unknown[0]!r}: replace one of {', '.join(fields)}")
        return Dataset(**{**fields, **changes})

    def __repr__(self) -> str:
        shapes = [f"inputs={_shape(self.inputs)}", f"targets={_shape(self.targets)}"]
        optional = {"weights": self.weights, "true_filter": self.true_filter}
        shapes += [f"{name}={_shape(array)}" for name, array in optional.items() if array is not None]
        return f"Dataset({', '.join(shapes)})"


def _shape(array: Any) -> Any:
    return getattr(array, "shape", array)
