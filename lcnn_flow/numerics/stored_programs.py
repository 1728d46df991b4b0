"""Traced programs that are stored on disk and reused by later processes, next to JAX's compiled programs.

JAX's persistent cache stores compiled programs and looks them up by the program. Every process must therefore trace the
program again, which takes ten times as long for a flow as loading it. Once `enable_compilation_cache` has set a folder,
the traced program is stored there too, as StableHLO (`jax.export`). Its name is a hash of everything that it depends
on: sources and constants of this library, versions of its dependencies, settings of JAX, shapes and types of arrays,
and a description of all other arguments. An argument without a description that is equal in every process is traced in
the ordinary way.
"""

import enum
import functools
import hashlib
import os
import sys
import threading
import types
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from lcnn_flow.numerics.user_files import keep_with_hash, kept_with_hash

__all__ = ["StoredProgram", "keep_programs_in", "storable"]

T = TypeVar("T")

_RESTS_ON = ("jax", "jaxlib", "diffrax", "equinox", "lineax", "optimistix", "optax", "numpy")
_KNOWN = ("lcnn_flow", "jax", "jaxlib", "diffrax", "equinox", "lineax", "optimistix", "optax")
"""Packages whose functions are identified by name, because their sources or versions are part of the key."""
_folder: dict[str, Path] = {}
_results: list[type[Any]] = []


def keep_programs_in(folder: Path) -> None:
    """Stores programs in a folder, as long as it is also the folder of JAX's persistent cache."""
    _folder["programs"] = folder


def storable(kind: type[T]) -> type[T]:
    """Registers a NamedTuple type that stored programs may return."""
    _results.append(kind)
    return kind


class StoredProgram:
    """A compiled function of arrays and other values, whose traces are stored on disk if a folder is set.

    Args:
        function: pure, hashable, defined at module level; returns arrays in tuples, dictionaries and `storable` types.
        plain: the same function compiled by JAX, called where nothing can be stored.
        options: XLA compiler options.
    """

    def __init__(
        self, function: Callable[..., Any], plain: Callable[..., Any], options: dict[str, Any] | None = None
    ) -> None:
        self._function, self._plain, self._options = function, plain, options
        self._ready: dict[Any, Callable[..., Any]] = {}
        self._lock = threading.RLock()

    def __call__(self, *args: Any) -> Any:
        """function(*args)."""
        program, leaves = self._find(args)
        return self._plain(*args) if program is None else program(*leaves)

    def prepare(self, *args: Any) -> None:
        """Traces or loads the program for these arguments, without compiling it."""
        if self._find(args)[0] is None:
            trace: Any = getattr(self._plain, "trace", None)
            if trace is not None:
                trace(*args)

    def _find(self, args: tuple[Any, ...]) -> tuple[Callable[..., Any] | None, list[Any]]:
        folder = _current_folder()
        if folder is None:
            return None, []
        given = _description(args)
        if given is None:
            return None, []
        dynamic, static = eqx.partition(args, _is_array)
        leaves, structure = jax.tree.flatten(dynamic)
        key = (given, _settings())
        with self._lock:  # threads that need the same program trace it once
            if key not in self._ready:
                self._ready[key] = self._load(folder, key, structure, static, leaves)
            return self._ready[key], leaves

    def _load(
        self, folder: Path, key: tuple[Any, ...], structure: Any, static: PyTree, leaves: list[Any]
    ) -> Callable[..., Any]:
        from jax import export  # imported only where programs are stored

        _register(export)
        name = f"{self._function.__module__}.{self._function.__qualname__}"
        digest = hashlib.sha256("\n".join((_foundations(), _constants(), name, *key)).encode()).hexdigest()
        file = folder / f"{name.rsplit('.', 1)[-1].strip('_')}-{digest[:32]}.stablehlo"
        payload = kept_with_hash(file)
        if payload is not None:
            return jax.jit(export.deserialize(bytearray(payload)).call, compiler_options=self._options)

        def of_leaves(*leaves: Any) -> Any:
            return self._function(*eqx.combine(jax.tree.unflatten(structure, leaves), static))

        exported = export.export(jax.jit(of_leaves))(*leaves)
        keep_with_hash(file, bytes(exported.serialize()), "a traced program")
        return jax.jit(exported.call, compiler_options=self._options)


def _is_array(x: object) -> bool:
    return isinstance(x, jax.Array | np.ndarray)


def _current_folder() -> Path | None:
    """The folder in use; None if programs are not stored, or if JAX checks or interprets every operation."""
    folder = _folder.get("programs")
    if folder is None or getattr(jax.config, "jax_compilation_cache_dir", None) != str(folder):
        return None
    watched = getattr(jax.config, "jax_debug_nans", False) or getattr(jax.config, "jax_disable_jit", False)
    return None if watched or jax.default_backend() != "cpu" else folder


def _description(value: object) -> str | None:
    """Values of arguments, and shapes and types of arrays, as text equal in every process; None if there is no such
    text."""
    try:
        return _described(value)
    except TypeError:
        return None


def _described(value: Any) -> str:
    if _is_array(value):
        return f"array({value.shape},{value.dtype},{getattr(value, 'weak_type', False)})"
    if value is None or isinstance(value, bool | int | float | str | bytes | enum.Enum | np.dtype):
        return f"{type(value).__name__}:{value!r}"
    if isinstance(value, tuple | list):
        return f"{type(value).__qualname__}({','.join(map(_described, value))})"
    if isinstance(value, dict):
        return f"dict({','.join(f'{_described(k)}={_described(x)}' for k, x in value.items())})"
    if isinstance(value, functools.partial):
        return f"partial({','.join(map(_described, (value.func, value.args, value.keywords)))})"
    kind = value if isinstance(value, type) else type(value)
    if is_dataclass(value) and not isinstance(value, type):
        parts = ",".join(f"{field.name}={_described(getattr(value, field.name))}" for field in fields(value))
        return f"{_name(kind)}({parts})"
    if isinstance(value, type) or (isinstance(value, types.FunctionType) and value.__closure__ is None):
        return _name(value)
    raise TypeError(f"{value!r} has no name")


def _name(value: Any) -> str:
    """Module and name of a class or function that is defined at the top level of a known package."""
    module, name = value.__module__, value.__qualname__
    if module.split(".")[0] not in _KNOWN or "<" in name:
        raise TypeError(f"{value!r} may differ between processes")
    return f"{module}.{name}"


def _settings() -> str:
    """All settings of JAX that a trace may depend on, including thread-local ones."""
    names = sorted(name for name in jax.config.values if "cache" not in name)
    return str([(name, getattr(jax.config, name, None)) for name in names])


@functools.cache
def _foundations() -> str:
    """Hash of the sources of this library, versions of its dependencies, and a description of the machine."""
    digest, root = hashlib.sha256(), Path(__file__).parents[1]
    for file in sorted(root.rglob("*.py")):
        digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes() + b"\0")
    versions = [f"{name} {version(name)}" for name in _RESTS_ON]
    machine = f"python {sys.version}, {os.cpu_count()} processors, {jax.local_device_count()} devices"
    return " ".join((digest.hexdigest(), *versions, machine))


def _constants() -> str:
    """Current values of module-level constants of this library, which may differ from the sources."""
    found = []
    for name, module in sorted(sys.modules.items()):
        if name.split(".")[0] != "lcnn_flow" or module is None:
            continue
        for key, value in sorted(vars(module).items()):
            if isinstance(value, bool | int | float | str | tuple):
                found.append(f"{name}.{key}={value!r}")
            elif isinstance(value, types.FunctionType):
                found.append(f"{name}.{key}={value.__module__}.{value.__qualname__} {value.__code__.co_code!r}")
    return "\n".join(found)


def _register(export: Any) -> None:
    """Registers the serialisation of the NamedTuple types marked by `storable`."""
    while _results:
        kind = _results.pop()
        export.register_namedtuple_serialization(kind, serialized_name=f"lcnn_flow.{kind.__name__}")
