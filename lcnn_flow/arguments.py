"""Checks the kinds of arguments, so that errors name the argument before JAX or Python fails on it."""

from typing import Any

import jax
import jax.numpy as jnp

from lcnn_flow.errors import LcnnFlowError

__all__ = ["check_key", "check_kind", "described", "is_batch_of_keys"]


def described(value: Any) -> str:
    """The kind of a value, for an error message: "the class Square", "an Architecture", "a tuple of 2"."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, jax.Array):
        return f"an array of shape {value.shape}"
    if isinstance(value, str | bool | int | float) or value is None:
        return repr(value)
    name = type(value).__name__
    if hasattr(value, "_fields"):
        return f"a {name}"
    if isinstance(value, tuple | list):
        return f"a {name} of {len(value)}"
    if callable(value) and name in ("function", "builtin_function_or_method", "PjitFunction", "partial"):
        return "a function"
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def check_kind(
    function: str,
    name: str,
    value: Any,
    kind: type[Any] | tuple[type[Any], ...],
    remedy: str,
    error: type[LcnnFlowError],
) -> None:
    """Raises `error` unless `value` is of the kind; `remedy` says what to write."""
    if not isinstance(value, kind):
        raise error(f"{function}: {name} is {described(value)}: {remedy}")


def is_batch_of_keys(key: Any) -> bool:
    """Whether `key` is a one-dimensional batch of keys of `jax.random`, of either kind."""
    if not isinstance(key, jax.Array):
        return False
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key.ndim == 1
    return key.dtype == jnp.uint32 and key.ndim == 2 and key.shape[1] == 2


def check_key(function: str, key: Any, error: type[LcnnFlowError]) -> None:
    """Raises `error` unless `key` is one key of `jax.random`, of either kind."""
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if typed and key.ndim == 0:
        return
    if not typed and getattr(key, "shape", None) == (2,) and getattr(key, "dtype", None) == jnp.uint32:
        return
    seed = key if isinstance(key, int) and not isinstance(key, bool) else 0
    remedy = "for many keys use jax.vmap" if typed or is_batch_of_keys(key) else f"write jax.random.key({seed})"
    raise error(f"{function}: key is {described(key)}, and not one key: {remedy}")
