"""Families of problems: what the library compiles once for, (network, activation, loss, weight decay, optimiser)."""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import lcnn_flow as lf
from lcnn_flow.losses.registry import ALL_LOSSES

from ..duals import Jet
from ..structure import Structure
from .formulas import MARGINS
from .network import Net, Objective, convolutional, dense

__all__ = ["FAMILIES", "Family", "architecture", "library_risk", "net_of", "objective_of", "structure_of"]


class Family(NamedTuple):
    """Problems of one shape."""

    widths: tuple[int, ...]
    """Of a dense network, or the channels of a convolutional one."""
    activation: str = "linear"
    loss: str = "square"
    kernels: tuple[int, ...] = ()
    """Of a convolutional network; empty for a dense one."""
    strides: tuple[int, ...] = ()
    bias: bool = False
    decay: bool = False
    outputs: int = 1
    """Output positions of a convolutional network."""
    samples: int = 8
    optimiser: str = ""
    """Empty for a flow."""
    batch: int | None = None

    def __str__(self) -> str:
        shape = f"conv {'x'.join(map(str, self.kernels))}, channels" if self.kernels else "dense"
        words = [f"{self.optimiser or 'flow'}: {shape} {self.widths}", self.activation, self.loss]
        words += ["bias"] * self.bias + ["weight decay"] * self.decay
        return ", ".join(words + [f"minibatches of {self.batch}"] * (self.batch is not None))

    @property
    def input_size(self) -> int:
        """Entries of one input."""
        if not self.kernels:
            return self.widths[0]
        size = self.outputs
        for kernel, stride in zip(reversed(self.kernels), reversed(self.strides), strict=True):
            size = (size - 1) * stride + kernel
        return size * self.widths[0]

    @property
    def margins(self) -> bool:
        """Whether targets are labels."""
        return self.loss in MARGINS

    @property
    def has_kinks(self) -> bool:
        """Whether the Hessian does not exist everywhere."""
        return self.activation in ("relu", "leaky_relu") or self.loss == "huber"

    @property
    def bounded(self) -> bool:
        """Whether (decay/2) |w|^2 <= L(0) bounds all flows."""
        return self.decay


def _conv(channels: tuple[int, ...], kernels: tuple[int, ...], activation: str, loss: str, **rest: Any) -> Family:
    return Family(channels, activation, loss, kernels, rest.pop("strides", (1,) * len(kernels)), **rest)


_SINGLE, _TWO = (1, 1, 1), (1, 2, 1)

FAMILIES = (
    _conv(_TWO, (3, 2), "tanh", "square", outputs=2),
    _conv(_TWO, (3, 2), "softplus", "square", outputs=2),
    _conv(_TWO, (2, 2), "gelu", "square"),
    _conv(_TWO, (3, 2), "power_2", "square"),
    _conv(_TWO, (3, 2), "leaky_relu", "square", outputs=2),
    _conv(_TWO, (3, 2), "relu", "square", outputs=2),
    _conv(_SINGLE, (2, 2), "tanh", "square", outputs=2),
    Family((2, 3, 1), "tanh", bias=True, samples=12),
    Family((2, 3, 1), "softplus", bias=True, samples=12),
    Family((3, 2, 2), "gelu"),
    Family((2, 3, 1), "power_2"),
    Family((2, 3, 1), "relu", bias=True, samples=12),
    Family((2, 3, 1), "leaky_relu", samples=12),
    Family((2, 2, 2), "linear", bias=True),
    Family((2, 2, 2, 1), "tanh", bias=True, samples=12),
    _conv(_SINGLE, (2, 2), "linear", "huber"),
    _conv(_SINGLE, (2, 2), "linear", "cauchy"),
    _conv(_SINGLE, (2, 2), "linear", "welsch"),
    _conv(_SINGLE, (2, 2), "linear", "geman_mcclure"),
    _conv(_SINGLE, (2, 2), "linear", "smooth_quantile"),
    _conv(_SINGLE, (3, 2), "linear", "cauchy", strides=(2, 1), outputs=2),
    _conv(_SINGLE, (2, 2), "linear", "logistic", outputs=2),
    _conv(_SINGLE, (3, 2), "linear", "exponential", strides=(2, 1), outputs=2),
    Family((2, 3, 1), "tanh", "logistic", bias=True),
    Family((2, 3, 1), "relu", "logistic"),
    _conv(_TWO, (2, 2), "softplus", "exponential", outputs=2),
    _conv(_SINGLE, (2, 2), "linear", "square", decay=True),
    Family((2, 3, 1), "tanh", bias=True, decay=True),
    _conv(_SINGLE, (3, 2), "linear", "welsch", decay=True),
    _conv(_SINGLE, (2, 2), "linear", "logistic", decay=True, outputs=2),
    Family((2, 2, 1), "softplus", "huber", bias=True, decay=True),
    Family((2, 3, 1), "tanh", "huber", bias=True),
    _conv(_TWO, (3, 2), "tanh", "cauchy", outputs=2),
    Family((2, 2, 1), "softplus", "smooth_quantile", bias=True),
    Family((2, 2, 1), "gelu", "welsch"),
    _conv(_SINGLE, (2, 2), "linear", "square", optimiser="sgd"),
    Family((2, 3, 1), "tanh", bias=True, optimiser="momentum"),
    _conv(_TWO, (3, 2), "softplus", "square", outputs=2, optimiser="adam"),
    _conv(_SINGLE, (2, 2), "linear", "logistic", outputs=2, optimiser="sgd"),
    Family((2, 3, 1), "tanh", bias=True, optimiser="sgd", batch=3),
    _conv(_SINGLE, (2, 2), "linear", "cauchy", optimiser="adam"),
    Family((2, 3, 1), "relu", bias=True, optimiser="sgd"),
    Family((2, 3, 1), "power_2", decay=True, optimiser="momentum"),
)
"""Flows first, then descents."""


@cache
def net_of(family: Family) -> Net:
    """The network, written anew."""
    if family.kernels:
        size = family.input_size // family.widths[0]
        return convolutional(size, family.kernels, family.strides, family.widths)
    return dense(family.widths, family.bias)


@cache
def objective_of(family: Family) -> Objective:
    """The risk, written anew."""
    return Objective(net_of(family), family.activation, family.loss)


@cache
def structure_of(family: Family) -> Structure:
    """The risk in the form that the reference of arbitrary functions takes."""
    objective = objective_of(family)

    def jet(x: Jet, data: dict[str, Any]) -> Jet:
        if x.h is None:
            return Jet(*objective.value_and_gradient(x.v, data), None)
        return Jet(*objective.derivatives(x.v, data))

    def unused(*_: Any) -> Any:
        raise NotImplementedError

    conserved = len(net_of(family).channels) if family.kernels else sum(family.widths[1:-1])
    degree = family.activation in ("linear", "relu", "leaky_relu", "power_2") and not family.decay
    return Structure(str(family), {}, unused, jet, unused, None, conserved if degree else 0)


def architecture(family: Family) -> Any:
    """The library's network."""
    known = lf.activations
    activations: dict[str, Any] = {
        "linear": None,
        "power_2": known.Power(2),
        "leaky_relu": known.leaky_relu(0.25),
        "tanh": known.tanh,
        "softplus": known.softplus,
        "gelu": known.gelu,
        "relu": known.relu,
    }
    sigma = activations[family.activation]
    if not family.kernels:
        return lf.Dense(family.widths, activation=sigma, bias=family.bias)
    single = all(c == 1 for c in family.widths)
    size = family.input_size // family.widths[0]
    channels = None if single else family.widths
    return lf.Architecture(size, family.kernels, family.strides, channels=channels, activation=sigma)


def library_risk(family: Family, data: dict[str, np.ndarray]) -> lf.EmpiricalRisk:
    """A batch of the library's risks, with an axis of conditions in front."""
    arch, kind = architecture(family), ALL_LOSSES[family.loss]

    def one(inputs: Any, targets: Any, numbers: Any, decay: Any) -> lf.EmpiricalRisk:
        loss = kind(*(numbers[i] for i in range(numbers.shape[0])))
        shaped = lf.Dataset(inputs.reshape(-1, *arch.sample_shape), targets.reshape(-1, *arch.output_shape))
        if family.decay:
            return lf.EmpiricalRisk(arch, loss, shaped, weight_decay=decay)
        patches = "patches" if family.batch and arch.is_linear else "auto"
        return lf.EmpiricalRisk(arch, loss, shaped, form=patches)

    return jax.jit(jax.vmap(one))(*(jnp.asarray(data[name]) for name in ("inputs", "targets", "numbers", "decay")))
