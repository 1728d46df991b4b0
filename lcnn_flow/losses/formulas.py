"""Formulas of rho, rho' and rho'' without cancellation and overflow, connected for automatic differentiation.

With s = sqrt(1 + (r/delta)^2), pseudo-Huber is r (r/(1 + s)). With t = e^{-a|r|}, the generalised Huber
loss is log1p(4 sinh^2(ar/2)/(2+b))/a near 0 and |r| + (log(1 + b t + t^2) - log(2+b))/a far out. Derived from
the textbook forms, which lose every digit near 0 and overflow far out.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array

__all__ = [
    "elementwise",
    "huber",
    "huber_first",
    "huber_inverse",
    "huber_second",
    "lp_formulas",
    "pseudo_huber",
    "pseudo_huber_first",
    "pseudo_huber_second",
]


def elementwise(
    formula: Callable[..., Array], slope: Callable[..., Array], twin: Callable[..., Array] | None = None
) -> Callable[..., Array]:
    """`formula(r, *parameters)` whose derivative in r is `slope`, and in the parameters that of the formula.

    Symbolic zeros keep the tangents of constant parameters out of the program. `twin` is an equal formula, where
    the one that evaluates fastest has parameter derivatives that cancel.
    """
    function, twin = jax.custom_jvp(formula), twin or formula

    @partial(function.defjvp, symbolic_zeros=True)
    def _jvp(primals: tuple[Array, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
        value, total = function(*primals), None
        if not isinstance(tangents[0], SymbolicZero):
            total = slope(*primals) * tangents[0]
        moving = [i for i, t in enumerate(tangents) if i > 0 and not isinstance(t, SymbolicZero)]
        if moving:

            def of_moving(*parameters: Array) -> Array:
                arguments = list(primals)
                for i, parameter in zip(moving, parameters, strict=True):
                    arguments[i] = parameter
                return twin(*arguments)

            tangent = jax.jvp(of_moving, tuple(primals[i] for i in moving), tuple(tangents[i] for i in moving))[1]
            total = tangent if total is None else total + tangent
        return value, jnp.zeros_like(value) if total is None else total

    return function


def _abs_sign(r: Array) -> tuple[Array, Array]:
    """(|r|, sign of r) with sign +1 at 0: the right-hand derivative of |r| there.

    With it, autodiff of a formula in |r| that is analytic and even gives all derivatives at 0.
    """
    positive = r >= 0
    return jnp.where(positive, r, -r), jnp.where(positive, 1.0, -1.0).astype(r.dtype)


@cache
def lp_formulas(p: float) -> tuple[Callable[..., Array], ...]:
    """(rho, rho', rho'') of |r|^p / p; built once for every p, so that nothing is traced anew."""
    whole = p.is_integer()

    def power(x: Array, exponent: float) -> Array:
        return jax.lax.integer_pow(x, int(exponent)) if whole else jnp.power(x, exponent)

    def value(r: Array) -> Array:
        size = jnp.abs(r)
        return size * (power(size, p - 1) / p)

    def first(r: Array) -> Array:
        return power(r, p - 1) if p % 2 == 0 else jnp.sign(r) * power(jnp.abs(r), p - 1)

    def second(r: Array) -> Array:
        return (p - 1) * power(r if p % 2 == 0 else jnp.abs(r), p - 2)

    slope = elementwise(first, second)
    return elementwise(value, slope), slope, second


_NEWTON = {32: (jnp.int32, 0x5F3759DF, 3), 64: (jnp.int64, 0x5FE6EB50C7B537A9, 4)}
"""By number of bits: integer type, magic number of the first approximation, and Newton steps to full precision."""


@jax.custom_jvp
def _inverse_root(x: Array) -> Array:
    """1/sqrt(x) of normal numbers x > 0 to one ulp, by Newton's method from an approximation that halves the exponent.

    XLA replaces divisions by square roots with its own reciprocal square root, which is not vectorised on CPUs without
    AVX-512. This function consists of products and sums, which are vectorised on all CPUs.
    """
    bits = jnp.finfo(x.dtype).bits
    if bits not in _NEWTON:
        return jax.lax.rsqrt(x)
    integer, magic, steps = _NEWTON[bits]
    halved = jax.lax.shift_right_logical(jax.lax.bitcast_convert_type(x, integer), jnp.asarray(1, integer))
    y, half = jax.lax.bitcast_convert_type(jnp.asarray(magic, integer) - halved, x.dtype), 0.5 * x
    for _ in range(steps - 1):
        y = y * (1.5 - (half * y) * y)
    return y + (0.5 * y) * (1.0 - (x * y) * y)


@_inverse_root.defjvp
def _inverse_root_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    y = _inverse_root(primals[0])
    return y, -0.5 * (y * y * y) * tangents[0]


def _ratio(r: Array, delta: Array) -> Array:
    """r/delta, limited to values whose square is representable; beyond them rho' and rho'' are constant."""
    q = r * (1.0 / jnp.maximum(delta, jnp.finfo(r.dtype).tiny))
    most = float(jnp.finfo(q.dtype).max) ** 0.45
    return jnp.clip(q, -most, most)


def _root(r: Array, delta: Array) -> Array:
    """sqrt(1 + (r/delta)^2) without overflow of the square, smooth at 0."""
    return jnp.maximum(jnp.sqrt(1.0 + _ratio(r, delta) ** 2), jnp.abs(r / delta))


def pseudo_huber_second(r: Array, delta: Array) -> Array:
    q = _ratio(r, delta)
    inverse = _inverse_root(1.0 + q * q)
    return inverse * inverse * inverse


def _pseudo_huber_first_formula(r: Array, delta: Array) -> Array:
    q = _ratio(r, delta)
    return delta * (q * _inverse_root(1.0 + q * q))


def _pseudo_huber_first_twin(r: Array, delta: Array) -> Array:
    return r / _root(r, delta)


def _pseudo_huber_formula(r: Array, delta: Array) -> Array:
    return r * (r / (1.0 + _root(r, delta)))


pseudo_huber_first = elementwise(_pseudo_huber_first_formula, pseudo_huber_second, _pseudo_huber_first_twin)
pseudo_huber = elementwise(_pseudo_huber_formula, pseudo_huber_first)


def _huber_terms(r: Array, a: Array, b: Array) -> tuple[Array, Array, Array, Array]:
    """(sign, t, u, D), t = e^{-a|r|}, u = 1 - t, D = 1 + b t + t^2 = u^2 + (2+b) t, a sum of positives."""
    size, sign = _abs_sign(r)
    t, u = jnp.exp(-a * size), -jnp.expm1(-a * size)
    return sign, t, u, u * u + (2.0 + b) * t


def _is_near(r: Array, a: Array, b: Array) -> Array:
    """Whether rho is still far below |r|: up to about the r at which e^{a|r|} reaches 2 + b."""
    return a * jnp.abs(r) <= 1.0 + jnp.log1p(2.0 + b)


def huber_second(r: Array, a: Array, b: Array) -> Array:
    _, t, u, d = _huber_terms(r, a, b)
    # 4t + b(1 + t^2) cancels near r = 0 for b near -2, and -2u^2 + (2+b)(1 + t^2) far out for b near 0
    numerator = jnp.where(b < -1, (2.0 + b) * (1.0 + t * t) - 2.0 * u * u, 4.0 * t + b * (1.0 + t * t))
    return a * (t / d) * (numerator / d)


def _huber_first_formula(r: Array, a: Array, b: Array) -> Array:
    sign, t, u, d = _huber_terms(r, a, b)
    # equal; but far out only the second has a derivative in a and b that does not cancel
    return sign * jnp.where(_is_near(r, a, b), u * ((1.0 + t) / d), 1.0 - t * ((b + 2.0 * t) / d))


def _huber_formula(r: Array, a: Array, b: Array) -> Array:
    size, _ = _abs_sign(r)
    near = _is_near(r, a, b)
    # each branch sees only arguments at which it neither overflows nor cancels
    inner, outer = jnp.where(near, size, 0.0), jnp.where(near, 0.0, size)
    half_chord = jnp.sinh(0.5 * a * inner)
    close = jnp.log1p(half_chord * (half_chord * (4.0 / (2.0 + b)))) / a
    t = jnp.exp(-a * outer)
    far = outer + (jnp.log1p(t * (b + t)) - jnp.log(2.0 + b)) / a
    return jnp.where(near, close, far)


def huber_inverse(value: Array, a: Array, b: Array) -> Array:
    """The r >= 0 with rho(r) = value: (2/a) asinh(sqrt((2+b) expm1(a value))/2), far out value + log(2+b)/a."""
    exponent = a * value
    # e^{a value} is representable below, and 1/((2+b) e^{a value}) below rounding above
    far = exponent > 0.4 * jnp.log(jnp.finfo(value.dtype).max)
    chord = 0.5 * jnp.sqrt(2.0 + b) * jnp.sqrt(jnp.expm1(jnp.where(far, 0.0, exponent)))
    return jnp.where(far, value + jnp.log(2.0 + b) / a, 2.0 * jnp.arcsinh(chord) / a)


huber_first = elementwise(_huber_first_formula, huber_second)
huber = elementwise(_huber_formula, huber_first)
