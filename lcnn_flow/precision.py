"""A warning, once per process, where float64 data silently become float32."""

import functools
import warnings
from typing import Any

import jax
import numpy as np

__all__ = ["warn_where_narrowed"]


def warn_where_narrowed(value: Any) -> None:
    """Warns once if `value` is a numpy array of float64 and JAX computes in float32."""
    if isinstance(value, np.ndarray) and value.dtype == np.float64 and not jax.config.read("jax_enable_x64"):
        _warn()


@functools.cache
def _warn() -> None:
    warnings.warn(
        "float64 data become float32, because JAX computes in float32 by default, and limits are then exact to 1e-4 at "
        'best: call jax.config.update("jax_enable_x64", True) before the first array, or pass float32 data',
        UserWarning,
        stacklevel=5,
    )
