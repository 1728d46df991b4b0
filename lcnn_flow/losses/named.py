"""Elementwise losses rho(r) of a residual r, with rho(0) = 0, and the properties that the theory requires.

Every loss gives rho, rho' and rho'' in forms free of cancellation and of overflow. Differentiating rho
returns the formula of rho', differentiating rho' the one of rho'', under any of `jax.grad`, `jvp` and `vmap`:
autodiff of a stable formula need not be stable. The named losses are those for which Diederen, Rauhut,
Terstiege, arXiv 2601.08547, state convergence; the stable forms are derived.
"""

import math
import numbers
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Real

from lcnn_flow.errors import LossError
from lcnn_flow.losses.base import Loss, LossTheory
from lcnn_flow.losses.formulas import (
    huber,
    huber_first,
    huber_inverse,
    huber_second,
    lp_formulas,
    pseudo_huber,
    pseudo_huber_first,
    pseudo_huber_second,
)
from lcnn_flow.numerics.arrays import as_float_array, is_concrete

__all__ = [
    "LOSSES",
    "Custom",
    "GeneralizedHuber",
    "LogCosh",
    "Lp",
    "PseudoHuber",
    "Square",
    "positive_parameter",
    "same_dtype",
]


class Square(Loss):
    """Square loss rho(r) = r^2 / 2."""

    name = "square"

    def __call__(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        r = as_float_array(r)
        return 0.5 * r * r

    def derivative(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return as_float_array(r)

    def second_derivative(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return jnp.ones_like(as_float_array(r))

    def largest_residual(self, value: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return math.sqrt(2.0) * jnp.sqrt(as_float_array(value))

    @property
    def theory(self) -> LossTheory:
        return LossTheory(analytic=True, convex=True, coercive=True, smoothness="analytic")


class Lp(Loss):
    """l_p loss rho(r) = |r|^p / p for p > 1; p is static.

    Finite only while |r|^p / p is representable. For 1 < p < 2 the second derivative (p-1) |r|^{p-2} is
    infinite at r = 0, and a derivative of rho' formed there by autodiff is infinite or NaN. Flows then bring residuals
    to 0 in finite time and slide along r_i = 0, where their equation is as stiff as the rounding of r_i allows: the
    closer p is to 1, the more of them end as STEP_LIMIT. Pseudo-Huber with a small delta is the smooth loss to use
    instead; its flows go on to the limit.

    Raises:
        LossError: p is not a plain number above 1.
    """

    name = "lp"
    parameters = ("p",)

    p: float = eqx.field(static=True)

    def __init__(self, p: float) -> None:
        if not isinstance(p, numbers.Real) or isinstance(p, bool):
            raise LossError(f"Lp: p = {p!r} is static: write a plain number above 1, such as Lp(p=4)")
        if not (1 < p < math.inf):
            raise LossError(f"Lp: p = {p} must be finite and above 1; write for example Lp(p=1.5)")
        self.p = float(p)

    def __call__(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return lp_formulas(self.p)[0](as_float_array(r))

    def derivative(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return lp_formulas(self.p)[1](as_float_array(r))

    def second_derivative(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return lp_formulas(self.p)[2](as_float_array(r))

    def largest_residual(self, value: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return self.p ** (1 / self.p) * as_float_array(value) ** (1 / self.p)

    @property
    def theory(self) -> LossTheory:
        if self.p % 2 == 0:
            return LossTheory(analytic=True, convex=True, coercive=True, smoothness="analytic")
        whole = math.ceil(self.p) - 1
        remark = "analytic away from r = 0; definable in an o-minimal structure"
        if self.p < 2:
            remark += "; rho'' is infinite at 0, so that uniqueness of the flow is not automatic"
        return LossTheory(analytic=False, convex=True, coercive=True, smoothness=f"C^{whole}", remark=remark)


class PseudoHuber(Loss):
    """Pseudo-Huber loss rho(r) = delta^2 (sqrt(1 + (r/delta)^2) - 1), delta > 0.

    Near 0 it is r^2/2, far out delta |r|. Evaluated as r (r / (1 + s)), s = sqrt(1 + (r/delta)^2).

    Raises:
        LossError: delta is not a finite positive number.
    """

    name = "pseudo_huber"
    parameters = ("delta",)

    delta: Any

    def __init__(self, delta: Real[ArrayLike, "..."] = 1.0) -> None:
        self.delta = _parameter("PseudoHuber", "delta", delta, above=0.0)

    def __call__(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return pseudo_huber(*same_dtype(r, self.delta))

    def derivative(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return pseudo_huber_first(*same_dtype(r, self.delta))

    def second_derivative(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return pseudo_huber_second(*same_dtype(r, self.delta))

    def largest_residual(self, value: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        value, delta = same_dtype(value, self.delta)
        return jnp.hypot(math.sqrt(2.0) * jnp.sqrt(value), value / delta)

    @property
    def theory(self) -> LossTheory:
        return LossTheory(analytic=True, convex=True, coercive=True, smoothness="analytic")


class GeneralizedHuber(Loss):
    """Generalised Huber loss rho(r) = (1/a) log((e^{ar} + e^{-ar} + b) / (2 + b)), a > 0, b > -2.

    Far out it is |r| - log(2+b)/a, near 0 a r^2/(2+b); convex iff b >= 0. It is the loss of Gokcesu and
    Gokcesu less its minimum value, so that rho(0) = 0.

    Raises:
        LossError: a is not a finite positive number, or b is not a finite number above -2.
    """

    name = "generalized_huber"
    parameters = ("a", "b")

    a: Any
    b: Any

    def __init__(self, a: Real[ArrayLike, "..."] = 1.0, b: Real[ArrayLike, "..."] = 1.0) -> None:
        self.a = _parameter("GeneralizedHuber", "a", a, above=0.0)
        self.b = _parameter("GeneralizedHuber", "b", b, above=-2.0)

    def __call__(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return huber(*same_dtype(r, self.a, self.b))

    def derivative(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return huber_first(*same_dtype(r, self.a, self.b))

    def second_derivative(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return huber_second(*same_dtype(r, self.a, self.b))

    def largest_residual(self, value: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return huber_inverse(*same_dtype(value, self.a, self.b))

    @property
    def theory(self) -> LossTheory:
        convex = bool(np.all(np.asarray(self.b) >= 0)) if is_concrete(self.b) else None
        return LossTheory(
            analytic=True,
            convex=convex,
            coercive=True,
            smoothness="analytic",
            remark="convex iff b >= 0 (for a batch: every b)",
        )


class LogCosh(Loss):
    """Log-cosh loss rho(r) = (1/a) log cosh(a r), a > 0: the generalised Huber loss with b = 0.

    Raises:
        LossError: a is not a finite positive number.
    """

    name = "log_cosh"
    parameters = ("a",)

    a: Any

    def __init__(self, a: Real[ArrayLike, "..."] = 1.0) -> None:
        self.a = _parameter("LogCosh", "a", a, above=0.0)

    def __call__(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return huber(*same_dtype(r, self.a, 0.0))

    def derivative(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return huber_first(*same_dtype(r, self.a, 0.0))

    def second_derivative(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return huber_second(*same_dtype(r, self.a, 0.0))

    def largest_residual(self, value: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return huber_inverse(*same_dtype(value, self.a, 0.0))

    @property
    def theory(self) -> LossTheory:
        return LossTheory(analytic=True, convex=True, coercive=True, smoothness="analytic")


class Custom(Loss):
    """Any loss given by an elementwise JAX function; its derivatives are those of autodiff.

    Args:
        fn: r -> rho(r), elementwise, with fn(0) = 0. Static: define it once, a new lambda compiles anew.
        theory: what is known of it; everything is unknown by default.

    Raises:
        LossError: fn is not callable, changes the shape, or fn(0) is not 0.
    """

    name = "custom"
    parameters = ("fn",)

    fn: Callable[[Array], Array] = eqx.field(static=True)
    _theory: LossTheory | None = eqx.field(static=True)

    def __init__(self, fn: Callable[[Array], Array], theory: LossTheory | None = None) -> None:
        if not callable(fn):
            raise LossError(f"Custom: {fn!r} is not callable: pass a function r -> rho(r) of JAX arrays")
        at_zero = jnp.asarray(fn(jnp.zeros((2,))))
        if at_zero.shape != (2,):
            raise LossError(f"Custom: fn maps shape (2,) to {at_zero.shape}: write an elementwise function")
        if is_concrete(at_zero) and not np.all(np.asarray(at_zero) == 0):
            raise LossError(f"Custom: fn(0) = {at_zero[0]} instead of 0: subtract that value in fn")
        self.fn = fn
        self._theory = theory

    def __call__(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        return self.fn(as_float_array(r))

    def derivative(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        r = as_float_array(r)
        return jax.jvp(self.fn, (r,), (jnp.ones_like(r),))[1]

    def second_derivative(self, r: Real[ArrayLike, "..."]) -> Float[Array, "..."]:
        r = as_float_array(r)
        return jax.jvp(self.derivative, (r,), (jnp.ones_like(r),))[1]

    @property
    def theory(self) -> LossTheory:
        return self._theory or LossTheory(analytic=None, convex=None, coercive=None)


LOSSES: dict[str, type[Loss]] = {loss.name: loss for loss in (Square, Lp, PseudoHuber, GeneralizedHuber, LogCosh)}
"""The losses of the theory, by name."""


def positive_parameter(loss: str, name: str, value: Any) -> Any:
    """The parameter `value` as a leaf of the loss; raises LossError if it is not above 0."""
    return _parameter(loss, name, value, above=0.0)


def _parameter(loss: str, name: str, value: Any, above: float) -> Any:
    """The parameter `value` as a leaf of the loss; raises LossError if it is not finite and above `above`.

    Tracers have no value yet and are not checked.
    """
    if isinstance(value, Tracer):
        return value
    try:
        numbers_in = np.asarray(value, dtype=float)
    except (TypeError, ValueError) as err:
        raise LossError(f"{loss}: {name} = {value!r} is not a number: write for example {name}=1.0") from err
    if not np.all(np.isfinite(numbers_in) & (numbers_in > above)):
        raise LossError(f"{loss}: {name} = {value!r} must be finite and above {above:g}")
    return float(value) if isinstance(value, int | float) else as_float_array(value)


def same_dtype(r: Any, *parameters: Any) -> tuple[Array, ...]:
    """The parameters in the dtype of r, so that a float32 residual stays float32."""
    r = as_float_array(r)
    return (r, *(jnp.asarray(value, r.dtype) for value in parameters))
