"""The empirical risk of a nonlinear network, of any with weight decay, and of margins in several output channels."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Real

from lcnn_flow.data import Dataset
from lcnn_flow.errors import RiskError
from lcnn_flow.losses.named import Square
from lcnn_flow.losses.registry import ALL_LOSSES
from lcnn_flow.network.dense import Dense, Network
from lcnn_flow.network.forward import forward
from lcnn_flow.numerics.arrays import DType, as_float_array, is_concrete
from lcnn_flow.risk.autodiff import AutodiffRisk
from lcnn_flow.risk.chain_rule import gradient, gradient_and_hessian
from lcnn_flow.risk.empirical import EmpiricalRisk, Form, has_many_margins, kind_of_risk, sample_weights
from lcnn_flow.risk.linear import risk_of_the_filter
from lcnn_flow.risk.outer import QuadraticForm
from lcnn_flow.symmetry.base import Symmetry
from lcnn_flow.symmetry.homogeneous import Homogeneous
from lcnn_flow.symmetry.none import NoSymmetry

__all__ = ["NetworkRisk"]


@kind_of_risk("general")
class NetworkRisk(EmpiricalRisk, AutodiffRisk):
    """A risk that is not a function of an end-to-end filter alone; created by `EmpiricalRisk`, with the same arguments.

    It is treated like any differentiable function, except that its symmetry is known: a positively homogeneous
    activation conserves one quantity per hidden channel. Other activations conserve nothing, and neither do flows with
    weight decay.
    """

    weight_decay: Array | None

    def __init__(
        self,
        arch: Network,
        loss: Any,
        data: Dataset,
        form: Form = "auto",
        weight_decay: Real[ArrayLike, "..."] | None = None,
    ) -> None:
        super().__init__(arch, loss, data, form, weight_decay)
        self.weight_decay = None if weight_decay is None else _decay(weight_decay, data.inputs.dtype)
        by_layers = not arch.is_linear or has_many_margins(arch, loss)
        if by_layers and form not in ("auto", "layers"):
            raise RiskError(f"form = {form!r} is for linear networks without margins of several channels: leave it out")
        if not by_layers and form != "layers":
            arrays = (data.inputs, data.targets, data.weights)
            reduced = isinstance(loss, Square) and form in ("auto", "reduced")
            self.filter_risk = risk_of_the_filter(arch, reduced, self.loss, arrays)

    def __repr__(self) -> str:
        decay = "" if self.weight_decay is None else f", weight_decay={_plain(self.weight_decay)}"
        return f"EmpiricalRisk({self.network!r}, {self.loss!r}, {self.data!r}{decay})"

    @property
    def form(self) -> Form:
        """The form of evaluation."""
        if self.filter_risk is None:
            return "layers"
        return "reduced" if isinstance(self.filter_risk, QuadraticForm) else "patches"

    @property
    def symmetry(self) -> Symmetry:
        """The symmetry of L for any data."""
        activation = self.network.activation
        degree = 1.0 if activation is None else activation.degree
        if self.weight_decay is not None or degree is None:
            return NoSymmetry()
        return Homogeneous(self.network, degree)

    @property
    def has_kinks(self) -> bool:
        """Whether the activation has a kink."""
        return self.network.activation is not None and self.network.activation.has_kink

    @property
    def can_saturate(self) -> bool:
        """Whether the activation is analytic and not homogeneous, such as tanh, softplus and gelu, or the loss does not
        grow without bound."""
        return self._activation_saturates or self._loss_saturates

    @property
    def _activation_saturates(self) -> bool:
        sigma = self.network.activation
        return sigma is not None and sigma.analytic and sigma.degree is None

    @property
    def _loss_saturates(self) -> bool:
        return self.loss.theory.coercive is not True

    @property
    def step_cost(self) -> int:
        """Approximate multiply-adds of one step of Rodas4: those of the Hessian and of the elimination."""
        n = self.network.num_parameters
        return 4 * n * n * self.num_samples + 2 * n**3

    def of_layers(self, layers: tuple[Any, ...]) -> Float[Array, ""]:
        """L at the arrays of parameters, one per layer; unchecked."""
        found = super().of_layers(layers)
        if self.weight_decay is None:
            return found
        return found + self.weight_decay / 2 * sum(jnp.sum(w**2) for w in layers)

    def gradient(self, vector: Float[Array, " n"]) -> Float[Array, " n"]:
        """grad L at the raveled parameters."""
        if self.filter_risk is None:
            return super().gradient(vector)
        assert self.weight_decay is not None
        return gradient(self.network.convolution(), self.filter_risk, vector) + self.weight_decay * vector

    def hessian(self, vector: Float[Array, " n"]) -> Float[Array, "n n"]:
        """Hess L at the raveled parameters, symmetric."""
        if self.filter_risk is None:
            return super().hessian(vector)
        assert self.weight_decay is not None
        matrix = gradient_and_hessian(self.network.convolution(), self.filter_risk, vector)[1]
        return (matrix + matrix.T) / 2 + self.weight_decay * jnp.eye(vector.size, dtype=vector.dtype)

    def largest_norm(self, start: Float[Array, " n"]) -> Float[Array, ""]:
        """Bound on |w(t)|: with weight decay and a loss of at least 0, (lambda/2) |w|^2 <= L(0); otherwise infinite."""
        infinite = jnp.asarray(jnp.inf, start.dtype)
        if self.weight_decay is None or type(self.loss) not in ALL_LOSSES.values():
            return infinite
        bound = jnp.sqrt(2 * self.value(start) / jnp.where(self.weight_decay > 0, self.weight_decay, 1))
        return jnp.where(self.weight_decay > 0, bound, infinite)

    def is_separated(self, vector: Float[Array, " n"]) -> Bool[Array, ""]:
        """As in `EmpiricalRisk`; false with weight decay, with which a critical point always exists."""
        found = super().is_separated(vector)
        return found if self.weight_decay is None else found & (self.weight_decay == 0)

    def distance_to_kink(self, vector: Float[Array, " n"]) -> Float[Array, ""]:
        """Distance in parameters to the nearest point at which the Hessian does not exist, to first order.

        Infinite for activations without a kink. Otherwise the smallest |z| / |dz/dw| over samples and hidden neurons,
        where z is the input of the activation; neurons whose z does not depend on the parameters are ignored.
        """
        if not self.has_kinks:
            return super().distance_to_kink(vector)

        def add(so_far: Array, direction: Array) -> tuple[Array, None]:
            return so_far + jax.jvp(self._hidden, (vector,), (direction,))[1] ** 2, None

        values = self._hidden(vector)
        squares = lax.scan(add, jnp.zeros_like(values), jnp.eye(vector.size, dtype=vector.dtype))[0]
        far = jnp.abs(values) / jnp.sqrt(jnp.where(squares > 0, squares, 1))
        return jnp.min(jnp.where(squares > 0, far, jnp.inf), initial=jnp.inf)

    def activation_signs(self, vector: Float[Array, " n"]) -> Float[Array, " k"]:
        """1 where the input of an activation is positive, 0 elsewhere, for every sample; empty without kinks."""
        if not self.has_kinks:
            return super().activation_signs(vector)
        return (self._hidden(vector) > 0).astype(vector.dtype)

    def is_saturated(self, vector: Float[Array, " n"]) -> Bool[Array, ""]:
        """Whether sigma'' is at most the square root of the rounding unit for some neuron on all samples, or on all
        samples that are not fitted; or the loss of some sample is saturated.

        The gradient of a sample that is not fitted then depends on that neuron by less than rounding. Inputs z with
        |z| < 1 do not count: sigma'' of tanh vanishes at 0. A neuron of a convolutional network is one channel, at all
        of its positions. A loss is saturated where |rho'| is that much smaller than |rho'(0)| + |r| rho''(0), as that
        of Welsch is at an outlier.
        """
        sigma: Any = self.network.activation
        level, axis = float(jnp.finfo(vector.dtype).eps) ** 0.5, 1 if isinstance(self.network, Dense) else 0

        def second(z: Array) -> Array:
            def first(x: Array) -> Array:
                return jax.jvp(sigma, (x,), (jnp.ones_like(x),))[1]

            return jax.jvp(first, (z,), (jnp.ones_like(z),))[1]

        outputs, inputs = forward(self.network, self.space.unravel(vector), self.data.inputs)
        found = jnp.any(self._flat_losses(outputs, level)) if self._loss_saturates else jnp.asarray(False)
        if not self._activation_saturates:
            return found
        unfitted = self._pulls(outputs) > level * jnp.max(self._pulls(jnp.zeros_like(outputs)))
        for z in inputs:
            flat = jnp.moveaxis((jnp.abs(z) >= 1) & (jnp.abs(second(z)) <= level), axis, 0)
            flat = jnp.all(flat.reshape(*flat.shape[:2], -1), axis=2)  # by neuron and sample
            found |= jnp.any(jnp.all(flat, axis=1))
            found |= jnp.any(unfitted) & jnp.any(jnp.all(flat | ~unfitted[None], axis=1))
        return found

    def _flat_losses(self, outputs: Float[Array, "m ..."], level: float) -> Bool[Array, "m ..."]:
        """Whether the loss of an output is saturated, for samples of positive weight."""
        arguments = self.loss.argument(outputs, self.data.targets)
        zero, derivative = jnp.zeros_like(arguments), self.loss.derivative
        expected = jnp.abs(derivative(zero)) + jnp.abs(arguments * self.loss.second_derivative(zero))
        flat = jnp.abs(derivative(arguments)) < level * expected
        weights = sample_weights(self.data).reshape(-1, *[1] * (flat.ndim - 1))
        return flat & (weights > 0)

    def _pulls(self, outputs: Float[Array, "m ..."]) -> Float[Array, " m"]:
        """The largest |rho'| of every sample with these outputs; 0 for samples of weight 0."""
        slopes = jnp.abs(self.loss.derivative(self.loss.argument(outputs, self.data.targets)))
        largest = jnp.max(slopes.reshape(slopes.shape[0], -1), axis=1)
        return jnp.where(sample_weights(self.data) > 0, largest, 0)

    def _hidden(self, vector: Float[Array, " n"]) -> Float[Array, " k"]:
        """The inputs of the activations in all hidden layers, for every sample."""
        found = forward(self.network, self.space.unravel(vector), self.data.inputs)[1]
        return jnp.concatenate([jnp.ravel(z) for z in found]) if found else jnp.zeros((0,), vector.dtype)


def _decay(value: ArrayLike, dtype: DType) -> Array:
    """Weight decay as an array of the type of the data; raises RiskError if it is negative or not finite."""
    number = as_float_array(value).astype(dtype)
    if is_concrete(number) and not bool(np.all(np.isfinite(np.asarray(number)) & (np.asarray(number) >= 0))):
        raise RiskError(f"weight_decay = {value!r} must be finite and at least 0")
    return number


def _plain(value: Array) -> str | Array:
    return f"{float(value):g}" if is_concrete(value) and jnp.ndim(value) == 0 else value
