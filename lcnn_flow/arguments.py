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
    return key.ndim == 1 if _is_typed(key) else _has_words(key, 2)


def check_key(function: str, key: Any, error: type[LcnnFlowError]) -> None:
    """Raises `error` unless `key` is one key of `jax.random`, of either kind."""
    typed = _is_typed(key)
    if key.ndim == 0 if typed else _has_words(key, 1):
        return
    seed = key if isinstance(key, int) and not isinstance(key, bool) else 0
    remedy = "for many keys use jax.vmap" if typed or _has_words(key, 2) else f"write jax.random.key({seed})"
    raise error(f"{function}: key is {described(key)}, and not one key: {remedy}")


def _is_typed(key: Any) -> bool:
    return isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)


def _has_words(key: Any, ndim: int) -> bool:
    """Whether an array of this many axes consists of keys of the old kind, two words each."""
    fits = getattr(key, "ndim", 0) == ndim and getattr(key, "dtype", None) == jnp.uint32
    return fits and key.shape[-1] == 2
