"""Any layered network with shared weights: its risk, gradient and Hessian in floats, for many at once, or in balls.

With z_l = W_l a_{l-1} + b_l, a_l = sigma(z_l), every entry of W_l and b_l is one of the parameters w or 0. Jacobians
D z_l with respect to w are propagated forwards and the derivatives g_l = dL/dz_l backwards; then

    Hess L = D z_N^T rho'' D z_N + sum_l [ D z_l^T diag(dL/da_l sigma'') D z_l + C_l + C_l^T ],

where row p of C_l is the sum over all entries (o, u) of W_{l+1} that are w_p of g_{l+1,o} D a_{l,u}. Derived.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .formulas import ACTIVATIONS, LOSSES, MARGINS

__all__ = ["Layer", "Net", "Objective", "convolutional", "dense"]


class Layer(NamedTuple):
    """Which parameter stands where in one layer."""

    weights: np.ndarray
    """(outputs, inputs): place in the vector of parameters; -1 for 0."""
    biases: np.ndarray | None
    """(outputs,)."""


class Net(NamedTuple):
    """A network of `size` parameters, in the order of the library's tree."""

    layers: tuple[Layer, ...]
    size: int
    blocks: tuple[slice, ...]
    """Where each array of parameters lies."""
    channels: tuple[tuple[np.ndarray, np.ndarray], ...]
    """Of each channel of the first hidden layer: the parameters that enter it, and those that leave it."""


def dense(widths: Sequence[int], bias: bool) -> Net:
    """A fully connected network; the order is W_1, b_1, W_2, ..."""
    layers, blocks, first = [], [], 0
    for inputs, outputs in itertools.pairwise(widths):
        weights = first + np.arange(outputs * inputs).reshape(outputs, inputs)
        blocks.append(slice(first, first + weights.size))
        first += weights.size
        biases = None
        if bias:
            biases = first + np.arange(outputs)
            blocks.append(slice(first, first + outputs))
            first += outputs
        layers.append(Layer(weights, biases))
    channels = []
    for unit in range(widths[1]):
        own = layers[0].weights[unit]
        biases = layers[0].biases
        into = own if biases is None else np.append(own, biases[unit])
        channels.append((into, layers[1].weights[:, unit]))
    return Net(tuple(layers), first, tuple(blocks), tuple(channels))


def convolutional(input_size: int, kernels: Sequence[int], strides: Sequence[int], channels: Sequence[int]) -> Net:
    """A 1-D convolutional network without biases; units are ordered by channel, then by position."""
    layers, blocks, first, positions = [], [], 0, input_size
    for layer, (kernel, stride) in enumerate(zip(kernels, strides, strict=True)):
        into, out = channels[layer], channels[layer + 1]
        after = (positions - kernel) // stride + 1
        numbers = first + np.arange(out * into * kernel).reshape(out, into, kernel)
        weights = np.full((out, after, into, positions), -1)
        for place in range(after):
            weights[:, place, :, place * stride : place * stride + kernel] = numbers
        layers.append(Layer(weights.reshape(out * after, into * positions), None))
        blocks.append(slice(first, first + numbers.size))
        first, positions = first + numbers.size, after
    one, two = (np.arange(first)[block] for block in blocks[:2])
    rows, columns = one.reshape(channels[1], -1), two.reshape(channels[2], channels[1], -1)
    hidden = tuple((rows[c], columns[:, c].ravel()) for c in range(channels[1]))
    return Net(tuple(layers), first, tuple(blocks), hidden)


class Objective:
    """L(w) = mean over samples of sum over outputs of rho, plus (decay/2) |w|^2.

    Data are a dict of arrays with one leading axis, as the points have: "inputs" (B, m, d_0), "targets" (B, m, d_N),
    "numbers" (B, k) of the loss and "decay" (B,). Entries are floats or balls.
    """

    def __init__(self, net: Net, activation: str, loss: str) -> None:
        self.net, self.margins = net, loss in MARGINS
        self._activation, self._loss = ACTIVATIONS[activation], LOSSES[loss]
        self._places = [np.nonzero(layer.weights >= 0) for layer in net.layers]
        self._owners = [layer.weights[place] for layer, place in zip(net.layers, self._places, strict=True)]
        self._incidence = [np.equal.outer(np.arange(net.size), owner).astype(int) for owner in self._owners]

    def outputs(self, w: Any, data: dict[str, Any]) -> Any:
        """Predictions (B, m, d_N)."""
        return self._forward(w, data)[0][-1]

    def value(self, w: Any, data: dict[str, Any]) -> Any:
        """L, (B,)."""
        terms = self._terms(self.outputs(w, data), data)[0]
        return terms.sum(axis=(-1, -2)) / terms.shape[-2] + data["decay"] * (w * w).sum(axis=-1) / 2

    def value_and_gradient(self, w: Any, data: dict[str, Any]) -> tuple[Any, Any]:
        """L and its gradient (B, n), by backpropagation."""
        below, inputs, slopes, _ = self._forward(w, data)
        value, g, _ = self._terms(below[-1], data)
        samples = value.shape[-2]
        total = value.sum(axis=(-1, -2)) / samples + data["decay"] * (w * w).sum(axis=-1) / 2
        gradient = data["decay"][..., None] * w
        for number in reversed(range(len(self.net.layers))):
            layer = self.net.layers[number]
            products = (np.swapaxes(g, -1, -2) @ inputs[number])[..., *self._places[number]]
            gradient = gradient + _times(products, self._incidence[number].T) / samples
            if layer.biases is not None:
                gradient[..., layer.biases] = gradient[..., layer.biases] + g.sum(axis=-2) / samples
            if number:
                g = (g @ self._matrix(w, number)) * slopes[number - 1]
        return total, gradient

    def derivatives(self, w: Any, data: dict[str, Any]) -> tuple[Any, Any, Any]:
        """L, its gradient and its Hessian (B, n, n)."""
        below, inputs, slopes, bends = self._forward(w, data)
        value, g, bend = self._terms(below[-1], data)
        samples, lead, n = value.shape[-2], w.shape[:-1], self.net.size
        after: list[Any] = []
        for number, layer in enumerate(self.net.layers):
            own = np.zeros((*value.shape[:-1], layer.weights.shape[0], n), w.dtype)
            outs, ins = self._places[number]
            own[..., outs, self._owners[number]] = inputs[number][..., ins]
            if layer.biases is not None:
                own[..., np.arange(len(layer.biases)), layer.biases] = 1
            if number:
                moved = slopes[number - 1][..., None] * after[-1]
                own = own + self._matrix(w, number)[..., None, :, :] @ moved
            after.append(own)
        rows = after[-1].reshape(*lead, -1, n)
        gradient = _times(g.reshape(*lead, -1), rows)
        hessian = _congruence(rows, bend.reshape(*lead, -1))
        for number in reversed(range(1, len(self.net.layers))):
            rows = after[number - 1]
            moved = slopes[number - 1][..., None] * rows
            outs, ins = self._places[number]
            flat = moved.reshape(*moved.shape[:-2], -1)
            sums = (np.swapaxes(g, -1, -2) @ flat).reshape(*lead, g.shape[-1], *moved.shape[-2:])
            cross = self._incidence[number] @ sums[..., outs, ins, :]
            to_units = g @ self._matrix(w, number)
            curved = _congruence(rows.reshape(*lead, -1, n), (to_units * bends[number - 1]).reshape(*lead, -1))
            hessian = hessian + cross + np.swapaxes(cross, -1, -2) + curved
            g = to_units * slopes[number - 1]
        decay = data["decay"]
        total = value.sum(axis=(-1, -2)) / samples + decay * (w * w).sum(axis=-1) / 2
        lift = decay[..., None, None] * np.eye(n, dtype=int)
        return total, gradient / samples + decay[..., None] * w, hessian / samples + lift

    def _forward(self, w: Any, data: dict[str, Any]) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
        """Of every layer: z and the inputs; of every hidden layer: sigma' and sigma''."""
        sums, inputs, slopes, bends = [], [data["inputs"]], [], []
        for number, layer in enumerate(self.net.layers):
            z = inputs[-1] @ np.swapaxes(self._matrix(w, number), -1, -2)
            if layer.biases is not None:
                z = z + w[..., None, layer.biases]
            sums.append(z)
            if number + 1 < len(self.net.layers):
                a, slope, bend = self._activation(z)
                inputs.append(a)
                slopes.append(slope)
                bends.append(bend)
        return sums, inputs, slopes, bends

    def _matrix(self, w: Any, number: int) -> Any:
        weights = self.net.layers[number].weights
        return w[..., weights] * (weights >= 0).astype(int)

    def _terms(self, predictions: Any, data: dict[str, Any]) -> tuple[Any, Any, Any]:
        """Loss of every output, with its derivatives in the prediction."""
        targets = data["targets"]
        numbers = [data["numbers"][..., None, None, i] for i in range(data["numbers"].shape[-1])]
        if not self.margins:
            return self._loss(predictions - targets, numbers)
        value, slope, bend = self._loss(targets * predictions, numbers)
        return value, slope * targets, bend * targets * targets


def _times(row: Any, matrix: Any) -> Any:
    return (row[..., None, :] @ matrix)[..., 0, :]


def _congruence(rows: Any, weights: Any) -> Any:
    return np.swapaxes(rows, -1, -2) @ (weights[..., None] * rows)
