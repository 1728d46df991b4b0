"""Conversion of user input to arrays, the test whether values are known, and the warning about lost precision."""

import functools
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

__all__ = ["DType", "as_float_array", "is_concrete", "warn_where_narrowed"]

DType = np.dtype[Any] | type[Any]
"""A type of numbers: of an array, or a class such as `jnp.float32`."""


def is_concrete(*arrays: object) -> bool:
    """Whether the values of all `arrays` are known: false for tracers and abstract shapes."""
    return all(isinstance(x, int | float) or (hasattr(x, "__array__") and not isinstance(x, Tracer)) for x in arrays)


def as_float_array(x: Any) -> jax.Array:
    """Converts `x` to a floating-point array.

    A floating type is kept; integers and booleans become the default floating type.
    """
    if isinstance(x, np.ndarray) and x.dtype.kind in "biu":  # JAX would compile one program per shape
        x = x.astype(jnp.result_type(float))
    array = jnp.asarray(x)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(jnp.result_type(float))


def warn_where_narrowed(value: object) -> None:
    """Warns, once per process, if `value` is a float64 numpy array and JAX computes in float32."""
    if isinstance(value, np.ndarray) and value.dtype == np.float64 and not jax.config.read("jax_enable_x64"):
        _warn()


@functools.cache
def _warn() -> None:
    warnings.warn(
        "float64 data become float32, because JAX computes in float32 by default, and limits are then accurate "
        'to 1e-4 at best: call jax.config.update("jax_enable_x64", True) before the first array, or pass float32 data',
        UserWarning,
        stacklevel=5,
    )
