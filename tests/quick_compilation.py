"""Compilation of the tests' programs: without optimisations, since most of them run once.

That halves the CPU time of the tests. Claims about what the compiler makes of a program (its bits, what it fuses) are
tested on optimised programs.
"""

import os
from importlib.metadata import version

__all__ = ["OPTIMISED", "optimise", "quick_flags"]

OPTIMISED = ("optimised", "slow")
"""Markers of tests whose programs are optimised as those of users are; those of slow tests run for long."""
_FLAGS = (
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
    "--xla_disable_hlo_passes=while-loop-invariant-code-motion",
    "--xla_backend_optimization_level=2",  # of optimised programs: `lcnn_flow.numerics.compiling` says why
)
_TESTED = range(8, 11)
"""Minor versions of jaxlib 0 that know these flags; no version starts with a flag that it does not know."""


def quick_flags() -> str:
    """XLA_FLAGS: those that are set, those of `lcnn_flow.numerics.compiling`, and one module per program."""
    given = os.environ.get("XLA_FLAGS", "")
    major, minor = map(int, version("jaxlib").split(".")[:2])
    if major > 0 or minor not in _TESTED:
        return given
    return " ".join([given, *(flag for flag in _FLAGS if flag.partition("=")[0] not in given)]).strip()


def optimise(on: bool) -> None:
    """Switches optimisations on or off, for this process and those that it starts from now on."""
    import jax  # here: the environment is prepared before it is imported

    if on != jax.config.read("jax_disable_most_optimizations"):
        return
    jax.clear_caches()  # programs in memory are used whatever their optimisations; those on disk are told apart
    jax.config.update("jax_disable_most_optimizations", not on)
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(not on).lower()
