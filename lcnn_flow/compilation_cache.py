"""Compiled programs that outlive the process: JAX's persistent compilation cache, switched on by one call.

A second process then loads in a fraction of a second what the first compiled in many; the traces of flows are kept too
(`numerics.stored_programs`), so that Python need not make them anew. Programs are specific to the
version of jaxlib and to the instructions of the processor, so both are part of the name of the folder: a home folder
that several machines share never hands one of them the program of another.
"""

import hashlib
import os
import platform
from importlib.metadata import version
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from lcnn_flow.errors import LcnnFlowError
from lcnn_flow.numerics.stored_programs import keep_programs_in
from lcnn_flow.numerics.user_files import user_folder

__all__ = ["enable_compilation_cache"]


def enable_compilation_cache(path: str | os.PathLike[str] | None = None) -> Path:
    """Keeps compiled programs on disk, for this process and those to come; returns the folder.

    The only function of the library that changes global settings of JAX, and only where it is called; importing the
    library never does. It works at any time, also after programs have been compiled. Entries are never deleted: delete
    the folder to free the space.

    Args:
        path: folder that holds one folder per version of jaxlib and kind of processor; by default `lcnn_flow/programs`
            in the user's cache folder, $XDG_CACHE_HOME or ~/.cache.

    Returns:
        The folder of this version of jaxlib and kind of processor.

    Raises:
        LcnnFlowError: the folder cannot be made or written to.
    """
    folder = (user_folder("programs") if path is None else Path(path).expanduser()) / _machine_key()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LcnnFlowError(f"{folder} cannot be made ({error.strerror}): pass a folder that can be written") from error
    if not os.access(folder, os.W_OK):
        raise LcnnFlowError(f"{folder} cannot be written: pass a folder that can be")
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    keep_programs_in(folder)
    compilation_cache.reset_cache()  # JAX decides at its first compilation whether there is a cache
    return folder.resolve()


def _machine_key() -> str:
    """Version of jaxlib, architecture, and a hash of what the processor can do."""
    digest = hashlib.sha256(_processor_features().encode()).hexdigest()[:12]
    return f"jaxlib-{version('jaxlib')}-{platform.machine()}-{digest}"


def _processor_features() -> str:
    """The instruction sets as Linux lists them; elsewhere the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    found = [line for line in lines if line.lower().startswith(("flags", "features"))]
    return found[0] if found else platform.processor()
