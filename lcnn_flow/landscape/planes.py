"""Complex numbers as two real arrays, so that operations on many of them are vectorised on CPUs.

XLA keeps complex numbers as pairs in memory, and loops over pairs do not become vector instructions: the programs of
the tracker are several times as fast on separate planes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lcnn_flow.numerics.kernels import unrolled_sum

__all__ = ["Planes", "concatenate", "contract", "select", "stack"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Planes:
    """re + i im, two arrays of one shape and rank."""

    re: Any
    im: Any

    @classmethod
    def of(cls, values: np.ndarray) -> "Planes":
        """The real and imaginary parts of a complex numpy array."""
        return cls(np.ascontiguousarray(np.real(values)), np.ascontiguousarray(np.imag(values)))

    def __add__(self, other: "Planes") -> "Planes":
        return Planes(self.re + other.re, self.im + other.im)

    def __sub__(self, other: "Planes") -> "Planes":
        return Planes(self.re - other.re, self.im - other.im)

    def __neg__(self) -> "Planes":
        return Planes(-self.re, -self.im)

    def __mul__(self, other: "Planes") -> "Planes":
        return Planes(self.re * other.re - self.im * other.im, self.re * other.im + self.im * other.re)

    def __getitem__(self, index: Any) -> "Planes":
        return Planes(self.re[index], self.im[index])

    def scaled(self, factor: Any) -> "Planes":
        """The product with a real array."""
        return Planes(self.re * factor, self.im * factor)

    def reshape(self, *shape: int) -> "Planes":
        """The same entries in another shape."""
        return Planes(self.re.reshape(shape), self.im.reshape(shape))

    @property
    def conj(self) -> "Planes":
        """re - i im."""
        return Planes(self.re, -self.im)

    @property
    def square(self) -> Any:
        """re^2 + im^2."""
        return self.re**2 + self.im**2

    @property
    def inverse(self) -> "Planes":
        """1 / (re + i im), for numbers whose squares neither overflow nor underflow."""
        return self.conj.scaled(1 / self.square)


def stack(parts: Sequence[Planes], axis: int = 0) -> Planes:
    """Stacks the parts along a new axis."""
    return Planes(jnp.stack([p.re for p in parts], axis), jnp.stack([p.im for p in parts], axis))


def concatenate(parts: Sequence[Planes], axis: int = 0) -> Planes:
    """Concatenates the parts along an axis."""
    return Planes(jnp.concatenate([p.re for p in parts], axis), jnp.concatenate([p.im for p in parts], axis))


def select(condition: Any, yes: Planes, no: Planes) -> Planes:
    """`yes` where the condition holds, else `no`."""
    return Planes(jnp.where(condition, yes.re, no.re), jnp.where(condition, yes.im, no.im))


def contract(left: Planes, right: Planes) -> Planes:
    """sum_r left_r right_r, with broadcasting of all other axes; one kernel per plane."""
    rows = left.re.shape[0]
    return Planes(
        unrolled_sum(rows, lambda r: left.re[r] * right.re[r] - left.im[r] * right.im[r]),
        unrolled_sum(rows, lambda r: left.re[r] * right.im[r] + left.im[r] * right.re[r]),
    )
