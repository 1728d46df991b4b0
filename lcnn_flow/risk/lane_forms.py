"""The risk of the end-to-end filter in forms optimised for speed: gradient and curvature for many filters at once.

They are used for the steps of `lanes`; final risk, gradient and verdict are computed by `outer`. V has shape (c, q,
lanes). Everything that depends on the data only is computed once, before the first step.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from lcnn_flow.losses.base import Loss
from lcnn_flow.losses.named import Lp
from lcnn_flow.numerics.kernels import as_kernel, slice_of, unrolled_sum
from lcnn_flow.numerics.triangles import CurvatureProduct, product_with, symmetric
from lcnn_flow.risk.outer import PatchForm, QuadraticForm

__all__ = ["MomentDriver", "NormalDriver", "PatchDriver", "moment_numbers"]

_HIGHEST = lax.Precision.HIGHEST
_WORKED_ON = {"cpu": 2**19}
"""Bytes of residuals processed at a time, chosen to fit the cache of one CPU core."""
_MUCH_WORKED_ON = 2**30
"""Bytes of residuals processed at a time on accelerators."""
_LEAST_PRODUCT = 16
"""Matrices up to this size are multiplied by sums over their columns (measured, CPU)."""
_PRODUCTS = 2**28
"""Largest size in bytes of stored products of patch columns; larger ones are recomputed in every step."""


class NormalDriver(NamedTuple):
    """Square loss by the normal equations: dl/dV = V G - B, l'' = G. The value of the risk would be inaccurate near
    interpolation."""

    form: QuadraticForm

    def gradient(self, V: Float[Array, "c q lanes"]) -> Float[Array, "c q lanes"]:
        """The gradient dl/dV at the filters V."""
        return _times_gram(self.form.gram, V) - self.form.moment[:, :, None]

    def gradient_and_curvature(
        self, V: Float[Array, "c q lanes"]
    ) -> tuple[Float[Array, "c q lanes"], CurvatureProduct]:
        """dl/dV, and the product of l''(V) with columns (c, q, n, lanes)."""
        return as_kernel(self.gradient)(V), partial(_times_gram, self.form.gram)


class PatchDriver(NamedTuple):
    """Any loss, by matrix products over blocks of rows.

    l''(V) is one product with the matrix of all products of two columns of P, which all lanes share.
    """

    loss: Loss
    patches: Float[Array, "blocks rows q"]
    weighted: Float[Array, "blocks q rows"]
    """P^T diag(w); 0 in the rows that pad the last block."""
    products: Float[Array, "blocks k rows"] | None
    """Weighted products of two columns of P, as a lower triangle; None if they need too much memory."""
    targets: Float[Array, "blocks rows c"]

    @classmethod
    def of(cls, form: PatchForm, lanes: int) -> "PatchDriver":
        """The driver for `lanes` filters at once."""
        rows, q = form.patches.shape
        size = form.patches.dtype.itemsize
        worked_on = _WORKED_ON.get(jax.default_backend(), _MUCH_WORKED_ON)
        most = max(64, worked_on // (size * lanes * form.targets.shape[1]))
        blocks = -(-rows // most)
        height = -(-rows // blocks)

        def split(x: Array) -> Array:
            return jnp.pad(x, ((0, blocks * height - rows), (0, 0))).reshape(blocks, height, -1)

        patches, weighted = split(form.patches), split(form.weights[:, None] * form.patches)
        weighted = jnp.swapaxes(weighted, 1, 2)
        products = _pairs(weighted, patches) if rows * q * (q + 1) // 2 * size <= _PRODUCTS else None
        return cls(form.loss, patches, weighted, products, split(form.targets))

    def gradient(self, V: Float[Array, "c q lanes"]) -> Float[Array, "c q lanes"]:
        """The gradient dl/dV at the filters V."""

        def block(part: PatchDriver) -> Array:
            return _times(part.weighted, self.loss.derivative(_residuals(part, V)), V)

        return self._sum(block)

    def gradient_and_curvature(
        self, V: Float[Array, "c q lanes"]
    ) -> tuple[Float[Array, "c q lanes"], CurvatureProduct]:
        """dl/dV, and the product of l''(V) with columns (c, q, n, lanes)."""

        def block(part: PatchDriver) -> tuple[Array, Array]:
            residuals = _residuals(part, V)
            products = _pairs(part.weighted, part.patches) if part.products is None else part.products
            curvatures = _times(products, self.loss.second_derivative(residuals), V)
            return _times(part.weighted, self.loss.derivative(residuals), V), curvatures

        gradient, curvatures = self._sum(block)
        return gradient, product_with(symmetric(curvatures))

    def _sum(self, block: Callable[["PatchDriver"], Any]) -> Any:
        parts = (self.patches, self.weighted, self.products, self.targets)

        def one(part: Any) -> Any:
            return block(PatchDriver(self.loss, *part))

        if self.patches.shape[0] == 1:
            return one(jax.tree.map(lambda x: x[0], parts))

        def add(so_far: Any, part: Any) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, so_far, one(part)), None

        shapes = jax.eval_shape(one, jax.tree.map(lambda x: x[0], parts))
        return lax.scan(add, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes), parts)[0]


def _times_gram(gram: Float[Array, "q q"], V: Float[Array, "c q ..."]) -> Float[Array, "c q ..."]:
    """The product of all flows' filters with one matrix; a library call only if the matrix is large enough."""
    if gram.shape[0] > _LEAST_PRODUCT:
        return _product("pq,cq...->cp...", gram, V)
    trailing = (1,) * (V.ndim - 2)
    return unrolled_sum(gram.shape[0], lambda k: gram[:, k].reshape(1, -1, *trailing) * slice_of(V, k, 1)[:, None])


def _residuals(part: PatchDriver, V: Float[Array, "c q lanes"]) -> Float[Array, "rows columns"]:
    """P V^T - Y, with channels and lanes in one axis, because loops over two axes are faster."""
    columns = jnp.moveaxis(V, 1, 0)
    targets = jnp.broadcast_to(part.targets[:, :, None], (*part.targets.shape, V.shape[2]))
    product = jnp.dot(part.patches, columns.reshape(columns.shape[0], -1), precision=_HIGHEST)
    return product - targets.reshape(product.shape)


def _times(table: Float[Array, "k rows"], numbers: Float[Array, "rows columns"], V: Array) -> Float[Array, "c k lanes"]:
    product = jnp.dot(table, numbers, precision=_HIGHEST)
    return jnp.moveaxis(product.reshape(-1, V.shape[0], V.shape[2]), 0, 1)


def _pairs(weighted: Float[Array, "... q rows"], patches: Float[Array, "... rows q"]) -> Float[Array, "... k rows"]:
    """Products of two columns, as a lower triangle in row order."""
    low, high = np.tril_indices(patches.shape[-1])
    return weighted[..., low, :] * jnp.swapaxes(patches, -1, -2)[..., high, :]


class MomentDriver(NamedTuple):
    """Even l_p loss, p >= 4, by moments of the data; its cost is independent of the number of rows.

    With z = (v, -1) the residuals are r = [P, y] z, and A(z) = sum_i w_i r_i^{p-2} [p_i, y_i][p_i, y_i]^T is a
    polynomial in z of degree p - 2, whose coefficients are moments. dl/dv consists of the first q entries of A z, and
    l'' is p - 1 times the leading q x q block of A. Derived.
    """

    p: int
    moments: Float[Array, "c k monomials"]

    @classmethod
    def of(cls, form: PatchForm) -> "MomentDriver":
        """Computes the moments from the patch form."""
        assert isinstance(form.loss, Lp)
        p = int(form.loss.p)
        channels = []
        for channel in range(form.targets.shape[1]):
            table = jnp.concatenate([form.patches, form.targets[:, channel : channel + 1]], axis=1)
            low, high = np.tril_indices(table.shape[1])
            exponents = _monomials(table.shape[1], p - 2)
            counts = np.asarray([_multinomial(e) for e in exponents], table.dtype)
            powers = _evaluate(table.T, exponents) * counts[:, None]
            pairs = form.weights[:, None] * table[:, low] * table[:, high]
            channels.append(jnp.dot(pairs.T, powers.T, precision=_HIGHEST))
        return cls(p, jnp.stack(channels))

    def gradient(self, V: Float[Array, "c q lanes"]) -> Float[Array, "c q lanes"]:
        """The gradient dl/dV at the filters V."""
        return self.gradient_and_curvature(V)[0]

    def gradient_and_curvature(
        self, V: Float[Array, "c q lanes"]
    ) -> tuple[Float[Array, "c q lanes"], CurvatureProduct]:
        """dl/dV, and the product of l''(V) with columns (c, q, n, lanes)."""
        q = V.shape[1]
        z = jnp.concatenate([V, jnp.full_like(V[:, :1], -1)], axis=1)
        exponents = _monomials(q + 1, self.p - 2)
        powers = jnp.stack([_evaluate(channel, exponents) for channel in z])
        matrix = symmetric(_product("ckm,cms->cks", self.moments, powers))
        gradient = unrolled_sum(q + 1, lambda k: matrix[:, :q, k] * slice_of(z, k, 1)[:, None])
        return gradient, product_with((self.p - 1) * matrix[:, :q, :q])


def moment_numbers(q: int, p: int) -> int:
    """Number of moments per output channel that the even l_p loss needs for q columns."""
    return (q + 1) * (q + 2) // 2 * math.comb(q + p - 2, p - 2)


def _monomials(variables: int, degree: int) -> list[tuple[int, ...]]:
    """All monomials of a degree, each as the sorted tuple of the variables that it multiplies."""
    return list(itertools.combinations_with_replacement(range(variables), degree))


def _multinomial(monomial: tuple[int, ...]) -> int:
    """The coefficient of the monomial in the power of a sum."""
    return math.factorial(len(monomial)) // math.prod(math.factorial(n) for n in Counter(monomial).values())


def _evaluate(z: Float[Array, "variables ..."], monomials: list[tuple[int, ...]]) -> Float[Array, "monomials ..."]:
    factors = np.asarray(monomials).T
    return math.prod((z[i] for i in factors[1:]), start=z[factors[0]])


def _product(subscripts: str, matrix: Array, x: Array) -> Array:
    return jnp.einsum(subscripts, matrix, x, precision=_HIGHEST)
