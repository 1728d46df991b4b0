"""The memory of this machine, and the check that the Hessians of a flow fit into it."""

import os

import jax.numpy as jnp

from lcnn_flow.errors import FlowError
from lcnn_flow.numerics.arrays import DType

__all__ = ["check_memory", "flow_bytes", "physical_memory"]

_MATRICES = 40
"""Number of Hessians held at a time by the tests of a limit: one per nudge, and intermediate results."""


def physical_memory() -> int:
    """Memory of this machine in bytes; 8 GiB where the system does not report it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 * 2**30


def flow_bytes(parameters: int, dtype: DType) -> int:
    """Approximate working memory, in bytes, of one flow that does not run in lanes."""
    return _MATRICES * parameters**2 * jnp.dtype(dtype).itemsize


def check_memory(parameters: int, dtype: DType) -> None:
    """Raises FlowError if a single flow with this number of parameters does not fit into the memory of this machine."""
    needed, present = flow_bytes(parameters, dtype), physical_memory()
    if needed > present:
        raise FlowError(
            f"a flow of {parameters:,} parameters needs {needed / 2**30:,.0f} GiB for its Hessians, and this "
            f"machine has {present / 2**30:,.0f} GiB: use fewer parameters"
        )
