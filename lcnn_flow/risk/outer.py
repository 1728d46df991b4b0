"""The empirical risk as a function of the end-to-end filter, with the data reduced once.

A linear convolutional network depends on its data only through the patch matrix P, whose rows are all windows to which
the end-to-end filter v is applied. The residuals are r = P v - y, so the risk is L = l(v), l(v) = sum_i w_i rho(r_i).
`PatchForm` stores P. For the square loss a QR decomposition of [P, y] reduces the data to at most q + c rows:
`QuadraticForm`, whose cost is independent of the number of samples.

Shapes: V is (c, q), one row per output channel (c = 1 without channels), q = c_0 prod k_v. V may have trailing axes,
(c, q, ...), for many filters at once, and results then have them too.
"""

from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from lcnn_flow.losses.base import Loss
from lcnn_flow.losses.classification import MarginLoss
from lcnn_flow.numerics.nudges import nudged, signs
from lcnn_flow.numerics.pytrees import Pytree
from lcnn_flow.numerics.rank import smallest_singular_value, values_above_rounding
from lcnn_flow.numerics.triangles import CurvatureProduct, product_with, symmetric

__all__ = ["OUTER_RANKS", "FilterRisk", "PatchForm", "QuadraticForm"]

OUTER_RANKS = {
    **{"patches": 2, "targets": 2, "weights": 1, "patch_size": 0, "triangle": 2},
    **{"factor": 2, "image": 2, "rest": 0, "gram": 2, "moment": 2, "energy": 0, "rows": 0},
}
"""Rank of every leaf of a form in a single risk."""

_HIGHEST = lax.Precision.HIGHEST


@runtime_checkable
class FilterRisk(Protocol):
    """A risk l as a function of the end-to-end filter V, as the chain rule uses it."""

    def gradient(self, V: Float[Array, "c q ..."]) -> Float[Array, "c q ..."]:
        """The gradient dl/dV at the filters V."""
        ...

    def gradient_and_curvature(self, V: Float[Array, "c q ..."]) -> tuple[Float[Array, "c q ..."], CurvatureProduct]:
        """The gradient dl/dV, and the function that multiplies columns (c, q, n, ...) by the second derivative
        l''(V)."""
        ...


class PatchForm(Pytree):
    """l(V) = sum_i w_i sum_c rho(P V^T - Y), for any loss.

    Args:
        loss: elementwise loss.
        patches: P, (rows, q).
        targets: Y, (rows, c).
        weights: w, (rows,), whose sum is the number of rows per sample.
    """

    loss: Loss
    patches: Float[Array, "rows q"]
    targets: Float[Array, "rows c"]
    weights: Float[Array, " rows"]
    patch_size: Float[Array, ""]
    triangle: Float[Array, "k q"]

    def __init__(self, loss: Loss, patches: Array, targets: Array, weights: Array) -> None:
        self.loss = loss
        self.patches = patches
        self.targets = targets
        self.weights = weights
        held = jnp.sqrt(lax.stop_gradient(weights))[:, None] * lax.stop_gradient(patches)
        self.patch_size = jnp.linalg.norm(held)
        self.triangle = jnp.linalg.qr(held, mode="r")

    @property
    def target_size(self) -> Float[Array, ""]:
        """Root of the weighted sum of squared targets."""
        return jnp.sqrt(jnp.sum(self.weights[:, None] * self.targets**2))

    @property
    def rank(self) -> Int[Array, ""]:
        """Numerical rank of diag(sqrt(w)) P."""
        return jnp.sum(values_above_rounding(self.triangle, self.patches.shape[0])[1])

    @property
    def smallest_singular_value(self) -> Float[Array, ""]:
        """Smallest singular value of diag(sqrt(w)) P; 0 without full column rank."""
        return smallest_singular_value(self.triangle, self.patches.shape[0])

    def residuals(self, V: Float[Array, "c q ..."]) -> Float[Array, "rows c ..."]:
        """The residuals P V^T - Y."""
        return self._predictions(V) - _trailing(self.targets, V)

    def value(self, V: Float[Array, "c q ..."]) -> Float[Array, "..."]:
        """The risk l(V)."""
        return self._mean(self.loss(self.residuals(V)))

    def gradient(self, V: Float[Array, "c q ..."]) -> Float[Array, "c q ..."]:
        """dl/dV = (w rho'(r))^T P."""
        return self._sum_over_rows(self.patches, self.loss.derivative(self.residuals(V)))

    def hessian(self, V: Float[Array, "c q ..."]) -> Float[Array, "c q q ..."]:
        """Second derivative, block diagonal in the output channels: P^T diag(w rho''(r)) P for each channel."""
        return self._second(self.residuals(V))

    def gradient_and_curvature(self, V: Float[Array, "c q ..."]) -> tuple[Float[Array, "c q ..."], CurvatureProduct]:
        """dl/dV, and the function that multiplies columns (c, q, n, ...) by l''(V)."""
        return self.gradient(V), product_with(self.hessian(V))

    def rms_derivative(self, V: Float[Array, "c q ..."]) -> Float[Array, "..."]:
        """Root mean square of rho' at |P V^T| + |Y|: the derivative of the loss without cancellation in the
        residuals."""
        return jnp.sqrt(self._mean(self.loss.largest_slope(self._size(V)) ** 2))

    def size(self, V: Float[Array, "c q ..."]) -> Float[Array, "..."]:
        """Root mean square of |P V^T| + |Y|: the size of the residuals without cancellation."""
        return jnp.sqrt(self._mean(self._size(V) ** 2))

    def largest_trace(self, V: Float[Array, "c q ..."]) -> Float[Array, "..."]:
        """Largest trace over output channels of the second derivative, with rho'' at |P V^T| + |Y|."""
        squares = _trailing((self.weights * jnp.sum(self.patches**2, axis=1))[:, None], V)
        return jnp.max(jnp.sum(squares * self.loss.largest_curvature(self._size(V)), axis=0), axis=0)

    def nudged(self, size: Array, k: int | Array) -> "PatchForm":
        """The form with every number of patches and targets changed by the relative amount `size`, see `nudges`."""
        new = nudged(self.patches, size, k), nudged(self.targets, size, k + 7)
        return eqx.tree_at(lambda form: (form.patches, form.targets), self, new)

    def _second(self, residuals: Array) -> Array:
        """P^T diag(w rho''(r)) P; with trailing axes, one product with all products of two columns of P."""
        P, second = self.patches, self.loss.second_derivative(residuals)
        if residuals.ndim == 2:
            return jnp.einsum("rq,rc,rp->cqp", P, self.weights[:, None] * second, P, precision=_HIGHEST)
        low, high = np.tril_indices(P.shape[1])
        return symmetric(self._sum_over_rows(P[:, low] * P[:, high], second))

    def _predictions(self, V: Array) -> Float[Array, "rows c ..."]:
        """P V^T, computed as one product of two matrices for any number of axes of V."""
        columns = jnp.moveaxis(V, 1, 0)
        product = jnp.dot(self.patches, columns.reshape(columns.shape[0], -1), precision=_HIGHEST)
        return product.reshape(-1, *columns.shape[1:])

    def _sum_over_rows(self, table: Float[Array, "rows k"], numbers: Float[Array, "rows c ..."]) -> Array:
        """sum_i w_i table_i numbers_i, (c, k, ...)."""
        weighted = _trailing(self.weights[:, None], numbers) * numbers
        product = jnp.dot(table.T, weighted.reshape(weighted.shape[0], -1), precision=_HIGHEST)
        return jnp.moveaxis(product.reshape(-1, *numbers.shape[1:]), 0, 1)

    def _mean(self, numbers: Float[Array, "rows c ..."]) -> Float[Array, "..."]:
        """Weighted sum over rows, and sum over channels, as a matrix product, which is faster than a reduction."""
        product = jnp.dot(self.weights, numbers.reshape(numbers.shape[0], -1), precision=_HIGHEST)
        return jnp.sum(product.reshape(numbers.shape[1:]), axis=0)

    def _size(self, V: Array) -> Array:
        """The residuals if nothing cancelled; margins as they are, for no slope of theirs cancels in them."""
        if isinstance(self.loss, MarginLoss):
            return self._predictions(V)
        return jnp.abs(self._predictions(V)) + jnp.abs(_trailing(self.targets, V))


class QuadraticForm(Pytree):
    """l(V) = (|R V^T - C|^2 + s^2)/2 for the square loss, from the QR decomposition of sqrt(w) [P, Y].

    R keeps the risk accurate near interpolation, where the normal equations P^T P lose accuracy by cancellation.
    Derivatives with respect to data use the moments G = P^T w P, B = Y^T w P and |y|^2, which are polynomial in the
    data, because QR is not differentiable for rank-deficient data.

    Args:
        patches, targets, weights: as in `PatchForm`.
    """

    factor: Float[Array, "k q"]
    image: Float[Array, "k c"]
    rest: Float[Array, ""]
    gram: Float[Array, "q q"]
    moment: Float[Array, "c q"]
    energy: Float[Array, ""]
    patch_size: Float[Array, ""]
    rows: Float[Array, ""]

    def __init__(self, patches: Array, targets: Array, weights: Array) -> None:
        q, dtype = patches.shape[1], np.promote_types(patches.dtype, targets.dtype)
        patches, targets, weights = patches.astype(dtype), targets.astype(dtype), weights.astype(dtype)
        root = jnp.sqrt(lax.stop_gradient(weights))[:, None]
        stacked = root * lax.stop_gradient(jnp.concatenate([patches, targets], axis=1))
        triangle = jnp.linalg.qr(stacked, mode="r")
        self.factor = triangle[:q, :q]
        self.image = triangle[:q, q:]
        self.rest = jnp.sum(triangle[q:, q:] ** 2)
        weighted = weights[:, None] * patches
        self.gram = jnp.matmul(weighted.T, patches, precision=_HIGHEST)
        self.moment = jnp.matmul(targets.T, weighted, precision=_HIGHEST)
        self.energy = jnp.sum(weights[:, None] * targets**2)
        self.patch_size = jnp.sqrt(jnp.trace(lax.stop_gradient(self.gram)))
        self.rows = jnp.asarray(patches.shape[0], patches.dtype)

    @property
    def target_size(self) -> Float[Array, ""]:
        """Root of the weighted sum of squared targets."""
        return jnp.sqrt(self.energy)

    @property
    def rank(self) -> Int[Array, ""]:
        """Numerical rank of diag(sqrt(w)) P, from its triangular factor; P^T P would lose half of the digits."""
        return jnp.sum(values_above_rounding(self.factor, self.rows)[1])

    @property
    def smallest_singular_value(self) -> Float[Array, ""]:
        """Smallest singular value of diag(sqrt(w)) P; 0 without full column rank."""
        return smallest_singular_value(self.factor, self.rows)

    def value(self, V: Float[Array, "c q ..."]) -> Float[Array, "..."]:
        """The risk l(V)."""
        return _quadratic_value(V, self)

    def gradient(self, V: Float[Array, "c q ..."]) -> Float[Array, "c q ..."]:
        """dl/dV = (R V^T - C)^T R."""
        return _quadratic_gradient(V, self)

    def hessian(self, V: Float[Array, "c q ..."]) -> Float[Array, "c q q ..."]:
        """The second derivative of l at V, one (q, q) block G per output channel; blocks between channels are 0."""
        return jnp.broadcast_to(_trailing(self.gram[None], V), (V.shape[0], *self.gram.shape, *V.shape[2:]))

    def gradient_and_curvature(self, V: Float[Array, "c q ..."]) -> tuple[Float[Array, "c q ..."], CurvatureProduct]:
        """dl/dV, and the function that multiplies columns (c, q, n, ...) by l''(V)."""
        return self.gradient(V), self.curvature

    def curvature(self, columns: Float[Array, "c q n ..."]) -> Float[Array, "c q n ..."]:
        """Multiplies columns by l'', which is the same at every V."""
        return _contract("qp,cpn...->cqn...", self.gram, columns)

    def largest_trace(self, V: Float[Array, "c q ..."]) -> Float[Array, "..."]:
        """Trace of the second derivative, which is the same in every output channel."""
        return jnp.broadcast_to(self.patch_size**2, V.shape[2:])

    def rms_derivative(self, V: Float[Array, "c q ..."]) -> Float[Array, "..."]:
        """An upper bound of the root mean square of |P V^T| + |Y| by the triangle inequality; rho' = r for the square
        loss.

        It corresponds to `PatchForm.rms_derivative`.
        """
        prediction = _contract("rq,cq...->rc...", self.factor, V)
        size = jnp.sqrt(jnp.sum(prediction**2, axis=(0, 1)))
        return size + jnp.sqrt(jnp.sum(self.image**2) + self.rest)

    def nudged(self, size: Array, k: int | Array) -> "QuadraticForm":
        """The form with results of the QR decomposition changed by `size` times the norm of their column."""
        columns = jnp.linalg.norm(self.factor, axis=0)[None]
        sides = jnp.sqrt(jnp.diagonal(self.gram)) * signs(self.gram.shape[:1], k)
        new = (
            self.factor + size * columns * signs(self.factor.shape, k),
            self.image + size * self.target_size * signs(self.image.shape, k + 7),
            self.gram + size * jnp.outer(sides, sides),
        )
        return eqx.tree_at(lambda form: (form.factor, form.image, form.gram), self, new)


def _contract(subscripts: str, matrix: Array, x: Array) -> Array:
    return jnp.einsum(subscripts, matrix, x, precision=_HIGHEST)


def _trailing(matrix: Array, V: Array) -> Array:
    """`matrix` with an axis of length 1 appended for every trailing axis of V (c, q, ...)."""
    return matrix.reshape(matrix.shape + (1,) * (V.ndim - 2))


def _misfit(V: Array, form: QuadraticForm) -> Array:
    return _contract("rq,cq...->rc...", form.factor, V) - _trailing(form.image, V)


@jax.custom_jvp
def _quadratic_value(V: Array, form: QuadraticForm) -> Array:
    return (jnp.sum(_misfit(V, form) ** 2, axis=(0, 1)) + form.rest) / 2


def _quadratic_value_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    V, form = primals
    dV, dform = tangents
    tangent = jnp.zeros(V.shape[2:], V.dtype)
    if _perturbed(dV):
        tangent += jnp.sum(_quadratic_gradient(V, form) * dV, axis=(0, 1))
    if _perturbed(dform.gram):
        tangent += jnp.sum(V * _contract("pq,cq...->cp...", dform.gram, V), axis=(0, 1)) / 2
    if _perturbed(dform.moment):
        tangent -= jnp.sum(V * _trailing(dform.moment, V), axis=(0, 1))
    if _perturbed(dform.energy):
        tangent += dform.energy / 2
    return _quadratic_value(V, form), tangent


_quadratic_value.defjvp(_quadratic_value_jvp, symbolic_zeros=True)


@jax.custom_jvp
def _quadratic_gradient(V: Array, form: QuadraticForm) -> Array:
    return _contract("rq,rc...->cq...", form.factor, _misfit(V, form))


def _quadratic_gradient_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    V, form = primals
    dV, dform = tangents
    tangent = jnp.zeros_like(V)
    if _perturbed(dV):
        tangent += _contract("pq,cq...->cp...", form.gram, dV)
    if _perturbed(dform.gram):
        tangent += _contract("pq,cq...->cp...", dform.gram, V)
    if _perturbed(dform.moment):
        tangent -= _trailing(dform.moment, V)
    return _quadratic_gradient(V, form), tangent


_quadratic_gradient.defjvp(_quadratic_gradient_jvp, symbolic_zeros=True)


def _perturbed(tangent: object) -> bool:
    return not isinstance(tangent, jax.custom_derivatives.SymbolicZero)
