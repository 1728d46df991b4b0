"""Activation functions, and the properties of them that the theory uses.

An activation is applied to every entry, sigma(x), between layers but not after the last one. It is positively
homogeneous of degree p if sigma(t x) = t^p sigma(x) for all t > 0; gradient flow then conserves one quantity per hidden
channel (`symmetry.homogeneous`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lcnn_flow.arguments import described
from lcnn_flow.errors import ArchitectureError

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "Custom",
    "Power",
    "check_activation",
    "gelu",
    "leaky_relu",
    "relu",
    "softplus",
    "tanh",
]


@dataclass(frozen=True)
class Activation:
    """An elementwise function and its static properties; two with the same name and numbers are equal.

    Attributes:
        name: its name in `lcnn_flow.activations`.
        numbers: the parameters of a member of a family.
        degree: degree of positive homogeneity; None if it is not positively homogeneous.
        analytic: whether it is real analytic on the whole line.
        has_kink: whether its first or second derivative does not exist at 0.
        function: x -> sigma(x), elementwise.
    """

    name: str
    numbers: tuple[Any, ...]
    degree: float | None
    analytic: bool
    has_kink: bool
    function: Callable[[Array], Array] = field(compare=False, repr=False)

    def __call__(self, x: Array) -> Array:
        """The activation sigma(x), entry by entry."""
        return self.function(x)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(map(repr, self.numbers))})" if self.numbers else self.name


def leaky_relu(a: float) -> Activation:
    """x for x >= 0 and a x for x < 0, with 0 <= a < 1: homogeneous of degree 1, with a kink at 0.

    Args:
        a: slope for x < 0.

    Returns:
        An `Activation`, which acts on each number by itself.

    Raises:
        ArchitectureError: a is outside [0, 1).
    """
    if not (isinstance(a, int | float) and 0 <= a < 1):
        raise ArchitectureError(f"leaky_relu: a = {a!r} must be a number with 0 <= a < 1")
    return Activation("leaky_relu", (float(a),), 1.0, False, True, lambda x: jnp.where(x >= 0, x, float(a) * x))


def Power(p: float) -> Activation:
    """sign(x)^p |x|^p for an integer p >= 1, which is x^p; sign(x) |x|^p for other p > 1: homogeneous of degree p.

    Integer powers are analytic. For other p the derivative of order ceil(p) does not exist at 0; `has_kink` is true for
    p < 2.

    Args:
        p: the exponent, from 1 to below 100, known outside jit.

    Returns:
        An `Activation`, which acts on each number by itself.

    Raises:
        ArchitectureError: p is not a number with 1 <= p < 100.
    """
    if not (isinstance(p, int | float) and 1 <= p < 100):
        raise ArchitectureError(f"Power: p = {p!r} must be a number with 1 <= p < 100")
    p = float(p)
    if p.is_integer():
        return Activation("Power", (p,), p, True, False, lambda x: jax.lax.integer_pow(x, int(p)))
    return Activation("Power", (p,), p, False, p < 2, lambda x: _signed_power(x, p))


def Custom(fn: Callable[[Array], Array], degree: float | None = None, analytic: bool = False) -> Activation:
    """Any elementwise function of JAX arrays that is twice differentiable.

    Define the function once: each new lambda is compiled again.

    Args:
        fn: x -> sigma(x).
        degree: degree of positive homogeneity, or None; checked at a few points.
        analytic: whether fn is analytic on the whole line.

    Returns:
        An `Activation`, which acts on each number by itself.

    Raises:
        ArchitectureError: fn is not callable, changes the shape, or is not homogeneous of that degree.
    """
    if isinstance(fn, type) or not callable(fn):
        raise ArchitectureError(f"Custom: fn is {described(fn)}: write a function x -> sigma(x) of JAX arrays")
    points = jnp.asarray([-1.7, -0.6, 0.3, 1.1], jnp.float32)
    values = jnp.asarray(fn(points))
    if values.shape != points.shape:
        raise ArchitectureError(
            f"Custom: fn maps shape {points.shape} to {values.shape}: write an elementwise function"
        )
    if degree is not None:
        scaled = np.asarray(fn(points * jnp.float32(2.5)), float)
        if not np.allclose(scaled, 2.5**degree * np.asarray(values, float), rtol=1e-4, atol=1e-5):
            raise ArchitectureError(
                f"Custom: fn is not homogeneous of degree {degree}: write degree=None, or correct it"
            )
    return Activation("Custom", (fn,), degree, analytic, False, fn)


def _signed_power(x: Array, p: float) -> Array:
    return jnp.sign(x) * jnp.power(jnp.abs(x), p)


relu = Activation("relu", (), 1.0, False, True, jax.nn.relu)
"""max(x, 0): homogeneous of degree 1, with a kink at 0.

Flows of relu networks are attracted to kinks and slide along them, and most are UNDECIDED because of that
(`dynamics.sliding`). A smooth alternative is softplus(b x)/b for a large b, as `Custom`.
"""
tanh = Activation("tanh", (), None, True, False, jnp.tanh)
"""tanh(x): analytic; no conserved quantity."""
softplus = Activation("softplus", (), None, True, False, jax.nn.softplus)
"""log(1 + e^x): analytic; no conserved quantity."""
gelu = Activation("gelu", (), None, True, False, lambda x: jax.nn.gelu(x, approximate=False))
"""x Phi(x), where Phi is the normal distribution function (Hendrycks and Gimpel 2016): analytic; no conserved quantity.
"""

ACTIVATIONS: dict[str, Activation | Callable[..., Activation]] = {
    "relu": relu,
    "leaky_relu": leaky_relu,
    "tanh": tanh,
    "softplus": softplus,
    "gelu": gelu,
    "power": Power,
}
"""All activations that are described by their name and numbers, by name."""


def check_activation(activation: Any) -> Activation | None:
    """Returns the activation, or None for a linear network.

    Args:
        activation: what a user gave.

    Returns:
        The activation itself.

    Raises:
        ArchitectureError: it is something else, such as a bare function or a name.
    """
    if activation is None or isinstance(activation, Activation):
        return activation
    name = activation if isinstance(activation, str) else getattr(activation, "__name__", "")
    known = ACTIVATIONS.get(name.lower())
    remedy = f"lf.activations.{known.name if isinstance(known, Activation) else f'{name}(...)'}"
    if known is None:
        remedy = "lf.activations.tanh or another of lf.activations, or lf.activations.Custom(function)"
    raise ArchitectureError(f"activation is {described(activation)}: write {remedy}")
