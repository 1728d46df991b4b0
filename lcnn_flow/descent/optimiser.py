"""An optimiser as a factory and its numbers, so that one compiled program serves all numbers.

Every call `optax.adam(1e-3)` creates new functions, which JAX would compile as a new program. The factory `optax.adam`
is always the same object: it is called inside the program, with numbers that are arguments of the program.
"""

import inspect
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from difflib import get_close_matches
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from lcnn_flow.arguments import described
from lcnn_flow.errors import DescentError
from lcnn_flow.numerics.arrays import DType

__all__ = ["checked_numbers", "make", "rates", "standard_promotion", "time_unit"]

RATE = "learning_rate"


def checked_numbers(optimiser: Any, numbers: Any, dtype: DType, leading: int = 0) -> dict[str, Any]:
    """The arguments of a factory as they are traced: floating numbers become arrays, everything else is unchanged.

    Args:
        optimiser: a function that returns an optax.GradientTransformation, or a GradientTransformation.
        numbers: arguments of the function, by name.
        dtype: type of the parameters.
        leading: largest number of axes that a number may have.

    Raises:
        DescentError: it is not an optimiser, or does not accept these arguments.
    """
    given = {} if numbers is None else numbers
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise DescentError(f"numbers are {described(numbers)}: write {{'learning_rate': 1e-3}}")
    if isinstance(optimiser, optax.GradientTransformation):
        if given:
            raise DescentError(
                "a ready-made optimiser has its numbers already: write the factory and its numbers, optax.adam and "
                "{'learning_rate': 1e-3}, or leave the numbers out"
            )
        return {}
    if not callable(optimiser):
        raise DescentError(
            f"optimiser is {described(optimiser)}: write a factory of optax and its numbers, optax.adam, "
            "{'learning_rate': 1e-3}"
        )
    _check_names(optimiser, given)
    return {name: _number(name, value, dtype, leading) for name, value in sorted(given.items())}


def _check_names(factory: Callable[..., Any], given: Mapping[str, Any]) -> None:
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return  # the call itself reports missing arguments
    name, known = getattr(factory, "__name__", described(factory)), list(signature.parameters)
    parameters = signature.parameters.values()
    if not any(p.kind == p.VAR_KEYWORD for p in parameters) and (unknown := [x for x in given if x not in known]):
        near = get_close_matches(unknown[0], known, 1)
        raise DescentError(
            f"{name} has no number {unknown[0]!r}: " + (f"did you mean {near[0]!r}?" if near else ", ".join(known))
        )
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    missing = [p.name for p in parameters if p.default is p.empty and p.kind in named and p.name not in given]
    if missing:
        raise DescentError(f"{name} needs {', '.join(missing)}: write {{{missing[0]!r}: ...}}")


def _number(name: str, value: Any, dtype: DType, leading: int) -> Any:
    if isinstance(value, list):
        value = np.asarray(value)
    floating = isinstance(value, float) or (
        hasattr(value, "dtype") and hasattr(value, "shape") and jnp.issubdtype(value.dtype, jnp.floating)
    )
    if name == RATE and not floating and not isinstance(value, bool) and isinstance(value, int | np.integer):
        value, floating = float(value), True
    if not floating:
        return value
    array = jnp.asarray(value, dtype)
    if array.ndim > leading:
        many = "" if leading else ": for many of them use gradient_descent_ensemble"
        raise DescentError(f"numbers[{name!r}] has shape {array.shape}, but at most {leading} axes are allowed{many}")
    return array


def make(optimiser: Any, numbers: dict[str, Any]) -> optax.GradientTransformationExtraArgs:
    """Creates the optimiser; numbers may be traced.

    Raises:
        DescentError: the factory does not return an optimiser, or needs the value of a traced number.
    """
    made, name = optimiser, getattr(optimiser, "__name__", "the factory")
    if not isinstance(optimiser, optax.GradientTransformation):
        try:
            made = optimiser(**numbers)
        except jax.errors.ConcretizationTypeError as error:
            raise DescentError(
                f"{name} needs the values of its numbers, which are traced: pass it ready-made, {name}(...), without "
                "numbers"
            ) from error
    if not isinstance(made, optax.GradientTransformation):
        raise DescentError(f"{name} returns {described(made)}: it must return an optax.GradientTransformation")
    return optax.with_extra_args_support(made)


def time_unit(numbers: Mapping[str, Any]) -> str:
    """The unit of time of a descent: "learning_rate" if one is given, otherwise "steps"."""
    rate = numbers.get(RATE)
    return RATE if rate is not None and (callable(rate) or hasattr(rate, "dtype")) else "steps"


def rates(numbers: Mapping[str, Any], steps: int, dtype: DType) -> Float[Array, " steps"]:
    """The increase of time in every step."""
    rate = numbers.get(RATE)
    if time_unit(numbers) == "steps":
        return jnp.ones(steps, dtype)
    if not callable(rate):
        return jnp.broadcast_to(jnp.asarray(rate, dtype), (steps,))
    with standard_promotion():
        found = jax.vmap(lambda k: jnp.asarray(rate(k), dtype))(jnp.arange(steps, dtype=jnp.int32))
    return found.astype(dtype)


def standard_promotion() -> ExitStack:
    """Context in which optax is traced: JAX's default promotion of types and ranks, which optax requires."""
    stack = ExitStack()
    stack.enter_context(jax.numpy_dtype_promotion("standard"))
    stack.enter_context(jax.numpy_rank_promotion("allow"))
    return stack
