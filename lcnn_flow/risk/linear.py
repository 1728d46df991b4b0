"""The empirical risk of a linear network, its gradient and Hessian, by the end-to-end filter.

With the end-to-end filter v = pi(w) and the risk l of the end-to-end filter (`filter_risk`), L = l o pi, so
grad L = J^T grad l(v) and Hess L = J^T l''(v) J + sum_i (grad l)_i Hess pi_i, J = dv/dw. A deep linear dense network is
the convolutional one with filters and inputs of length 1, and its end-to-end filter the product of its matrices.
"""

import math
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Real

from lcnn_flow.arguments import check_kind
from lcnn_flow.data import Dataset
from lcnn_flow.errors import RiskError
from lcnn_flow.losses.named import Lp, Square
from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.dense import Network
from lcnn_flow.network.forward import patches
from lcnn_flow.network.parameters import layer_norms, spread, unravel
from lcnn_flow.numerics.compiling import quick_to_compile
from lcnn_flow.risk.base import check_single
from lcnn_flow.risk.bounds import bound_from
from lcnn_flow.risk.chain_rule import filter_columns, filter_rows, gradient, gradient_and_hessian
from lcnn_flow.risk.cost import gradient_cost, moments_pay, step_cost
from lcnn_flow.risk.empirical import EmpiricalRisk, Form, sample_weights
from lcnn_flow.risk.lane_forms import MomentDriver, NormalDriver, PatchDriver
from lcnn_flow.risk.outer import PatchForm, QuadraticForm
from lcnn_flow.symmetry.gauge import ChannelGauge
from lcnn_flow.symmetry.invariants import symmetry_of
from lcnn_flow.symmetry.rescaling import LayerRescaling

__all__ = ["LinearRisk", "check_linear", "risk_of_the_filter", "to_patches"]


class LinearRisk(EmpiricalRisk):
    """The empirical risk of a linear network; arguments as of `EmpiricalRisk`, which makes it."""

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
        """What leaves L unchanged whatever the data."""
        return symmetry_of(self.arch)

    def __repr__(self) -> str:
        return f"EmpiricalRisk({self.network!r}, {self.loss!r}, {self.data!r}, form={self.form!r})"

    @property
    def table_shape(self) -> tuple[int, int, int]:
        """Shape of the regression in the end-to-end filter: rows, columns q, output channels c."""
        channels = (1, 1) if self.arch.channels is None else (self.arch.channels[0], self.arch.channels[-1])
        rows = self.num_samples * math.prod(self.arch.spatial_shapes[-1])
        return rows, math.prod(self.arch.end_to_end_kernel_size) * channels[0], channels[1]

    @property
    def gradient_cost(self) -> int:
        """Multiply-adds of one gradient, see `cost`."""
        return gradient_cost(*self._cost_arguments())

    @property
    def step_cost(self) -> int:
        """Multiply-adds of one step of Rodas4, see `cost`."""
        return step_cost(*self._cost_arguments())

    def _cost_arguments(self) -> tuple:
        form = "patches" if self.form == "layers" else self.form
        return self.arch, form, *self.table_shape, getattr(self.loss, "p", 2)

    def _choose(self) -> Form:
        rows, q, c = self.table_shape
        if isinstance(self.loss, Square) and rows > q:
            return "reduced"
        return "moments" if isinstance(self.loss, Lp) and moments_pay(self.loss.p, rows, q, c) else "patches"

    def __call__(self, params: Any) -> Float[Array, ""]:
        """L(w); ArchitectureError where shapes of params do not fit."""
        layers = self.layers(params)
        if len(layers) != self.arch.depth:
            self.check_params(params)
        return self.of_layers(layers)

    def gradient(self, vector: Real[ArrayLike, "n ..."]) -> Float[Array, "n ..."]:
        """grad L at the raveled filters `vector`, raveled (see `network.ravel`)."""
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
        """l, the risk as a function of the end-to-end filter; for `form="layers"` reduced on the spot."""
        if self.filter_risk is not None:
            return self.filter_risk
        return to_patches(self.network, self.loss, self.data, self.share)

    def image(self, vector: Float[Array, "n ..."]) -> Float[Array, "c q ..."]:
        """The end-to-end filter, one row an output channel."""
        return filter_rows(self.arch, unravel(self.arch, vector))

    def image_jacobian(self, vector: Float[Array, " n"]) -> Float[Array, "cq n"]:
        """J = dv/dw at the raveled filters, rows in the memory order of the end-to-end filter."""
        return filter_columns(self.arch, vector).reshape(-1, vector.size)

    def layer_scales(self, vector: Float[Array, "n ..."]) -> Float[Array, "N ..."]:
        """Size that the gradient in each layer would have at `vector` if nothing cancelled; units of the gradient.

        prod_{m != l} |w_m| * rms|p_i| * rms rho'(|P v| + |y|), p_i the patches: by Cauchy-Schwarz a bound on the
        gradient in layer l, up to a factor that depends on filter sizes alone. Tolerances on the gradient are
        relative to it, so that units of data and filters change no verdict.
        """
        form = self.outer
        norms = layer_norms(self.arch, vector)
        others = [math.prod([norms[m] for m in range(self.arch.depth) if m != i], start=1.0) for i in range(len(norms))]
        slope = form.slope(self.image(vector))
        return jnp.stack([jnp.broadcast_to(x, slope.shape) for x in others]) * (form.patch_size * slope)[None]

    def units(self, vector: Float[Array, "n ..."], start: Any = None) -> Float[Array, "n ..."]:
        """|w_l| for every entry of layer l: the units in which thresholds do not see how norms are shared out.

        A filter that tends to zero has no unit of its own. Where the end-to-end filter all but vanishes (the product of
        norms is below sqrt(eps) times that of filters that fit the targets, or the targets are zero), layers smaller
        than sqrt(eps) times the largest, or than filters that fit the targets, get the larger of these two as their
        unit. The unit is 1 if there is none. The start plays no part.
        """
        del start
        norms = layer_norms(self.arch, vector)
        tiny, fitting = jnp.sqrt(jnp.finfo(vector.dtype).eps), self.parameter_scale()
        reference = jnp.maximum(jnp.max(norms, axis=0), fitting)[None]
        fits = fitting**self.arch.depth
        gone = (jnp.prod(norms, axis=0)[None] <= tiny * fits) | (fits == 0)
        vanishing = gone & (norms <= tiny * reference)
        fallback = jnp.where(reference > 0, reference, 1)
        return spread(self.arch, jnp.where(vanishing | (norms == 0), fallback, norms))

    def parameter_scale(self, start: Any = None) -> Float[Array, ""]:
        """Size of a filter that fits the targets: (rms target / rms patch)^(1/N); 0 for zero targets."""
        del start
        form = self.outer
        size = jnp.where(form.patch_size > 0, form.patch_size, 1)
        return (form.target_size / size) ** (1 / self.arch.depth)

    def largest_norm(self, start: Float[Array, " n"]) -> Float[Array, ""]:
        """Bound on |w(t)| of all filters together for all t >= 0; infinite where `theory.norm_bound` has none."""
        known = self.arch.channels is None and self.loss.theory.coercive is True
        if not known or not hasattr(self.loss, "largest_residual"):
            return jnp.asarray(jnp.inf, start.dtype)
        form = self.outer
        filters = unravel(self.arch, start)
        return jnp.linalg.norm(bound_from(self.arch, self.loss, filters, form, form.smallest_singular_value))

    def curvature_scale(self, vector: Float[Array, " n"]) -> Float[Array, ""]:
        """Size of the Hessian in `units` if nothing cancelled in the residuals: trace of l'' there, times |w_l|^2."""
        return self.outer.steepness(self.image(vector)) * jnp.prod(layer_norms(self.arch, vector)) ** 2

    def contrast(self, vector: Float[Array, "n ..."]) -> Float[Array, "..."]:
        """Size of the residuals in units of the width of the well of the loss, at least 1; dimensionless.

        |P v| + |y| over rho'/rho''(0), root mean squares: 1 for the square loss, large where the loss is flat but for
        a narrow well. 1 for l_p, which is the same on all scales.
        """
        one = jnp.ones(vector.shape[1:], vector.dtype)
        form = self.outer
        if isinstance(self.loss, Square | Lp) or isinstance(form, QuadraticForm):
            return one
        V = self.image(vector)
        slope = form.slope(V)
        found = form.size(V) * self.loss.second_derivative(jnp.zeros((), vector.dtype))
        found = found / jnp.where(slope > 0, slope, jnp.inf)
        return jnp.maximum(jnp.where(jnp.isfinite(found), found, 1), one)

    def end_to_end_filter(self, vector: Float[Array, " n"]) -> Float[Array, "..."]:
        """v with the shape `network.end_to_end_filter_shape`."""
        return self.image(vector).reshape(self.network.end_to_end_filter_shape)

    def driver(self, lanes: int) -> NormalDriver | PatchDriver | MomentDriver:
        """The risk of the end-to-end filter in the form that drives `lanes` flows side by side, see `lane_forms`."""
        form = self.outer
        if isinstance(form, QuadraticForm):
            return NormalDriver(form)
        return MomentDriver.of(form) if self.form == "moments" else PatchDriver.of(form, lanes)

    def without_data(self) -> "LinearRisk":
        """The same function of the filters, without samples that its form has made superfluous: less to copy around."""
        if self.filter_risk is None:
            return self
        return eqx.tree_at(lambda risk: risk.data, self, None)


@partial(quick_to_compile, keep=False)
def risk_of_the_filter(network: Network, reduced: bool, loss: Any, arrays: tuple) -> PatchForm | QuadraticForm:
    """The form of inputs, targets and weights, by one program: its operations one by one would be twenty."""
    table = to_patches(network, loss, Dataset(*arrays))
    return QuadraticForm(table.patches, table.targets, table.weights) if reduced else table


def to_patches(network: Network, loss: Any, data: Dataset, share: Any = None) -> PatchForm:
    """The risk of a linear network as one of its end-to-end filter, by the patch matrix; times `share`, if there is."""
    arch = network.convolution()
    windows = patches(arch, data.inputs.reshape(data.inputs.shape[0], *arch.sample_shape))
    count, outputs, width = windows.shape
    targets = data.targets.reshape(count, -1, outputs)  # samples, output channels, positions
    targets = jnp.swapaxes(targets, 1, 2).reshape(count * outputs, -1)
    weights = jnp.repeat(sample_weights(data), outputs)
    weights = weights if share is None else share * weights
    return PatchForm(loss, windows.reshape(count * outputs, width), targets, weights)


def check_linear(function: str, risk: Any, batch: str | None = None) -> LinearRisk:
    """The risk if it is a LinearRisk, a single one where `batch` says what to write for many; else RiskError."""
    if isinstance(risk, EmpiricalRisk) and not isinstance(risk, LinearRisk):
        why = "has weight decay" if risk.network.is_linear else f"is one of {risk.network!r}"
        raise RiskError(f"{function}: the theory is that of linear networks without weight decay, and this risk {why}")
    remedy = f"write lf.EmpiricalRisk(arch, loss, data), and {function}(risk, ...)"
    check_kind(function, "risk", risk, LinearRisk, remedy, RiskError)
    if batch is not None:
        check_single(function, risk, batch)
    return risk
