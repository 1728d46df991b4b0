"""Properties of this machine."""

import os

__all__ = ["physical_memory"]


def physical_memory() -> int:
    """Bytes of memory of this machine, or 8 GiB where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 * 2**30
