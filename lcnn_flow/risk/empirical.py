"""The empirical risk L(w) = sum_i w_i sum_outputs rho(prediction - target) / sum_i w_i of any network.

`EmpiricalRisk(network, loss, data)` creates an instance of the subclass that fits: `LinearRisk` for a linear network,
whose risk is a function of the end-to-end filter, and `NetworkRisk` for any other network and with weight decay.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from lcnn_flow.arguments import check_kind
from lcnn_flow.data import Dataset
from lcnn_flow.errors import RiskError
from lcnn_flow.losses.base import Loss
from lcnn_flow.losses.classification import MarginLoss
from lcnn_flow.losses.named import Lp, Square
from lcnn_flow.losses.registry import ALL_LOSSES
from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.dense import Dense, Network
from lcnn_flow.network.forward import forward
from lcnn_flow.network.parameters import as_filters, parameter_space
from lcnn_flow.numerics.arrays import as_float_array, is_concrete
from lcnn_flow.numerics.nudges import nudged, signs
from lcnn_flow.numerics.parameter_space import ParameterSpace
from lcnn_flow.risk.base import RiskBase
from lcnn_flow.risk.chain_rule import filter_rows
from lcnn_flow.risk.outer import OUTER_RANKS, PatchForm, QuadraticForm
from lcnn_flow.risk.samples import check_minibatch_size, minibatch_rows, minibatch_samples, refuse_reduced

__all__ = ["EmpiricalRisk", "Form", "has_many_margins", "kind_of_risk", "layerwise", "sample_weights"]

_WELL_BELOW = 0.5
Form = Literal["auto", "reduced", "patches", "moments", "layers"]


E = TypeVar("E", bound="EmpiricalRisk")
_KINDS: dict[str, type["EmpiricalRisk"]] = {}
"""The subclasses: "linear" for linear networks without weight decay, "general" for all others."""


def kind_of_risk(name: Literal["linear", "general"]) -> Callable[[type[E]], type[E]]:
    """Declares a subclass to be the one that `EmpiricalRisk(...)` creates, as a decorator."""

    def declare(kind: type[E]) -> type[E]:
        _KINDS[name] = kind
        return kind

    return declare


class EmpiricalRisk(RiskBase):
    """Empirical risk of a network: `risk(params)`; differentiable in params, data and loss.

    Args:
        arch: the network, an `Architecture` or `Dense`.
        loss: an elementwise loss of `lcnn_flow.losses`; one of margins (`MarginLoss`) needs targets -1 or 1.
        data: inputs, targets and, optionally, sample weights.
        form: the form of evaluation. "reduced": QR decomposition of the patch matrix, square loss only. "patches": the
            patch matrix. "moments": the patch matrix, but ensembles use moments of the data; l_p loss with even p only.
            "layers": layer by layer, by definition, kept as the reference. "auto": "reduced" for the square loss if
            there are more rows than columns, "moments" if they need fewer multiply-adds (`cost`), otherwise "patches".
            All forms agree to rounding. Networks that are not linear have the form "layers" only, as have linear ones
            with several output channels and a margin loss, which are treated like networks that are not linear.
        weight_decay: lambda >= 0 adds (lambda/2) |w|^2, biases included; None adds nothing. With weight decay nothing
            is conserved (h_l decays like e^{-2 lambda t}), and filters stay bounded for every loss.

    Raises:
        RiskError: data do not fit the architecture or the loss, or the form does not fit the loss.
    """

    loss: Loss
    data: Dataset
    filter_risk: PatchForm | QuadraticForm | None
    """The risk as a function of the end-to-end filter; None if it is evaluated layer by layer."""
    share: Array | None
    """Factor by which the mean over a minibatch is multiplied in the form "layers"; None for the whole data set."""
    network: Network = eqx.field(static=True)

    def __new__(
        cls, arch: Any = None, loss: Any = None, data: Any = None, form: Any = "auto", weight_decay: Any = None
    ) -> "EmpiricalRisk":
        """Creates an object of the subclass that fits."""
        if cls is not EmpiricalRisk:
            return super().__new__(cls)
        linear = getattr(arch, "is_linear", True) and not has_many_margins(arch, loss)
        kind: Any = _KINDS["linear" if linear and weight_decay is None else "general"]
        return super().__new__(kind)

    def __init__(self, arch: Network, loss: Any, data: Dataset, form: Form = "auto", weight_decay: Any = None) -> None:
        order = "the order is EmpiricalRisk(arch, loss, data)"
        remedy = f"write lf.Architecture(input_shape, kernel_sizes) or lf.Dense(widths); {order}"
        check_kind("EmpiricalRisk", "arch", arch, (Architecture, Dense), remedy, RiskError)
        check_kind("EmpiricalRisk", "loss", loss, Loss, f"{_loss_remedy(loss)}; {order}", RiskError)
        check_kind("EmpiricalRisk", "data", data, Dataset, f"write lf.Dataset(inputs, targets); {order}", RiskError)
        for name, shape, wanted in (
            ("inputs", data.inputs.shape, arch.sample_shape),
            ("targets", data.targets.shape, arch.output_shape),
        ):
            if shape[1:] != wanted:
                raise RiskError(f"data.{name} have shape {shape}: this architecture needs (samples, *{wanted})")
        if form not in get_args(Form):
            raise RiskError(f"form = {form!r}: write one of {', '.join(map(repr, get_args(Form)))}")
        if form == "reduced" and not isinstance(loss, Square):
            raise RiskError(f"form = 'reduced' needs the square loss, not {type(loss).__name__}: write form='patches'")
        if form == "moments" and not (isinstance(loss, Lp) and loss.p >= 4 and loss.p % 2 == 0):
            raise RiskError(
                f"form = 'moments' needs the l_p loss of an even p >= 4, not {loss!r}: write form='patches'"
            )
        if isinstance(loss, MarginLoss):
            _check_labels(loss, data)
        self.network = arch
        self.loss = jax.tree.map(as_float_array, loss)  # arrays, so that other numbers need no new compilation
        self.data = data
        self.filter_risk = self.share = None

    def __call__(self, params: PyTree) -> Float[Array, ""]:
        """L(w); raises ArchitectureError if shapes of params do not fit."""
        self.check_params(params)
        return self.of_layers(self.layers(params))

    def value(self, vector: Float[Array, " n"]) -> Float[Array, ""]:
        """L at the raveled parameters."""
        return self.of_layers(self.space.unravel(vector))

    def of_layers(self, layers: tuple[Any, ...]) -> Float[Array, ""]:
        """L at the arrays of parameters, one per layer; unchecked."""
        if self.filter_risk is None:
            return layerwise(self, layers)
        return self.filter_risk.value(filter_rows(self.network.convolution(), as_filters(self.network, layers)))

    def nudged(
        self: E, vector: Float[Array, " n"], units: Float[Array, " n"], k: int | Array
    ) -> tuple[E, Float[Array, " n"]]:
        """Risk and raveled parameters with every number perturbed by one unit of rounding; k = 0 perturbs nothing.

        Parameters are perturbed relative to their `units`, results of a QR decomposition relative to the norm of their
        column.
        """
        size = jnp.where(k > 0, jnp.finfo(vector.dtype).eps, 0).astype(vector.dtype)
        moved = vector + size * units * signs(vector.shape, k)
        if self.filter_risk is None:
            data = nudged(self.data.inputs, size, k), nudged(self.data.targets, size, k)
            return eqx.tree_at(lambda risk: (risk.data.inputs, risk.data.targets), self, data), moved
        return eqx.tree_at(lambda risk: risk.filter_risk, self, self.filter_risk.nudged(size, k)), moved

    def is_separated(self, vector: Float[Array, "n ..."]) -> Bool[Array, "..."]:
        """Whether L < min_i w_i rho(0)/2, for a margin loss, w_i > 0 the weights of the terms that L is the sum of.

        Then every margin z_i is positive there and wherever L is no larger: each term is at most L. No such point is
        critical: the last layer is linear, so the derivative of L along it is sum_i w_i rho'(z_i) z_i < 0. A flow that
        comes there is not bounded, for a bounded one has critical points as limits. Half of it, so that errors of the
        integration change nothing. Derived; for homogeneous networks and in more detail by Lyu and Li 2020 (Gradient
        descent maximizes the margin of homogeneous neural networks), see `theory.separation`.
        """
        if not isinstance(self.loss, MarginLoss):
            return super().is_separated(vector)
        return self.value(vector) < _WELL_BELOW * self.least_weight * self.loss(jnp.zeros((), vector.dtype))

    @property
    def least_weight(self) -> Float[Array, ""]:
        """Smallest positive weight of a term of L."""
        form = self.filter_risk
        weights = form.weights if isinstance(form, PatchForm) else sample_weights(self.data)
        return jnp.min(jnp.where(weights > 0, weights, jnp.inf))

    @property
    def arch(self) -> Any:
        """The network; for a `LinearRisk` always an `Architecture`."""
        return self.network

    @property
    def space(self) -> ParameterSpace:
        """The parameter space of the network."""
        return parameter_space(self.network)

    @property
    def num_samples(self) -> int:
        """Number of samples m of a single risk."""
        if isinstance(self.filter_risk, PatchForm):
            return self.filter_risk.targets.shape[-2] // math.prod(self.network.convolution().spatial_shapes[-1])
        return self.data.inputs.shape[-1 - len(self.network.sample_shape)]

    def for_minibatches(self, size: int) -> "EmpiricalRisk":
        """The risk itself; raises RiskError unless its form keeps samples and there are at least `size` of them."""
        risk: Any = self
        refuse_reduced(risk.form)
        check_minibatch_size(size, self.num_samples)
        return self

    def minibatch(self, indices: Int[Array, " b"]) -> "EmpiricalRisk":
        """The unbiased estimate of L from these samples with all output rows of each, see `risk.samples`."""
        risk: Any = self.for_minibatches(indices.shape[0])
        if risk.filter_risk is None:
            found = minibatch_samples(self.data, indices)
            return eqx.tree_at(lambda r: (r.data, r.share), risk, found, is_leaf=lambda x: x is None)
        rows = minibatch_rows(risk.filter_risk, self.num_samples, indices)
        return eqx.tree_at(lambda r: (r.filter_risk, r.data), risk, (rows, None), is_leaf=lambda x: x is None)

    def layers(self, params: PyTree) -> tuple[Any, ...]:
        """The arrays of parameters, one per layer."""
        return tuple(jax.tree.leaves(params))

    def check_params(self, params: PyTree) -> None:
        """Raises ArchitectureError unless `params` are a single point that fits the network."""
        self.network.check_params(params)

    def leaf_rank(self, path: Any) -> int:
        """Rank, in a single risk, of the leaf at this path."""
        names = [key.name for key in path if isinstance(key, jax.tree_util.GetAttrKey)]
        if "loss" in names or names[0] in ("weight_decay", "share"):
            return 0
        data_ranks = {
            "inputs": 1 + len(self.network.sample_shape),
            "targets": 1 + len(self.network.output_shape),
            "weights": 1,
            "true_filter": len(self.network.end_to_end_filter_shape),
        }
        return (data_ranks if names[0] == "data" else OUTER_RANKS)[names[1]]

    def leaf_ranks(self) -> list[tuple[Any, int]]:
        """Every leaf with its rank in a single risk."""
        return [(leaf, self.leaf_rank(path)) for path, leaf in jax.tree_util.tree_leaves_with_path(self)]


def layerwise(risk: EmpiricalRisk, layers: Any) -> Array:
    """The risk by its definition, evaluated layer by layer."""
    predictions = forward(risk.network, layers, risk.data.inputs)[0]
    terms = risk.loss(risk.loss.argument(predictions, risk.data.targets))
    losses = jnp.sum(terms.reshape(terms.shape[0], -1), axis=1)
    mean = jnp.sum(sample_weights(risk.data) * losses)
    return mean if risk.share is None else risk.share * mean


def sample_weights(data: Dataset) -> Array:
    """Sample weights, normalised to sum 1."""
    count = data.inputs.shape[0]
    if data.weights is None:
        return jnp.full((count,), 1 / count, data.inputs.dtype)
    return data.weights / jnp.sum(data.weights)


def has_many_margins(arch: Any, loss: Any) -> bool:
    """Whether a sample has margins in several output channels: they are then no function of one patch matrix."""
    channels = arch.widths if isinstance(arch, Dense) else getattr(arch, "channels", None)
    return isinstance(loss, MarginLoss) and channels is not None and channels[-1] > 1


def _check_labels(loss: Loss, data: Dataset) -> None:
    """Raises RiskError where targets can be seen and one is neither -1 nor 1."""
    if not is_concrete(data.targets):
        return
    targets = np.asarray(data.targets)
    if (wrong := np.abs(targets) != 1).any():
        place = ", ".join(map(str, np.argwhere(wrong)[0]))
        raise RiskError(
            f"the {loss.name} loss needs targets -1 or 1, and targets[{place}] is {targets[wrong][0]:g}: write "
            "data.replace(targets=jnp.where(data.targets > 0, 1.0, -1.0))"
        )


def _loss_remedy(loss: Any) -> str:
    """The advice in the error message for an argument that is not a loss."""
    if isinstance(loss, type) and issubclass(loss, Loss):
        return f"write lf.losses.{loss.__name__}({', '.join(f'{name}=...' for name in loss.parameters)})"
    if isinstance(loss, str):
        names = {name.replace("_", ""): kind for name, kind in ALL_LOSSES.items()}
        known = names.get(loss.lower().replace("_", "").replace("-", "").replace(" ", ""))
        return _loss_remedy(known) if known else "write a loss of lf.losses, such as lf.losses.Square()"
    if callable(loss):
        return "write lf.losses.Custom(function)"
    return "write a loss of lf.losses, such as lf.losses.Square()"
