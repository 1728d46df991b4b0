"""A network, its data and its loss as plain numbers, for arithmetic on the host and in worker processes.

Every layer is a list of terms: output o is the sum over its terms of the parameter p times the input i. That holds for
convolutions with any strides, channels and padding, and for matrices; a bias is multiplied by the constant 1.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lcnn_flow.losses.classification import MarginLoss
from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.dense import Dense, Network
from lcnn_flow.risk.empirical import EmpiricalRisk
from lcnn_flow.risk.linear import LinearRisk

__all__ = ["ONE", "PlainLayer", "PlainNetwork", "conserved_forms", "layer_terms", "plain_network"]

ONE = -1
"""The number of the input of a bias."""


@dataclass(frozen=True)
class PlainLayer:
    """One layer: z_o = sum of w_p a_i over its terms."""

    outputs: int
    inputs: int
    terms: tuple[tuple[int, int, int], ...]
    """(o, p, i): output, parameter among all parameters of the network, input or `ONE`."""


@dataclass(frozen=True, eq=False)
class PlainNetwork:
    """The risk of a network as plain arrays of the host, free of jax: may be sent to other processes."""

    layers: tuple[PlainLayer, ...]
    sizes: tuple[int, ...]
    """Number of entries of every array of parameters."""
    activation: str
    """Its name, "identity" for a linear network."""
    activation_numbers: tuple[float, ...]
    conserved: np.ndarray
    """(k, n): coefficients f of the quantities sum_i f_ji w_i^2 that gradient flow conserves."""
    loss: str
    numbers: Mapping[str, float]
    inputs: np.ndarray
    """(samples, d_0), flat."""
    signs: np.ndarray
    """(samples, d_N), flat: rho is taken of sign times output minus target; labels of a margin loss, else 1."""
    targets: np.ndarray
    """(samples, d_N), flat; 0 for a margin loss."""
    weights: np.ndarray
    """(samples,); they count relative to their sum."""
    decay: float
    """lambda: the risk has the summand (lambda/2) |w|^2."""

    @property
    def num_conserved(self) -> int:
        """Number of quantities that gradient flow conserves."""
        return len(self.conserved)


def plain_network(risk: EmpiricalRisk) -> PlainNetwork:
    """The numbers of the risk of any network; neither a batch of risks nor a minibatch."""
    network, data, loss = risk.network, risk.data, risk.loss
    samples = len(data.inputs)
    decay = getattr(risk, "weight_decay", None)
    targets = np.asarray(data.targets, float).reshape(samples, -1)
    signs = np.ones_like(targets)
    if isinstance(loss, MarginLoss):
        signs, targets = targets, np.zeros_like(targets)
    activation = network.activation
    conserved = np.zeros((0, network.num_parameters))
    degree = 1.0 if activation is None else activation.degree
    if degree is not None and not decay:
        conserved = conserved_forms(network, degree)
    if isinstance(risk, LinearRisk):  # Q_l of `symmetry.gauge`, which has the other sign
        conserved = -conserved
    return PlainNetwork(
        layers=layer_terms(network),
        sizes=tuple(int(np.prod(shape)) for shape in network.layer_shapes),
        activation="identity" if activation is None else activation.name,
        activation_numbers=() if activation is None else activation.numbers,
        conserved=conserved,
        loss=loss.name,
        numbers={name: float(getattr(loss, name)) for name in loss.parameters},
        inputs=np.asarray(data.inputs, float).reshape(samples, -1),
        signs=signs,
        targets=targets,
        weights=np.ones(samples) if data.weights is None else np.asarray(data.weights, float),
        decay=0.0 if decay is None else float(decay),
    )


def layer_terms(network: Network) -> tuple[PlainLayer, ...]:
    """The layers of a network as lists of terms."""
    numbers = _numbered(network)
    if isinstance(network, Dense):
        return tuple(_matrix(w, b) for w, b in zip(*_weights_and_biases(network, numbers), strict=True))
    return tuple(_convolution(network, layer, w) for layer, w in enumerate(numbers))


def conserved_forms(network: Network, degree: float) -> np.ndarray:
    """Coefficients (k, n) of |W_in|^2 + b^2 - p |W_out|^2 = sum_i f_ji w_i^2, one row per hidden channel.

    As `symmetry.homogeneous`, for an activation that is positively homogeneous of the degree p.
    """
    weights, biases = _weights_and_biases(network, _numbered(network))
    rows = []
    for below, bias, above in zip(weights[:-1], biases[:-1], weights[1:], strict=True):
        for channel in range(len(below)):
            row = np.zeros(network.num_parameters)
            row[below[channel]] = 1.0
            row[above[:, channel]] = -degree
            if bias is not None:
                row[bias[channel]] = 1.0
            rows.append(row)
    return np.array(rows).reshape(-1, network.num_parameters)


def _numbered(network: Network) -> list[np.ndarray]:
    """For every array of parameters, the numbers of its entries among all parameters."""
    ends = np.cumsum([0, *(int(np.prod(shape)) for shape in network.layer_shapes)])
    return [
        np.arange(first, end).reshape(shape)
        for first, end, shape in zip(ends[:-1], ends[1:], network.layer_shapes, strict=True)
    ]


def _weights_and_biases(
    network: Network, numbers: list[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray] | list[None]]:
    """Numbers of the weights, (outputs, inputs, ...) in every layer, and of the biases; None without biases."""
    weights = numbers[::2] if network.bias else numbers
    if network.has_single_channel:
        weights = [w[None, None] for w in weights]
    return weights, numbers[1::2] if network.bias else [None] * len(weights)


def _matrix(weights: np.ndarray, biases: np.ndarray | None) -> PlainLayer:
    outputs, inputs = weights.shape
    terms = [(o, int(weights[o, i]), i) for o in range(outputs) for i in range(inputs)]
    if biases is not None:
        terms += [(o, int(p), ONE) for o, p in enumerate(biases)]
    return PlainLayer(outputs, inputs, tuple(terms))


def _convolution(arch: Architecture, layer: int, numbers: np.ndarray) -> PlainLayer:
    kernel, strides = arch.kernel_sizes[layer], arch.strides[layer]
    before, after = arch.spatial_shapes[layer], arch.spatial_shapes[layer + 1]
    filters = numbers.reshape(*((1, 1) if arch.channels is None else numbers.shape[:2]), *kernel)
    shapes = (filters.shape[0], *after), (filters.shape[1], *before)
    terms = []
    for index in np.ndindex(filters.shape):
        out, into, *tap = index
        for place in itertools.product(*map(range, after)):
            source = tuple((x * s + t) % d for x, s, t, d in zip(place, strides, tap, before, strict=True))
            output = np.ravel_multi_index((out, *place), shapes[0])
            terms.append((int(output), int(filters[index]), int(np.ravel_multi_index((into, *source), shapes[1]))))
    return PlainLayer(int(np.prod(shapes[0])), int(np.prod(shapes[1])), tuple(terms))
