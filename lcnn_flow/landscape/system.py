"""The equations of all critical points in the space of rank-one tensors, linearised in charts around unit filters.

With x = w_1 (x) ... (x) w_N, v = A x (A sums entries of equal tap position), and parameters (d, u, G, c),

    e = d x - mu u + A^T (G A x - mu c),      T_i^T e = 0,

T_i running over the derivatives of x in the chart w_l + B_l z_l, B_l the complement of the unit filter w_l, and x
itself. At d = u = 0 the zeros with mu != 0 are the critical orbits v = A x / mu of v^T G v / 2 - c^T v. The equations
are linear in the parameters with full rank, so all architectures of a family have one irreducible variety of
solutions: what was found for one set of parameters can be carried to any other.
"""

import math
from dataclasses import dataclass
from functools import partial, reduce
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lcnn_flow.landscape.planes import Planes, concatenate, contract, select, stack
from lcnn_flow.numerics.kernels import as_kernel, unrolled_sum

__all__ = ["Line", "TapSums", "complements", "linearise", "moved"]


@dataclass(frozen=True)
class TapSums:
    """The matrix A that sums entries of the tensor to taps of the end-to-end filter, stored without zeros; hashable.

    Args:
        sizes: (k_1, ..., k_N), every one at least 2.
        taps: tap of v for every entry of the tensor, in the order of its memory.
        width: k_v.
    """

    sizes: tuple[int, ...]
    taps: tuple[int, ...]
    width: int

    @property
    def dimension(self) -> int:
        """n = sum (k_l - 1): number of coordinates of a chart of the filters."""
        return sum(self.sizes) - len(self.sizes)

    @property
    def entries(self) -> int:
        """Number of entries of the tensor."""
        return math.prod(self.sizes)

    @property
    def matrix(self) -> np.ndarray:
        """A, (k_v, prod k_l)."""
        return (np.arange(self.width)[:, None] == np.asarray(self.taps)[None, :]).astype(float)


class Line(NamedTuple):
    """Parameters along a straight line, t from 0 to 1: from (d, u, 0, 0) to (d', u', G, c).

    d, u, d', u' are (prod k_l, 1), the same for all lanes; G (k_v, k_v, lanes) and c (k_v, lanes) are real.
    """

    diagonal: Planes
    load: Planes
    last_diagonal: Planes
    last_load: Planes
    gram: Float[Array, "q q lanes"]
    moment: Float[Array, "q lanes"]


def complements(filters: list[Planes]) -> list[Planes]:
    """B_l (k_l, k_l - 1, lanes): orthonormal bases of the Hermitian complements of unit filters, by Householder."""
    return [_complement(w) for w in filters]


@as_kernel
def _complement(w: Planes) -> Planes:
    if w.re.shape[0] == 2:
        return stack([-w[1].conj, w[0].conj])[:, None]
    size = jnp.sqrt(w[0].square)
    phase = select(size > 0, w[0].scaled(1 / jnp.where(size > 0, size, 1)), Planes(jnp.ones_like(size), 0 * size))
    mirror = concatenate([(w[0] + phase)[None], w[1:]])
    factor = 1 / (1 + size)  # 2 / |mirror|^2, as |w| = 1
    product = mirror[:, None] * mirror[None, 1:].conj
    eye = jnp.eye(w.re.shape[0], dtype=w.re.dtype)[:, 1:, None]
    return Planes(eye - product.re * factor[None, None], -product.im * factor[None, None])


def moved(filters: list[Planes], bases: list[Planes], z: Planes) -> list[Planes]:
    """w_l + B_l z_l, z (n, lanes)."""
    result, first = [], 0
    for w, base in zip(filters, bases, strict=True):
        steps = base.re.shape[1]
        result.append(_moved(w, base, z[first : first + steps]))
        first += steps
    return result


@as_kernel
def _moved(w: Planes, base: Planes, z: Planes) -> Planes:
    return reduce(lambda sum_, j: sum_ + base[:, j] * z[j][None], range(base.re.shape[1]), w)


def linearise(
    sums: TapSums, filters: list[Planes], bases: list[Planes], mu: Planes, t: Array, line: Line
) -> tuple[Planes, Planes, Planes]:
    """The equations, their derivative in (z, mu), and their derivative in t.

    Args:
        sums: the architecture.
        filters: w_l + B_l z_l, (k_l, lanes) each.
        bases: B_l.
        mu: (lanes,).
        t: (lanes,).
        line: the parameters.

    Returns:
        (n + 1, lanes), (n + 1, n + 1, lanes), (n + 1, lanes).
    """
    n = sums.dimension
    tangents = _tangents(filters, bases)
    images = as_kernel(partial(_images, sums.taps, sums.width))(tangents)
    forces, speeds, loads = _forces(tangents[:, n], images[:, n], mu, t, line)
    left = concatenate([tangents, images])
    stiff = _stiff(tangents[:, :n], images[:, :n], t, line)
    right = concatenate([stiff, stack([-loads, forces, speeds], 1)], 1)
    table = _contracted(left, right)
    value, velocity = table[:, n + 1], table[:, n + 2]
    mixed = _mixed(sums, filters, bases, forces)
    return value, _assembled(table, mixed, value), velocity


def _tangents(filters: list[Planes], bases: list[Planes]) -> Planes:
    """T: (entries, n + 1, lanes), the last column x."""
    columns, last = [], None
    for layer, base in enumerate(bases):
        left, right = _outer(filters[:layer]), _outer(filters[layer + 1 :])
        columns.append(_between(left, base, right))
    last = _outer(filters)
    assert last is not None
    return concatenate([*columns, last[:, None]], 1)


def _outer(filters: list[Planes]) -> Planes | None:
    """The tensor product w_1 (x) ... (x) w_N, (entries, lanes); None without filters."""
    return reduce(_times, filters) if filters else None


@as_kernel
def _times(left: Planes, right: Planes) -> Planes:
    return (left[:, None] * right[None]).reshape(-1, left.re.shape[-1])


@as_kernel
def _between(left: Planes | None, base: Planes, right: Planes | None) -> Planes:
    """left (x) base (x) right, the columns of base kept apart: (entries, columns, lanes)."""
    lanes = base.re.shape[-1]
    result = base if left is None else (left[:, None, None] * base[None]).reshape(-1, *base.re.shape[1:])
    if right is not None:
        result = result[:, None] * right[None, :, None]
    return result.reshape(-1, base.re.shape[1], lanes)


def _images(taps: tuple[int, ...], width: int, tangents: Planes) -> Planes:
    """The product A T."""
    rows = [[i for i, tap in enumerate(taps) if tap == v] for v in range(width)]
    return stack([reduce(lambda a, b: a + b, [tangents[i] for i in row]) for row in rows])


@as_kernel
def _forces(x: Planes, v: Planes, mu: Planes, t: Array, line: Line) -> tuple[Planes, Planes, Planes]:
    """e, de/dt and -de/dmu on the entries of the tensor and, below, on the taps of v: (entries + k_v, lanes)."""
    width = v.re.shape[0]
    image = Planes(
        unrolled_sum(width, lambda j: line.gram[:, j] * v.re[None, j]),
        unrolled_sum(width, lambda j: line.gram[:, j] * v.im[None, j]),
    )
    change = (line.last_diagonal - line.diagonal, line.last_load - line.load)
    d, u = line.diagonal + change[0].scaled(t[None]), line.load + change[1].scaled(t[None])
    pull = image - mu[None].scaled(line.moment)
    moment = Planes(line.moment * t[None], jnp.zeros_like(line.moment))
    forces = concatenate([d * x - mu[None] * u, pull.scaled(t[None])])
    speeds = concatenate([change[0] * x - mu[None] * change[1], pull])
    return forces, speeds, concatenate([u, moment])


@as_kernel
def _stiff(tangents: Planes, images: Planes, t: Array, line: Line) -> Planes:
    """The symmetric matrix of the quadratic form times the tangents, on entries and taps."""
    width = images.re.shape[0]
    d = line.diagonal + (line.last_diagonal - line.diagonal).scaled(t[None])
    gram = line.gram * t[None, None]
    below = Planes(
        unrolled_sum(width, lambda j: gram[:, j][:, None] * images.re[j][None]),
        unrolled_sum(width, lambda j: gram[:, j][:, None] * images.im[j][None]),
    )
    return concatenate([d[:, None] * tangents, below])


@as_kernel
def _contracted(left: Planes, right: Planes) -> Planes:
    return contract(left[:, :, None], right[:, None])


def _mixed(sums: TapSums, filters: list[Planes], bases: list[Planes], forces: Planes) -> list[list[Planes]]:
    """B_l^T E B_m, 0 for l = m: e contracted with all other filters."""
    whole = as_kernel(partial(_on_tensor, sums.taps))(forces)
    rows = []
    for layer, below in enumerate(bases):
        row = []
        for m, base in enumerate(bases):
            if m == layer:
                zeros = jnp.zeros((below.re.shape[1], below.re.shape[1], below.re.shape[2]), below.re.dtype)
                row.append(Planes(zeros, zeros))
            elif m > layer:
                row.append(_bilinear(_folded(sums.sizes, filters, whole, (layer, m)), below, base))
            else:
                row.append(_transposed(rows[m][layer]))
        rows.append(row)
    return rows


def _on_tensor(taps: tuple[int, ...], forces: Planes) -> Planes:
    below = forces[len(taps) :]
    return forces[: len(taps)] + stack([below[tap] for tap in taps])


def _folded(sizes: tuple[int, ...], filters: list[Planes], whole: Planes, kept: tuple[int, int]) -> Planes:
    """e contracted with all filters but two: (k_l, k_m, lanes)."""
    lanes, shape, rest = whole.re.shape[-1], list(sizes), whole
    for layer in reversed(range(len(sizes))):
        if layer not in kept:
            before, after = math.prod(shape[:layer]), math.prod(shape[layer + 1 :])
            rest = _fold(rest.reshape(before, sizes[layer], after, lanes), filters[layer])
            shape.pop(layer)
    return rest.reshape(*shape, lanes)


@as_kernel
def _fold(rest: Planes, w: Planes) -> Planes:
    return reduce(lambda a, b: a + b, [rest[:, j] * w[j][None, None] for j in range(w.re.shape[0])])


def _bilinear(matrix: Planes, left: Planes, right: Planes) -> Planes:
    """B_l^T E B_m."""
    return _turned(left, _applied(matrix, right))


def _transposed(block: Planes) -> Planes:
    return Planes(jnp.swapaxes(block.re, 0, 1), jnp.swapaxes(block.im, 0, 1))


@as_kernel
def _applied(matrix: Planes, right: Planes) -> Planes:
    return reduce(lambda a, b: a + b, [matrix[:, j][:, None] * right[j][None] for j in range(right.re.shape[0])])


@as_kernel
def _turned(left: Planes, right: Planes) -> Planes:
    return contract(left[:, :, None], right[:, None])


@as_kernel
def _assembled(table: Planes, blocks: list[list[Planes]], value: Planes) -> Planes:
    """The derivative: the table of products, the mixed derivatives of the tensor, and the scaling of x."""
    n = table.re.shape[0] - 1
    whole = concatenate([*(concatenate(row, 1) for row in blocks), value[None, :n]])
    return concatenate([table[:, :n] + whole, table[:, n : n + 1]], 1)
