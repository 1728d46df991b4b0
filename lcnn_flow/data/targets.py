"""Sources of clean targets: each is a function `source(key, arch, inputs) -> (targets, true_filter)`.

`true_filter` is the end-to-end filter v that maps the inputs to the targets, or `None` if there is none.
"""

import math
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, Real

from lcnn_flow.data.checks import check_finite, number, real_array
from lcnn_flow.errors import DataError
from lcnn_flow.network.dense import Network
from lcnn_flow.network.filters import end_to_end_filter
from lcnn_flow.network.forward import apply, patches
from lcnn_flow.network.initializers import gaussian
from lcnn_flow.network.parameters import by_layer
from lcnn_flow.numerics.pytrees import Pytree

__all__ = ["Cascade", "Filter", "Labels", "Planted", "TargetSource", "Unrelated"]


@runtime_checkable
class TargetSource(Protocol):
    """A pure function of the key and the inputs."""

    def __call__(
        self, key: PRNGKeyArray, arch: Network, inputs: Float[Array, "m ..."]
    ) -> tuple[Float[Array, "m ..."], Float[Array, "..."] | None]:
        """Targets of shape (m, *arch.output_shape), and the end-to-end filter that generated them or None."""
        ...


class Planted(Pytree):
    """Outputs of a network of the same architecture with random N(0, std^2) parameters, so that the targets are
    attainable.

    Raises:
        DataError: std is negative or not finite.
    """

    std: float | Array

    def __init__(self, std: Real[ArrayLike, "..."] = 0.6) -> None:
        self.std = number("Planted", "std", std, 0, math.inf)

    def __call__(
        self, key: PRNGKeyArray, arch: Network, inputs: Float[Array, "m ..."]
    ) -> tuple[Float[Array, "m ..."], Float[Array, "..."] | None]:
        filters = gaussian(jnp.asarray(self.std, inputs.dtype))(key, arch)
        return Cascade(filters)(key, arch, inputs)


class Cascade(Pytree):
    """Outputs of the same architecture with given filters, so that the targets are attainable.

    Args:
        filters: parameters of the network.

    Raises:
        DataError: an entry is not finite.
        ArchitectureError: when called, if the filters do not fit the architecture.
    """

    filters: Any

    def __init__(self, filters: Sequence[Any]) -> None:
        def convert(name: str, w: Any) -> Array:
            array = real_array(f"filters{name}", w)
            check_finite(f"filters{name}", array)
            return array

        self.filters = by_layer(convert, filters)

    def __call__(
        self, key: PRNGKeyArray, arch: Network, inputs: Float[Array, "m ..."]
    ) -> tuple[Float[Array, "m ..."], Float[Array, "..."] | None]:
        del key
        filters = jax.tree.map(lambda w: w.astype(inputs.dtype), self.filters)
        return apply(arch, filters, inputs), end_to_end_filter(arch, filters) if arch.is_linear else None


class Filter(Pytree):
    """Outputs of one convolution with any end-to-end filter v, attainable by the architecture or not.

    Args:
        v: shape `arch.end_to_end_filter_shape`: (*k_v,), with channels (c_N, c_0, *k_v); a matrix for `Dense`.

    Raises:
        DataError: an entry is not finite; or, when called, the shape does not fit the architecture.
    """

    v: Float[Array, "..."]

    def __init__(self, v: Any) -> None:
        self.v = real_array("v", v)
        check_finite("v", self.v)

    def __call__(
        self, key: PRNGKeyArray, arch: Network, inputs: Float[Array, "m ..."]
    ) -> tuple[Float[Array, "m ..."], Float[Array, "..."]]:
        del key
        if self.v.shape != arch.end_to_end_filter_shape:
            raise DataError(
                f"Filter: v has shape {self.v.shape}: the end-to-end filter of this architecture has shape "
                f"{arch.end_to_end_filter_shape}"
            )
        if not arch.is_linear:
            raise DataError(f"Filter: {arch!r} has no end-to-end filter: write Planted() or Unrelated()")
        v, convolution = self.v.astype(inputs.dtype), arch.convolution()
        rows = v.reshape(1 if convolution.channels is None else convolution.channels[-1], -1)
        windows = patches(convolution, inputs.reshape(inputs.shape[0], *convolution.sample_shape))
        targets = jnp.einsum("moq,cq->mco", windows, rows, precision=jax.lax.Precision.HIGHEST)
        return targets.reshape(inputs.shape[0], *arch.output_shape), v


class Unrelated(Pytree):
    """White N(0, std^2) targets that are independent of the inputs; there is no true filter.

    Raises:
        DataError: std is negative or not finite.
    """

    std: float | Array

    def __init__(self, std: Real[ArrayLike, "..."] = 1.0) -> None:
        self.std = number("Unrelated", "std", std, 0, math.inf)

    def __call__(
        self, key: PRNGKeyArray, arch: Network, inputs: Float[Array, "m ..."]
    ) -> tuple[Float[Array, "m ..."], None]:
        noise = jax.random.normal(key, (inputs.shape[0], *arch.output_shape), inputs.dtype)
        return jnp.asarray(self.std, inputs.dtype) * noise, None


_PLANTED = Planted()


class Labels(Pytree):
    """Signs -1 and 1 of other targets, for margin losses; a share of them is flipped; there is no true filter.

    Unflipped labels of `Planted` or `Cascade` targets are separated by the network itself. Sample by sample the outputs
    may be near 0, so that the margin of these filters is small.

    Args:
        source: the targets whose signs are taken; 0 counts as 1.
        flipped: share of all labels that are flipped, rounded to a whole number of them.

    Raises:
        DataError: flipped is outside [0, 1], or source is no source of targets.
    """

    source: Any
    flipped: float | Array

    def __init__(self, source: TargetSource = _PLANTED, flipped: Real[ArrayLike, "..."] = 0.0) -> None:
        if not callable(source):
            raise DataError(f"Labels: source is {source!r}: write the targets whose signs are meant, such as Planted()")
        self.source = source
        self.flipped = number("Labels", "flipped", flipped, 0, 1)

    def __call__(
        self, key: PRNGKeyArray, arch: Network, inputs: Float[Array, "m ..."]
    ) -> tuple[Float[Array, "m ..."], None]:
        to_source, to_flips = jax.random.split(key)
        clean, _ = self.source(to_source, arch, inputs)
        signs = jnp.where(clean >= 0, 1, -1).astype(clean.dtype)
        places = jax.random.permutation(to_flips, clean.size).reshape(clean.shape)
        count = jnp.round(jnp.asarray(self.flipped, clean.dtype) * clean.size).astype(places.dtype)
        return jnp.where(places < count, -signs, signs), None
