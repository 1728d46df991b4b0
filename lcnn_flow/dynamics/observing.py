"""Measurements at the recorded points of a flow or descent, including observables of the user.

An observable is a function of one, two or three required arguments; their number selects the call:

    fn(params)    fn(risk, params)    fn(risk, params, start)

`params` and `start`, the initial parameters, are in the user's tree. The function returns an array. It is traced once
per program and mapped over the recorded points.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from lcnn_flow.arguments import described
from lcnn_flow.errors import LcnnFlowError
from lcnn_flow.numerics.arrays import as_float_array
from lcnn_flow.numerics.norms import safe_norm
from lcnn_flow.numerics.pytrees import HashableTree
from lcnn_flow.risk.base import RiskLike

__all__ = ["check_record", "measure", "observe", "without_unused_data"]

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def check_record(record: object, error: type[LcnnFlowError]) -> HashableTree | None:
    """Checks `record`; returns None if there are no observables.

    Raises:
        error: it is not a mapping of names to functions, or the arguments of a function cannot be determined.
    """
    if record is None:
        return None
    if not isinstance(record, Mapping) or not all(isinstance(name, str) for name in record):
        raise error(f"record is {described(record)}: write {{'name': function}}")
    for name, function in record.items():
        if isinstance(function, type) or not callable(function):
            raise error(f"record[{name!r}] is {described(function)}: write a function of (risk, params)")
        if _arguments(function) is None:
            raise error(
                f"record[{name!r}]: it cannot be determined whether it takes (params), (risk, params) or "
                f"(risk, params, start): write lambda risk, params: ..."
            )
    return HashableTree.of(dict(record)) if record else None


def _arguments(function: Callable[..., Any]) -> int | None:
    """Number of required arguments of a function; None if it is not 1, 2 or 3, or cannot be determined."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    required = [p for p in parameters if p.default is p.empty and p.kind in _POSITIONAL]
    others = [p for p in parameters if p.default is p.empty and p.kind not in _POSITIONAL]
    optional = [p for p in parameters if p.default is not p.empty and p.kind in _POSITIONAL]
    ambiguous = others or (optional and len(required) < 2)
    return None if ambiguous or not 1 <= len(required) <= 3 else len(required)


def without_unused_data(risk: Any, record: HashableTree | None) -> Any:
    """The risk without data that neither its form nor, as far as is known, an observable of the user needs."""
    return risk.without_data() if record is None else risk


def measure(
    risk: RiskLike, vector: Float[Array, " n"], start: Float[Array, " n"], record: HashableTree | None
) -> tuple[Any, ...]:
    """Layers, risk, gradient norm, end-to-end filter, squared norms, conserved quantities, and the user's
    observables."""
    layers = risk.space.unravel(vector)
    squares = jnp.stack([jnp.sum(w**2) for w in layers])
    end_to_end_filter: Any = getattr(risk, "end_to_end_filter", None)
    v = None if end_to_end_filter is None else end_to_end_filter(vector)
    norm = safe_norm(risk.gradient(vector))
    own = None if record is None else observe(risk, vector, start, record)
    return layers, risk.value(vector), norm, v, squares, risk.symmetry.conserved(vector), own


def observe(
    risk: RiskLike, vector: Float[Array, " n"], start: Float[Array, " n"], record: HashableTree
) -> dict[str, Array]:
    """The user's observables, by name."""
    params, begin = (risk.space.tree(risk.space.unravel(x)) for x in (vector, start))
    return {name: _observed(function, risk, params, begin) for name, function in record.tree.items()}


def _observed(function: Callable[..., Any], risk: RiskLike, params: PyTree, start: PyTree) -> Array:
    count = _arguments(function)
    arguments = {1: (params,), 2: (risk, params), 3: (risk, params, start)}[count or 2]
    return as_float_array(function(*arguments))  # a float, so that NaN can mark times that were not reached
