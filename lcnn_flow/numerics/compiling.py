"""Quick compilation, for programs that take longer to compile than to run.

XLA moves what does not change out of while loops, and copies the bodies of all enclosing loops whenever it does.
Programs of `flow.search`, small kernels in nested loops, run equally fast without that pass.

On CPUs XLA also has two emitters of kernels. The older one compiles the programs of linear networks in 60% of the time,
and they run equally fast (benchmarks/compile.py). With all optimisations of LLVM its code can be wrong: that of jaxlib
0.10.2 returns a false Hessian of networks with activations and channels, with errors of the size of its entries. So it
is used at level 2 of 3, where the code is right (tests/numerics/test_compiling.py), and only for the formulas of this
library that are tested with it. Networks with activations and functions of users are compiled by the newer one, whose
code of them is faster too.

Where little is computed, LLVM optimises nothing: that compiles in half the time, and its code takes up to four times as
long (benchmarks/compile.py).

These are options of a single compilation: they are set where the program is not part of a larger one and where this
version of jaxlib knows them (0.12 has the newer emitter only). Otherwise XLA's defaults apply.
"""

import math
from collections.abc import Callable
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer

from lcnn_flow.numerics.stored_programs import StoredProgram

__all__ = ["quick_options", "quick_to_compile", "runs_once", "traced_once"]

P = ParamSpec("P")
T = TypeVar("T")

_OLDER, _NEWER = {"xla_cpu_use_fusion_emitters": False}, {"xla_cpu_use_fusion_emitters": True}
_NO_HOISTING = {"xla_disable_hlo_passes": "while-loop-invariant-code-motion"}
_LEVEL = 2
_LITTLE = 6e8
"""Multiply-adds up to which LLVM optimises nothing: code that is not optimised loses about a second on them."""


def quick_to_compile(
    function: Callable[..., Any], keep: bool = True, work: Callable[..., float] = lambda *_: math.inf
) -> Callable[..., Any]:
    """`equinox.filter_jit` of a function, compiled with `quick_options` outside of transformations.

    Args:
        function: the function to compile.
        keep: whether its traces are stored on disk (`stored_programs`). Requires that it returns nothing but arrays in
            tuples and dictionaries.
        work: estimates the multiply-adds of a call from its arguments, which decide how much LLVM optimises.
    """
    inside = eqx.filter_jit(function)
    with_options: Any = eqx.filter_jit  # unknown keywords are forwarded to jax.jit

    @cache
    def outside(items: tuple[tuple[str, Any], ...] | None) -> Callable[..., Any]:
        options = None if items is None else dict(items)
        plain = with_options(function, compiler_options=options)
        return StoredProgram(function, plain, options) if keep else plain

    @wraps(function)
    def call(*args: Any) -> Any:
        if _is_transformed(args):
            return inside(*args)
        options = quick_options(jax.default_backend(), args, work=work(*args))
        return outside(None if options is None else tuple(options.items()))(*args)

    return call


def runs_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """`quick_to_compile` for a function that usually runs once per compilation and computes little."""
    return quick_to_compile(function, keep=False, work=lambda *_: 0.0)


def quick_options(platform: str, given: Any, hoist: bool = False, work: float = math.inf) -> dict[str, Any] | None:
    """Options of `jax.jit` for a program that takes longer to compile than to run; None where the default applies.

    Args:
        platform: of the device.
        given: arguments of the program. The older emitter is used if every risk and network among them says that it is
            `tested_with_older_emitter`.
        hoist: whether XLA moves what does not change out of while loops, which pays in the lanes of an ensemble.
        work: estimated multiply-adds of the program. LLVM optimises nothing where they are few and the formulas tested,
            and nothing at all if JAX is told to disable most optimisations.
    """
    if platform != "cpu":
        return None
    tested = _are_tested(given)
    options = (_OLDER if tested else _NEWER) | ({} if hoist else _NO_HOISTING)
    if not jax.config.read("jax_disable_most_optimizations"):
        options |= {"xla_backend_optimization_level": 0 if tested and work <= _LITTLE else _LEVEL}
    return {name: value for name, value in options.items() if _is_known(name, value)} or None


def _are_tested(given: Any) -> bool:
    def says(value: Any) -> bool:
        return hasattr(type(value), "tested_with_older_emitter")

    return all(x.tested_with_older_emitter for x in jax.tree.leaves(given, is_leaf=says) if says(x))


@cache
def _is_known(name: str, value: Any) -> bool:
    try:
        jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
    except jax.errors.JaxRuntimeError:  # jaxlib 0.12 has one emitter, and no option that chooses it
        return False
    return True


def _is_transformed(args: Any) -> bool:
    """Whether the call is being traced. Options then belong to the enclosing program, and JAX refuses them."""
    leaves = [*jax.tree.leaves(args), jnp.zeros(())]
    return any(isinstance(leaf, Tracer) for leaf in leaves)


def traced_once(function: Callable[P, T]) -> Callable[P, T]:
    """The function, traced once per kind of arguments: a program that calls it again copies its operations.

    Arguments are arrays, trees of arrays, or hashable values that compare by value.
    """
    jit: Any = eqx.filter_jit  # unknown keywords are forwarded to jax.jit
    return jit(function, inline=True)
