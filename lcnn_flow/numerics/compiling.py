"""Programs that take longer to compile than to run: compiled by the one of XLA's emitters that takes less time.

On CPUs XLA has two emitters of kernels. The newer one makes some kernels faster, and takes longer to compile all of
them; the programs of the search, whose kernels are small, run as fast by the older one (benchmarks/compile.py). The
choice is an option of one compilation. It is made where the program is not part of a larger one, and where this jaxlib
knows the option; elsewhere XLA's own choice stands.
"""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer

from lcnn_flow.numerics.stored_programs import StoredProgram

__all__ = ["quick_options", "quick_to_compile"]

_QUICK = {"xla_cpu_use_fusion_emitters": False}
_ONCE = _QUICK | {"xla_backend_optimization_level": 1}


def quick_to_compile(function: Callable[..., Any], keep: bool = True, once: bool = False) -> Callable[..., Any]:
    """`equinox.filter_jit` of a function; outside of transformations by `quick_options`.

    Args:
        function: what is compiled.
        keep: whether its traces are kept on disk, see `stored_programs`: not of one that returns more than arrays in
            tuples and dictionaries.
        once: whether it mostly runs once for each compilation, so that LLVM may leave out its expensive passes too.
    """
    inside = eqx.filter_jit(function)
    with_options: Any = eqx.filter_jit  # what it does not know it hands on to jax.jit

    @cache
    def outside(platform: str) -> Callable[..., Any]:
        options = quick_options(platform)
        if once and options is not None:
            options = _ONCE
        plain = with_options(function, compiler_options=options)
        return StoredProgram(function, plain, options) if keep else plain

    @wraps(function)
    def call(*args: Any) -> Any:
        if _is_transformed(args):
            return inside(*args)
        return outside(jax.default_backend())(*args)

    return call


@cache
def quick_options(platform: str) -> dict[str, Any] | None:
    """Options of `jax.jit` for a program whose compilation takes longer than its run."""
    if platform != "cpu":
        return None
    try:
        jax.jit(lambda: 0, compiler_options=_QUICK).lower().compile()
    except jax.errors.JaxRuntimeError:  # later versions may have one emitter only
        return None
    return _QUICK


def _is_transformed(args: Any) -> bool:
    """Whether this is traced: then options belong to the program around it, and JAX refuses them."""
    leaves = [*jax.tree.leaves(args), jnp.zeros(())]
    return any(isinstance(leaf, Tracer) for leaf in leaves)
