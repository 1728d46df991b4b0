"""The empirical risk of a linear network, its gradient and Hessian, computed from the end-to-end filter.

With the end-to-end filter v = pi(w) and the risk l of the end-to-end filter (`filter_risk`), L = l o pi, so grad L =
J^T grad l(v) and Hess L = J^T l''(v) J + sum_i (grad l)_i Hess pi_i, J = dv/dw. A deep linear dense network is a
convolutional one with filters and inputs of length 1, whose end-to-end filter is the product of the matrices.
"""

import math
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree, Real

from lcnn_flow.arguments import check_kind
from lcnn_flow.data import Dataset
from lcnn_flow.errors import RiskError
from lcnn_flow.losses.base import Loss
from lcnn_flow.losses.classification import MarginLoss
from lcnn_flow.losses.named import Lp, Square
from lcnn_flow.losses.registry import ALL_LOSSES
from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.dense import Network
from lcnn_flow.network.forward import patches
from lcnn_flow.network.parameters import layer_norms, per_entry, unravel
from lcnn_flow.numerics.compiling import quick_to_compile
from lcnn_flow.risk.base import check_single
from lcnn_flow.risk.bounds import bound_from
from lcnn_flow.risk.chain_rule import filter_columns, filter_rows, gradient, gradient_and_hessian
from lcnn_flow.risk.cost import gradient_cost, moments_pay, step_cost
from lcnn_flow.risk.empirical import EmpiricalRisk, Form, has_many_margins, kind_of_risk, sample_weights
from lcnn_flow.risk.lane_forms import MomentDriver, NormalDriver, PatchDriver
from lcnn_flow.risk.outer import PatchForm, QuadraticForm
from lcnn_flow.symmetry.gauge import ChannelGauge
from lcnn_flow.symmetry.invariants import symmetry_of
from lcnn_flow.symmetry.rescaling import LayerRescaling

__all__ = ["LinearRisk", "check_linear", "risk_of_the_filter", "to_patches"]


@kind_of_risk("linear")
class LinearRisk(EmpiricalRisk):
    """The empirical risk of a linear network; created by `EmpiricalRisk`, with the same arguments."""

    form: Form = eqx.field(static=True)
    knows_scales = True

    def __init__(self, arch: Network, loss: Any, data: Dataset, form: Form = "auto", weight_decay: None = None) -> None:
        super().__init__(arch, loss, data, form, weight_decay)
        self.form = form = self._choose() if form == "auto" else form
        if form != "layers":
            arrays = (data.inputs, data.targets, data.weights)
            self.filter_risk = risk_of_the_filter(self.network, form == "reduced", self.loss, arrays)

    @property
    def arch(self) -> Architecture:
        """The network as a convolution."""
        return self.network.convolution()

    @property
    def symmetry(self) -> LayerRescaling | ChannelGauge:
        """The symmetry of L for any data."""
        return symmetry_of(self.arch)

    def __repr__(self) -> str:
        return f"EmpiricalRisk({self.network!r}, {self.loss!r}, {self.data!r}, form={self.form!r})"

    @property
    def tested_with_older_emitter(self) -> bool:
        """Whether L is computed by formulas of this library alone, see `numerics.compiling`."""
        return self.form != "layers" and type(self.loss) in ALL_LOSSES.values()

    @property
    def table_shape(self) -> tuple[int, int, int]:
        """Shape of the regression problem for the end-to-end filter: rows, columns q, output channels c."""
        return self.num_samples * math.prod(self.arch.spatial_shapes[-1]), *self._filter_shape

    @property
    def _filter_shape(self) -> tuple[int, int]:
        channels = (1, 1) if self.arch.channels is None else (self.arch.channels[0], self.arch.channels[-1])
        return math.prod(self.arch.end_to_end_kernel_size) * channels[0], channels[1]

    @property
    def gradient_cost(self) -> int:
        """Multiply-adds of one gradient, see `cost`."""
        return gradient_cost(*self._cost_arguments())

    @property
    def step_cost(self) -> int:
        """Multiply-adds of one step of Rodas4, see `cost`."""
        return step_cost(*self._cost_arguments())

    def _cost_arguments(self) -> tuple[Any, ...]:
        form = "patches" if self.form == "layers" else self.form
        rows = 0 if form == "reduced" else self.table_shape[0]  # of which the reduced form is independent
        return self.arch, form, rows, *self._filter_shape, getattr(self.loss, "p", 2)

    def _choose(self) -> Form:
        rows, q, c = self.table_shape
        if isinstance(self.loss, Square) and rows > q:
            return "reduced"
        return "moments" if isinstance(self.loss, Lp) and moments_pay(self.loss.p, rows, q, c) else "patches"

    def __call__(self, params: PyTree) -> Float[Array, ""]:
        """L(w); raises ArchitectureError if shapes of params do not fit."""
        layers = self.layers(params)
        if len(layers) != self.arch.depth:
            self.check_params(params)
        return self.of_layers(layers)

    def value(self, vector: Float[Array, "n ..."]) -> Float[Array, "..."]:
        """L at the raveled filters `vector`."""
        if self.filter_risk is None:
            return super().value(vector)
        return self.filter_risk.value(self.image(vector))

    def gradient(self, vector: Real[ArrayLike, "n ..."]) -> Float[Array, "n ..."]:
        """grad L at the raveled filters `vector`, as a vector (see `network.ravel`)."""
        vector = jnp.asarray(vector)
        if self.filter_risk is None:
            return jax.grad(self.value)(vector)
        return gradient(self.arch, self.filter_risk, vector)

    def hessian(self, vector: Real[ArrayLike, " n"]) -> Float[Array, "n n"]:
        """Hess L at the raveled filters `vector`, symmetric."""
        vector = jnp.asarray(vector)
        if self.filter_risk is None:
            return jax.hessian(self.value)(vector)
        matrix = gradient_and_hessian(self.arch, self.filter_risk, vector)[1]
        return (matrix + matrix.T) / 2

    @property
    def outer(self) -> PatchForm | QuadraticForm:
        """The risk l as a function of the end-to-end filter; for `form="layers"` it is computed from the data at each
        access."""
        if self.filter_risk is not None:
            return self.filter_risk
        return to_patches(self.network, self.loss, self.data, self.share)

    def image(self, vector: Float[Array, "n ..."]) -> Float[Array, "c q ..."]:
        """The end-to-end filter, one row per output channel."""
        return filter_rows(self.arch, unravel(self.arch, vector))

    def image_jacobian(self, vector: Float[Array, " n"]) -> Float[Array, "cq n"]:
        """J = dv/dw at the raveled filters, with rows in the memory order of the end-to-end filter."""
        return filter_columns(self.arch, vector).reshape(-1, vector.size)

    def layer_scales(self, vector: Float[Array, "n ..."]) -> Float[Array, "N ..."]:
        """Size that the gradient in each layer would have at `vector` without cancellation, in units of the gradient.

        prod_{m != l} |w_m| * rms|p_i| * rms rho'(|P v| + |y|), where p_i are the patches. By Cauchy-Schwarz this bounds
        the gradient in layer l, up to a factor that depends on filter sizes only. Tolerances on the gradient are
        relative to it, so that units of data and filters do not influence verdicts.
        """
        form = self.outer
        norms = layer_norms(self.arch, vector)
        others = [math.prod([norms[m] for m in range(self.arch.depth) if m != i], start=1.0) for i in range(len(norms))]
        derivative = form.rms_derivative(self.image(vector))
        return jnp.stack([jnp.broadcast_to(x, derivative.shape) for x in others]) * (form.patch_size * derivative)[None]

    def units(self, vector: Float[Array, "n ..."], start: Float[Array, "n ..."] | None = None) -> Float[Array, "n ..."]:
        """|w_l| for every entry of layer l: in these units thresholds do not depend on how norms are distributed over
        layers.

        A filter that tends to zero defines no unit. The end-to-end filter counts as vanishing if the product of norms
        is below sqrt(eps) times that of filters that fit the targets, or if the targets are zero. In that case layers
        smaller than sqrt(eps) times a reference size get the reference size as their unit: the larger of the largest
        norm and the size of filters that fit the targets, or 1 if both are zero. `start` is not used.
        """
        del start
        norms = layer_norms(self.arch, vector)
        tiny, fitting = jnp.sqrt(jnp.finfo(vector.dtype).eps), self.parameter_scale()
        reference = jnp.maximum(jnp.max(norms, axis=0), fitting)[None]
        fits = fitting**self.arch.depth
        gone = (jnp.prod(norms, axis=0)[None] <= tiny * fits) | (fits == 0)
        vanishing = gone & (norms <= tiny * reference)
        fallback = jnp.where(reference > 0, reference, 1)
        return per_entry(self.arch, jnp.where(vanishing | (norms == 0), fallback, norms))

    def parameter_scale(self, start: Float[Array, "n ..."] | None = None) -> Float[Array, ""]:
        """Size of a filter that fits the targets: (rms target / rms patch)^(1/N); 0 for zero targets.

        Losses of the margin are given targets 0, and their curvature changes over margins of size 1.
        """
        del start
        form = self.outer
        size = jnp.where(form.patch_size > 0, form.patch_size, 1)
        target = 1.0 if isinstance(self.loss, MarginLoss) else form.target_size
        return (target / size) ** (1 / self.arch.depth)

    def largest_norm(self, start: Float[Array, " n"]) -> Float[Array, ""]:
        """Bound on |w(t)| of all filters together for all t >= 0; infinite if `theory.norm_bound` gives none."""
        known = self.arch.channels is None and self.loss.theory.coercive is True
        if not known or not hasattr(self.loss, "largest_residual"):
            return jnp.asarray(jnp.inf, start.dtype)
        form = self.outer
        filters = unravel(self.arch, start)
        return jnp.linalg.norm(bound_from(self.arch, self.loss, filters, form, form.smallest_singular_value))

    def curvature_scale(self, vector: Float[Array, " n"]) -> Float[Array, ""]:
        """Size that the Hessian in `units` would have without cancellation in the residuals: trace of l'' times prod
        |w_l|^2."""
        return self.outer.largest_trace(self.image(vector)) * jnp.prod(layer_norms(self.arch, vector)) ** 2

    def contrast(self, vector: Float[Array, "n ..."]) -> Float[Array, "..."]:
        """Size of the residuals relative to the width of the minimum of the loss, at least 1; dimensionless.

        |P v| + |y| divided by rho'/rho''(0), as root mean squares: 1 for the square loss, and large for a loss that is
        flat except in a narrow interval around 0. 1 for l_p, which has no scale.
        """
        one = jnp.ones(vector.shape[1:], vector.dtype)
        form = self.outer
        if isinstance(self.loss, Square | Lp) or isinstance(form, QuadraticForm):
            return one
        V = self.image(vector)
        if isinstance(self.loss, MarginLoss):  # rho changes on the scale of 1
            return jnp.maximum(form.size(V), one)
        derivative = form.rms_derivative(V)
        found = form.size(V) * self.loss.second_derivative(jnp.zeros((), vector.dtype))
        found = found / jnp.where(derivative > 0, derivative, jnp.inf)
        return jnp.maximum(jnp.where(jnp.isfinite(found), found, 1), one)

    def end_to_end_filter(self, vector: Float[Array, " n"]) -> Float[Array, "..."]:
        """The end-to-end filter with the shape `network.end_to_end_filter_shape`."""
        return self.image(vector).reshape(self.network.end_to_end_filter_shape)

    def driver(self, lanes: int) -> NormalDriver | PatchDriver | MomentDriver:
        """The risk of the end-to-end filter in the form that evaluates `lanes` flows at once, see `lane_forms`."""
        form = self.outer
        if isinstance(form, QuadraticForm):
            return NormalDriver(form)
        return MomentDriver.of(form) if self.form == "moments" else PatchDriver.of(form, lanes)

    def without_data(self) -> "LinearRisk":
        """The same function of the filters, without the samples if its form does not need them, so that less is
        copied."""
        if self.filter_risk is None:
            return self
        return eqx.tree_at(lambda risk: risk.data, self, None)


@partial(quick_to_compile, keep=False)
def risk_of_the_filter(
    network: Network, reduced: bool, loss: Loss, arrays: tuple[Any, ...]
) -> PatchForm | QuadraticForm:
    """The risk as a function of the end-to-end filter, from inputs, targets and weights; compiled as one program.

    With `reduced`, patches and targets are reduced to the size of the filter by a QR decomposition.
    """
    table = to_patches(network, loss, Dataset(*arrays))
    return QuadraticForm(table.patches, table.targets, table.weights) if reduced else table


def to_patches(network: Network, loss: Loss, data: Dataset, share: Array | None = None) -> PatchForm:
    """The risk of a linear network as a function of its end-to-end filter, by the patch matrix; times `share` if given.

    Margins y_i p_i . v are residuals of the windows y_i p_i with targets 0, for a single output channel.
    """
    arch = network.convolution()
    windows = patches(arch, data.inputs.reshape(data.inputs.shape[0], *arch.sample_shape))
    count, outputs, width = windows.shape
    targets = data.targets.reshape(count, -1, outputs)  # samples, output channels, positions
    targets = jnp.swapaxes(targets, 1, 2).reshape(count * outputs, -1)
    weights = jnp.repeat(sample_weights(data), outputs)
    weights = weights if share is None else share * weights
    rows = windows.reshape(count * outputs, width)
    if isinstance(loss, MarginLoss):
        rows, targets = targets * rows, jnp.zeros_like(targets)
    return PatchForm(loss, rows, targets, weights)


def check_linear(function: str, risk: Any, batch: str | None = None) -> LinearRisk:
    """Returns the risk; raises RiskError unless it is a `LinearRisk`.

    If `batch` is given, batches of risks are refused, and `batch` says what to write for them.
    """
    if isinstance(risk, EmpiricalRisk) and not isinstance(risk, LinearRisk):
        why = f"is that of {risk.network!r}"
        if risk.network.is_linear:
            several = "has a margin loss on several output channels"
            why = several if has_many_margins(risk.network, risk.loss) else "has weight decay"
        raise RiskError(f"{function}: the theory holds for linear networks without weight decay, but this risk {why}")
    remedy = f"write lf.EmpiricalRisk(arch, loss, data), and {function}(risk, ...)"
    check_kind(function, "risk", risk, LinearRisk, remedy, RiskError)
    if batch is not None:
        check_single(function, risk, batch)
    return risk
