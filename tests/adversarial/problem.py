"""One problem in numpy: L(w) = sum_i rho(r_i) / m, r = P v(w) - y, with v(w) as a sum of monomials.

Entry j of the end-to-end filter is a sum of products of one entry per layer; `Shape` lists these monomials, which
covers strides, two dimensions and channels alike. P is used through its singular value decomposition, so that
directions of small singular values keep their own accuracy.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np

from .families import Family, architecture
from .loss_formulas import bend, slope

__all__ = ["Problem", "Shape", "make_shape"]


class Shape(NamedTuple):
    """The network of a family."""

    layers: tuple[slice, ...]
    """Where each layer lies in the vector of all filters."""
    monomials: np.ndarray
    """(monomials, N): entries of that vector."""
    outputs: np.ndarray
    """(monomials,): the entry of the end-to-end filter, (output channel, input channel, tap)."""
    windows: np.ndarray
    """(positions, input channel and tap): entries of one flattened sample."""
    out_channels: int
    size: int
    exchangeable: tuple[tuple[int, ...], ...]
    """Groups of layers that enter v alike; single channel."""


def make_shape(family: Family) -> Shape:
    """Tap j of layer l reads its input S_l j places on."""
    arch = architecture(family)
    dims = len(np.atleast_1d(family.outputs))
    kernels = [tuple(np.broadcast_to(k, dims).tolist()) for k in family.kernels]
    strides = [np.broadcast_to(s, dims) for s in family.strides]
    channels = family.channels or (1,) * (len(kernels) + 1)
    spacing, per_layer, first, layers, keys = np.ones(dims, int), [], 0, [], []
    for layer, (kernel, stride) in enumerate(zip(kernels, strides, strict=True)):
        entries = []
        numbers = itertools.product(range(channels[layer + 1]), range(channels[layer]), *map(range, kernel))
        for number, (out, into, *tap) in enumerate(numbers):
            entries.append((first + number, out, into, spacing * np.array(tap)))
        layers.append(slice(first, first + len(entries)))
        keys.append((kernel, tuple(spacing.tolist())))
        first += len(entries)
        per_layer.append(entries)
        spacing = spacing * stride
    terms, taps = [], {}
    for chosen in itertools.product(*per_layer):
        if all(a[1] == b[2] for a, b in itertools.pairwise(chosen)):
            position = tuple(np.sum([c[3] for c in chosen], axis=0).tolist())
            taps.setdefault(position, len(taps))
            terms.append(([c[0] for c in chosen], chosen[-1][1], chosen[0][2], position))
    q, sides = channels[0] * len(taps), arch.sample_shape
    outputs = np.array([out * q + into * len(taps) + taps[position] for _, out, into, position in terms])
    grid = np.arange(math.prod(sides)).reshape(channels[0], *arch.input_shape)
    bases = itertools.product(*map(range, np.atleast_1d(family.outputs).tolist()))
    windows = np.array(
        [
            [grid[(c, *(spacing * np.array(base) + np.array(tap)))] for c in range(channels[0]) for tap in taps]
            for base in bases
        ]
    )
    groups = [tuple(layer for layer, key in enumerate(keys) if key == one) for one in dict.fromkeys(keys)]
    alike = tuple(g for g in groups if len(g) > 1 and family.channels is None)
    monomials = np.array([t[0] for t in terms])
    return Shape(tuple(layers), monomials, outputs, windows, channels[-1], first, alike)


class Problem:
    """Gradient and Hessian of one risk at the vector of all filters.

    Args:
        shape: of the family.
        inputs, targets: (m, ...), as given to the library.
        loss, numbers: name of the loss and its numbers.
    """

    def __init__(self, shape: Shape, inputs, targets, loss: str, numbers: tuple[float, ...]) -> None:
        self.shape, self.loss, self.numbers = shape, loss, numbers
        self.samples = len(inputs)
        flat = np.asarray(inputs, float).reshape(self.samples, -1)
        patches = flat[:, shape.windows].reshape(-1, shape.windows.shape[1])
        by_channel = np.asarray(targets, float).reshape(self.samples, shape.out_channels, -1)
        self.patches = np.kron(np.eye(shape.out_channels), patches)
        self.targets = np.moveaxis(by_channel, 1, 0).ravel()
        left, self.sizes, right = np.linalg.svd(self.patches, full_matrices=False)
        self.left, self.right = left * self.sizes, right.T
        self.turned = left
        self._flat = (shape.outputs[:, None] * shape.size + shape.monomials).ravel()
        self._columns = shape.monomials.ravel()
        self._pairs = list(itertools.combinations(range(shape.monomials.shape[1]), 2))

    @property
    def smallest_ratio(self) -> float:
        """sigma_min / sigma_max of P; 0 with fewer rows than columns."""
        rows, columns = self.patches.shape
        return float(self.sizes[-1] / self.sizes[0]) if rows >= columns and self.sizes[0] > 0 else 0.0

    def filter(self, w):
        """v(w)."""
        shape = self.shape
        return np.bincount(shape.outputs, np.prod(w[shape.monomials], axis=1), self.patches.shape[1])

    def filter_size(self) -> float:
        """|y| / |P|: size of end-to-end filters that fit."""
        size = np.linalg.norm(self.sizes)
        return float(np.linalg.norm(self.targets) / size) if size > 0 else 0.0

    def predictions(self, v):
        """P v."""
        return self.left @ (v @ self.right)

    def gradient(self, w):
        """grad L."""
        shape, values = self.shape, w[self.shape.monomials]
        v = np.bincount(shape.outputs, np.prod(values, axis=1), self.patches.shape[1])
        r = self.left @ (v @ self.right) - self.targets
        g = self.right @ ((slope(self.loss, r, self.numbers) @ self.turned) * self.sizes)
        return (
            np.bincount(self._columns, (_others(values) * g[shape.outputs][:, None]).ravel(), shape.size) / self.samples
        )

    def hessian(self, w):
        """Hess L."""
        shape, values = self.shape, w[self.shape.monomials]
        columns, n = self.patches.shape[1], shape.size
        v = np.bincount(shape.outputs, np.prod(values, axis=1), columns)
        r = self.left @ (v @ self.right) - self.targets
        g = self.right @ ((slope(self.loss, r, self.numbers) @ self.turned) * self.sizes)
        jacobian = np.bincount(self._flat, _others(values).ravel(), columns * n).reshape(columns, n)
        moved = self.left @ (self.right.T @ jacobian)
        hessian = moved.T @ (bend(self.loss, r, self.numbers)[:, None] * moved)
        at = g[shape.outputs]
        for a, b in self._pairs:
            rest = np.prod(np.delete(values, (a, b), axis=1), axis=1) * at
            where = shape.monomials[:, a] * n + shape.monomials[:, b]
            block = np.bincount(where, rest, n * n).reshape(n, n)
            hessian += block + block.T
        return hessian / self.samples

    def uncancelled(self, w):
        """Size that the gradient in each layer would have if nothing cancelled; one number per layer."""
        v = self.filter(w)
        r = np.linalg.norm(self.predictions(v)) + np.linalg.norm(self.targets)
        force = slope(self.loss, np.array([r]), self.numbers)[0] * np.linalg.norm(self.sizes) / self.samples
        norms = np.array([np.linalg.norm(w[where]) for where in self.shape.layers])
        return np.array([math.prod(np.delete(norms, layer)) for layer in range(len(norms))]) * force


def _others(values):
    """Products of all columns but one, in place of that one."""
    if values.shape[1] == 1:
        return np.ones_like(values)
    if values.shape[1] == 2:
        return values[:, ::-1]
    ones = np.ones((len(values), 1))
    before = np.cumprod(np.concatenate([ones, values[:, :-1]], axis=1), axis=1)
    after = np.cumprod(np.concatenate([ones, values[:, :0:-1]], axis=1), axis=1)[:, ::-1]
    return before * after
