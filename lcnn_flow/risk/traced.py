"""Tracing of a user's function to a program that takes closed-over arrays as arguments.

Arrays that a function closes over are not visible in its signature. In the traced program they are arguments: other
values can be passed, derivatives with respect to them are computed, and later changes of their values take effect.
Tracing the same function to the same program returns the same object, so that JAX compiles it once.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun
from jaxtyping import PyTree

from lcnn_flow.errors import RiskError

__all__ = ["Traced", "trace"]


class Traced:
    """A function of arrays and of the arrays that it closed over; compares by identity."""

    def __init__(self, program: Any) -> None:
        self._program = program

    def __call__(self, constants: tuple[jax.Array, ...], *arrays: jax.Array) -> jax.Array:
        """The number that the function returns."""
        return jaxpr_as_fun(self._program)(*constants, *arrays)[0]


def trace(
    name: str, function: Callable[..., Any], call: Callable[..., Any], *arguments: Any
) -> tuple[Traced, tuple[Any, ...]]:
    """Traces `call`, which calls `function` with trees of arrays; returns the program and the arrays it closes over.

    Args:
        name: name of the function, for error messages.
        function: the function of the user; together with the text of the program it identifies the program.
        call: function of `arguments`.
        arguments: trees of shapes and types.

    Raises:
        RiskError: the function does not return one real number.
    """
    with jax.default_matmul_precision("highest"):
        closed, shapes = jax.make_jaxpr(call, return_shape=True)(*arguments)
    _check_number(name, shapes)
    constants = tuple(jnp.asarray(x) for x in closed.consts)

    def lifted(constants: tuple[Any, ...], *arrays: Any) -> Any:
        return jaxpr_as_fun(closed.replace(consts=list(constants)))(*arrays)

    program = closed
    if constants:
        types = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in constants]
        program = jax.make_jaxpr(lifted)(tuple(types), *jax.tree.leaves(arguments))
    try:
        return _program(function, str(program), _Carrier(program)), constants
    except TypeError:  # a callable that cannot be hashed
        return Traced(program), constants


class _Carrier:
    """Passes a program through `lru_cache` without influence on the cache key."""

    def __init__(self, program: Any) -> None:
        self.program = program

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Carrier)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=1024)
def _program(function: Callable[..., Any], text: str, carrier: _Carrier) -> Traced:
    del function, text
    return Traced(carrier.program)


def _check_number(name: str, shapes: PyTree) -> None:
    leaves = jax.tree.leaves(shapes)
    if jax.tree.structure(shapes) != jax.tree.structure(0) or not hasattr(leaves[0], "shape"):
        raise RiskError(f"{name} returns {jax.tree.structure(shapes)}: it must return one real number")
    if leaves[0].shape != () or not jnp.issubdtype(leaves[0].dtype, jnp.floating):
        raise RiskError(
            f"{name} returns an array of shape {leaves[0].shape} and type {leaves[0].dtype}: it must return one real "
            "number, say by jnp.sum or jnp.mean"
        )
