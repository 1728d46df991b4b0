"""A user's function, traced: a program whose closed-over arrays are arguments.

A function that closes over an array does not say so. Traced, the array stands beside the program, where other numbers
can take its place, derivatives with respect to it are seen, and a change of it in between is not missed. The same
function, traced to the same program, is the same object: JAX compiles it once.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from lcnn_flow.errors import RiskError

__all__ = ["Traced", "trace"]


class Traced:
    """A function of arrays and of the arrays it closed over; equal to itself only."""

    def __init__(self, program: Any) -> None:
        self._program = program

    def __call__(self, constants: tuple[jax.Array, ...], *arrays: jax.Array) -> jax.Array:
        """The number that the function returns."""
        return jaxpr_as_fun(ClosedJaxpr(self._program, list(constants)))(*arrays)[0]


def trace(name: str, function: Callable[..., Any], call: Callable[..., Any], *arguments: Any) -> tuple[Traced, tuple]:
    """The program of `call`, which calls `function` with trees of arrays, and what it closes over.

    Args:
        name: of the function, for error messages.
        function: the user's; with the text of the program it tells programs apart.
        call: function of `arguments`.
        arguments: trees of shapes and types.

    Raises:
        RiskError: it does not return one real number.
    """
    with jax.default_matmul_precision("highest"):
        closed, shapes = jax.make_jaxpr(call, return_shape=True)(*arguments)
    _check_number(name, shapes)
    constants = tuple(jnp.asarray(x) for x in closed.consts)
    try:
        return _program(function, str(closed.jaxpr), _Carrier(closed.jaxpr)), constants
    except TypeError:  # a callable that cannot be hashed
        return Traced(closed.jaxpr), constants


class _Carrier:
    """Carries a program past a cache that is asked about its text."""

    def __init__(self, program: Any) -> None:
        self.program = program

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Carrier)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=1024)
def _program(function: Any, text: str, carrier: _Carrier) -> Traced:
    del function, text
    return Traced(carrier.program)


def _check_number(name: str, shapes: Any) -> None:
    leaves = jax.tree.leaves(shapes)
    if jax.tree.structure(shapes) != jax.tree.structure(0) or not hasattr(leaves[0], "shape"):
        raise RiskError(f"{name} returns {jax.tree.structure(shapes)}: it must return one real number")
    if leaves[0].shape != () or not jnp.issubdtype(leaves[0].dtype, jnp.floating):
        raise RiskError(
            f"{name} returns an array of shape {leaves[0].shape} and type {leaves[0].dtype}: it must return one real "
            "number, say by jnp.sum or jnp.mean"
        )
