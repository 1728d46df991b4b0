"""The memory of this machine, and whether Hessians fit into it."""

import os
from typing import Any

import jax.numpy as jnp

from lcnn_flow.errors import FlowError

__all__ = ["check_memory", "flow_bytes", "physical_memory"]

_MATRICES = 40
"""Hessians that the tests of a limit hold at a time: those of the nudges, and what is made of them."""


def physical_memory() -> int:
    """Memory of this machine, or 8 GiB where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 * 2**30


def flow_bytes(parameters: int, dtype: Any) -> int:
    """Working memory of one flow outside of lanes, roughly."""
    return _MATRICES * parameters**2 * jnp.dtype(dtype).itemsize


def check_memory(parameters: int, dtype: Any) -> None:
    """Raises FlowError where not even one flow of so many parameters fits into this machine."""
    needed, present = flow_bytes(parameters, dtype), physical_memory()
    if needed > present:
        raise FlowError(
            f"a flow of {parameters:,} parameters works with Hessians, {needed / 2**30:,.0f} GiB of them, and this "
            f"machine has {present / 2**30:,.0f} GiB: use fewer parameters"
        )
