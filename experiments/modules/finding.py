"""Modules by name: those of the catalogue, and a user's own, named "path/to/my_module.py:MODULE"."""

import functools
import importlib.util
from pathlib import Path

from experiments.errors import UserError
from experiments.faults import did_you_mean
from experiments.modules import MODULES, Module

__all__ = ["absolute_name", "find_module", "is_own"]


def is_own(name: str) -> bool:
    """Whether a name is that of a user's file."""
    return ":" in name


def absolute_name(name: str, folder: Path) -> str:
    """The same name, its path from the root: a run is found from other folders, and by other processes."""
    path, colon, attribute = name.rpartition(":")
    return f"{(folder / path).resolve()}{colon}{attribute}" if colon else name


def find_module(name: str) -> Module:
    """The module of that name; a user's own file is executed once per process.

    Raises:
        UserError: no such module, file or attribute; or the file cannot be executed.
    """
    if is_own(name):
        path, _, attribute = name.rpartition(":")
        return _own(Path(path), attribute)
    if name not in MODULES:
        known = ", ".join(f'"{key}"' for key in MODULES)
        own = ', or a file of your own, "path/to/my_module.py:MODULE"'
        raise UserError(f'found "{name}"; allowed: {known}{own}{did_you_mean(name, MODULES)}')
    return MODULES[name]


@functools.lru_cache(maxsize=64)
def _own(path: Path, attribute: str) -> Module:
    if not path.is_file():
        raise UserError(f"{path}: no such file; a module is named path/to/my_module.py:MODULE")
    specification = importlib.util.spec_from_file_location(f"own_module_{path.stem}", path)
    if specification is None or specification.loader is None:
        raise UserError(f"{path}: not a Python file; its name must end in .py")
    loaded = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(loaded)
    except Exception as error:  # whatever the file of the user does
        line = next(iter(str(error).strip().splitlines()), "")
        raise UserError(f"{path}: cannot be executed: {type(error).__name__}: {line}") from error
    found = getattr(loaded, attribute, None)
    if not isinstance(found, Module):
        what = "is not there" if found is None else f"is of type {type(found).__name__}"
        raise UserError(f"{path}: {attribute} {what}; write {attribute} = experiments.modules.Module(name=..., ...)")
    return found
