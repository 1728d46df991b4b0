"""A-priori bound on the filters of a gradient flow: |w_l(t)|^2 <= mu + c_l for all t >= 0.

The bound follows from three facts. The risk does not increase, which bounds the residuals and with them the end-to-end
filter: |v| <= R. Mahler's measure is multiplicative, which bounds the product of norms: prod_l |w_l| <= kappa |v|. The
differences c_l = |w_l|^2 - min_m |w_m|^2 are conserved, so mu is the root of prod_l (mu + c_l) = (kappa R)^2. Derived.
"""

import math

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from lcnn_flow.losses.base import Loss
from lcnn_flow.losses.named import GeneralizedHuber, LogCosh, Lp, PseudoHuber, Square
from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.parameters import Params, layer_norms, ravel
from lcnn_flow.numerics.arrays import as_float_array
from lcnn_flow.risk.chain_rule import filter_rows
from lcnn_flow.risk.outer import PatchForm, QuadraticForm

__all__ = ["bound_from", "mahler_constant", "residual_bound"]

_BISECTIONS = 80


def bound_from(
    arch: Architecture, loss: Loss, params: Params, form: PatchForm | QuadraticForm, stretch: Array
) -> Float[Array, " N"]:
    """Bound on (|w_1(t)|, ..., |w_N(t)|) for all t >= 0, given a lower bound `stretch` of |D P v|/|v|.

    With the weights w_i of the rows of P and D = diag(sqrt(w_i)), |D P v| <= |D y| + |D r| bounds |v|, because L(t) <=
    L(0) bounds |D r|, r = P v - y. The bound is infinite if `stretch` is 0.
    """
    value = form.value(filter_rows(arch, params))
    exact = isinstance(form, QuadraticForm)
    residuals = jnp.sqrt(2 * value) if exact else residual_bound(loss, value, form.weights)
    known = stretch > 0
    radius = (form.target_size + residuals) / jnp.where(known, stretch, 1)
    squares = layer_norms(arch, ravel(params)) ** 2
    excess = squares - jnp.min(squares)
    bound = jnp.sqrt(_balanced_root(excess, mahler_constant(arch) * radius) + excess)
    return jnp.where(known, bound, jnp.inf)


def mahler_constant(arch: Architecture) -> float:
    """kappa with prod_l |w_l| <= kappa |v| for every single-channel end-to-end filter v = pi(w) and any strides.

    kappa = prod over layers and axes of sqrt(binom(2(k-1), k-1)). Derivation: a coefficient of a polynomial p of
    degrees d_j is at most prod_j binom(d_j, i_j) times its Mahler measure M(p) (Mahler 1962); the squares of the
    binomials sum to binom(2 d, d); M is multiplicative and independent of strides; and M(p) <= |p|.
    """
    return math.prod(math.sqrt(math.comb(2 * (k - 1), k - 1)) for kernel in arch.kernel_sizes for k in kernel)


def residual_bound(loss: Loss, value: Array, weights: Array) -> Array:
    """Bound on |D r| = sqrt(sum w_i r_i^2) over all r with sum w_i rho(r_i) <= value.

    Put q_i = w_i rho(r_i). Then q >= 0, sum q_i <= value, and |D r|^2 = sum w_i g(q_i/w_i) with g(q) = r_max(q)^2. If
    rho(sqrt(s)) is concave, then g is convex, and a convex function on a simplex is largest at a corner, where all of
    `value` is in one residual: max_i w_i g(value/w_i). Concavity holds if and only if rho'(r)/r does not increase: for
    the square loss, l_p with p <= 2, pseudo-Huber, log-cosh, and generalised Huber with b <= 4, because b (x cosh x -
    sinh x) <= sinh 2x - 2x holds term by term of the series if and only if b <= 4. For l_p with p > 2 Hoelder's
    inequality gives (sum w_i)^(1-2/p) (p value)^(2/p). For every other loss each residual is allowed all of `value`.
    """
    if isinstance(loss, Lp) and loss.p > 2:
        return jnp.sum(weights) ** (0.5 - 1 / loss.p) * loss.largest_residual(value)
    present = weights > 0
    largest = loss.largest_residual(value / jnp.where(present, weights, 1))
    each = jnp.where(present, jnp.sqrt(weights) * largest, 0)
    corner, together = jnp.max(each), jnp.linalg.norm(each)
    if isinstance(loss, GeneralizedHuber):
        return jnp.where(jnp.asarray(loss.b) <= 4, corner, together)
    return corner if isinstance(loss, Square | Lp | PseudoHuber | LogCosh) else together


def _balanced_root(excess: Float[Array, " N"], product: Array) -> Array:
    """The mu >= 0 with prod_l (mu + c_l) = product^2, by bisection in log mu; returns the upper end, which is a bound.

    One c_l is 0, hence mu <= product^(2/N). All factors but one are then bounded, which bounds mu from below.
    """
    excess = as_float_array(excess)
    positive = product > 0
    target = 2 * jnp.log(jnp.where(positive, product, 1))
    above = target / excess.size
    factors = jnp.log(jnp.exp(above) + excess)
    below = target - (jnp.sum(factors) - jnp.min(factors))

    def halve(_: Array, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = (low + high) / 2
        beyond = jnp.sum(jnp.log(jnp.exp(middle) + excess)) >= target
        return jnp.where(beyond, low, middle), jnp.where(beyond, middle, high)

    _, high = lax.fori_loop(0, _BISECTIONS, halve, (jnp.minimum(below, above), above))
    return jnp.where(positive, jnp.exp(high), 0)
