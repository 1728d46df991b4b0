"""Argument checks shared by inputs, targets and corruption."""

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from lcnn_flow.errors import DataError
from lcnn_flow.numerics.arrays import as_float_array, is_concrete, warn_where_narrowed

__all__ = ["check_finite", "count", "number", "real_array"]


def real_array(name: str, value: Any) -> jax.Array:
    """`value` as a floating array.

    Raises:
        DataError: it is not an array of real numbers.
    """
    warn_where_narrowed(value)
    if not isinstance(value, jax.Array):
        try:
            array = np.asarray(value)
        except ValueError as err:
            raise DataError(f"{name} is ragged: pass an array, or nested lists of equal lengths") from err
        if array.dtype.kind not in "biuf" and not jnp.issubdtype(array.dtype, jnp.floating):
            raise DataError(f"{name} holds {array.dtype} values: pass an array of real numbers")
        # JAX supports neither foreign byte orders nor extended precision
        value = array.astype(np.float64) if array.dtype.itemsize > 8 else array.astype(array.dtype.newbyteorder("="))
    elif jnp.issubdtype(value.dtype, jnp.complexfloating):
        raise DataError(f"{name} holds {value.dtype} values: pass an array of real numbers")
    return as_float_array(value)


def check_finite(name: str, array: jax.Array) -> None:
    """Raises DataError if a concrete array has NaN or infinite entries; names the first of them and their number."""
    if not is_concrete(array):
        return
    bad = ~np.isfinite(np.asarray(array, dtype=np.float64))
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        value = np.asarray(array)[first]
        raise DataError(
            f"{name}[{', '.join(map(str, first))}] is {value}, the first of {int(bad.sum())} entries "
            "that are not finite: remove those samples or fill the gaps"
        )


def number(owner: str, name: str, value: object, low: float, high: float, open_ends: bool = False) -> float | Array:
    """Converts `value` in [low, high], or in (low, high) with `open_ends`, to a pytree leaf; tracers are not checked.

    Raises:
        DataError: it is not a finite number in that range.
    """
    if isinstance(value, Tracer):
        return value
    try:
        values = np.asarray(value, dtype=float)
    except (TypeError, ValueError) as err:
        raise DataError(f"{owner}: {name} = {value!r} is not a number") from err
    inside = (values > low) & (values < high) if open_ends else (values >= low) & (values <= high)
    if not np.all(inside & np.isfinite(values)):
        interval = f"({low:g}, {high:g})" if open_ends else f"[{low:g}, {high:g}]"
        raise DataError(f"{owner}: {name} = {value!r} must be a finite number in {interval}")
    return float(value) if isinstance(value, int | float) else as_float_array(value)


def count(owner: str, name: str, value: Any, least: int = 1) -> int:
    """`value` as a static integer of at least `least`.

    Raises:
        DataError: it is not an integer, or too small.
    """
    try:
        whole = operator.index(value)
    except TypeError as err:
        raise DataError(f"{owner}: {name} = {value!r} must be a plain integer") from err
    if whole < least or isinstance(value, bool):
        raise DataError(f"{owner}: {name} = {value!r} must be an integer of at least {least}")
    return whole
