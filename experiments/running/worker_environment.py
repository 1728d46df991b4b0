"""Settings of a process that computes, made before JAX and equinox are imported, which read some of them."""

import gc
import os

__all__ = ["collect_rarely", "prepare_environment"]

_COLLECTIONS = (50_000, 20, 20)
"""Objects of the youngest generation, then collections of each generation, before the next collection."""


def prepare_environment() -> None:
    """Sets the environment variables of a process that computes; variables that the user has set stay as they are.

    Errors raised from compiled code need host callbacks, and programs with host callbacks are not cached. Therefore
    equinox returns NaN instead of raising, and such a flow ends with the verdict NOT_FINITE. Every core, up to eight,
    is a JAX device of its own, so that flows run on all cores.
    """
    collect_rarely()
    os.environ.setdefault("EQX_ON_ERROR", "nan")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(min(8, cores)))


def collect_rarely() -> None:
    """Makes Python look for cyclic garbage less often.

    Modules and traces are millions of small objects that stay; visiting them takes a sixth of the time of the imports.
    """
    gc.set_threshold(*_COLLECTIONS)
