"""From a TOML file, overrides and axes to a checked `Sweep`; every fault is reported at once."""

import copy
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from experiments.errors import UserError
from experiments.faults import ConfigurationError, Fault, did_you_mean, faults_of
from experiments.modules import MODULES
from experiments.schema import Configuration, FileData
from experiments.sweep import Axis, Sweep, check_plan, name_axes

__all__ = ["load", "read_toml"]

_FIXED = ("seeds", "experiment", "compute", "flow.times")


def load(path: str | Path, overrides: Sequence[str] = (), axes: Sequence[str] = ()) -> Sweep:
    """Reads and checks a configuration.

    Args:
        path: the TOML file.
        overrides: `section.key=value`, the value in TOML; a bare word is taken as a string.
        axes: `section.key=[value, ...]`; replaces an axis over the same key.

    Raises:
        UserError: unreadable file, broken TOML, a malformed override.
        ConfigurationError: faults of the configuration, all at once.
    """
    path = Path(path)
    raw = read_toml(path)
    table = raw.pop("sweep", {})
    if not isinstance(table, dict):
        raise ConfigurationError(str(path), [Fault("sweep", 'a table of axes is needed, such as "loss = [...]"')])
    values = dict(_flatten(table))
    for text in overrides:
        key, value = _assignment("--set", text)
        values.pop(key, None)  # a value set by hand replaces an axis over the same key
        _put(raw, key, value)
    values.update(_assignment("--axis", text) for text in axes)
    return _check(str(path), raw, values, path.parent)


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as a dictionary; errors say line and column."""
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file{_nearby(path)}") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a directory: name a .toml file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file in UTF-8 (byte {error.start})") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: broken TOML: {error}") from None


def _nearby(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return ""
    return did_you_mean(path.name, [entry for entry in os.listdir(folder) if entry.endswith(".toml")])


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Axes may be written `"initializer.std" = [...]` or `initializer.std = [...]`."""
    for key, value in table.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flatten(value, f"{path}.")
        else:
            yield path, value


def _assignment(option: str, text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key or not all(key.split(".")):
        raise UserError(f"{option} {text}: write {option} section.key=value, for example {option} flow.rtol=1e-8")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        if not value.strip().replace("_", "").replace("-", "").replace(".", "").replace("/", "").isalnum():
            raise UserError(f"{option} {text}: {value.strip()} is no TOML value; quote strings") from None
        parsed = value.strip()
    return key, parsed


def _put(raw: dict[str, Any], key: str, value: Any) -> None:
    """Sets a dotted key, making the tables on its way."""
    *parents, last = key.split(".")
    for parent in parents:
        if not isinstance(raw.get(parent), dict):
            raw[parent] = {}
        raw = raw[parent]
    raw[last] = value


def _check(source: str, raw: dict[str, Any], values: Mapping[str, Any], folder: Path) -> Sweep:
    faults = []
    for key, entries in values.items():
        fixed = next((name for name in _FIXED if key == name or key.startswith(f"{name}.")), None)
        if fixed is not None:
            faults.append(Fault(f"sweep.{key}", f"{fixed} is one for the whole run and cannot be an axis"))
        elif not isinstance(entries, list) or not entries:
            faults.append(Fault(f"sweep.{key}", f"found {entries!r}; an axis is a list of values"))
        elif any(entry in entries[:i] for i, entry in enumerate(entries)):
            faults.append(Fault(f"sweep.{key}", "a value occurs twice; name every value once"))
    usable = {key: list(v) for key, v in values.items() if not any(f.path == f"sweep.{key}" for f in faults)}
    first = copy.deepcopy(raw)
    for key, entries in usable.items():
        _put(first, key, entries[0])
    base, found = _validate(first)
    faults += [_at_axis(fault, usable, 0) for fault in found]
    for key, entries in usable.items():
        for number, entry in enumerate(entries[1:], start=1):
            other = copy.deepcopy(first)
            _put(other, key, entry)
            faults += [_at_axis(f, {key: entries}, number) for f in _validate(other)[1] if f not in found]
    faults += _module_faults(first, base)
    if faults or base is None:
        raise ConfigurationError(source, list(dict.fromkeys(faults)))
    axes = tuple(
        Axis(name, key, tuple(entries))
        for name, (key, entries) in zip(name_axes(list(usable)), usable.items(), strict=True)
    )
    sweep = Sweep(_absolute(base, folder).plain(), axes)
    faults = check_plan(sweep)
    if faults:
        raise ConfigurationError(source, faults)
    return sweep


def _validate(raw: Mapping[str, Any]) -> tuple[Configuration | None, list[Fault]]:
    try:
        return Configuration.model_validate(raw), []
    except ValidationError as error:
        return None, faults_of(error, Configuration)


def _at_axis(fault: Fault, axes: Mapping[str, Any], number: int) -> Fault:
    """A fault inside a value of an axis is shown where the user wrote the value."""
    for key in axes:
        if fault.path == key or fault.path.startswith((f"{key}.", f"{key}[")):
            return Fault(f"sweep.{key}[{number}]{fault.path[len(key) :]}", fault.message)
    return fault


def _module_faults(raw: Mapping[str, Any], base: Configuration | None) -> list[Fault]:
    """Faults of the module's name, found even in a configuration with others; then those the module finds."""
    section = raw.get("experiment")
    name = section.get("module") if isinstance(section, dict) else None
    if isinstance(name, str) and name not in MODULES:
        known = ", ".join(f'"{key}"' for key in MODULES)
        return [Fault("experiment.module", f'found "{name}"; allowed: {known}{did_you_mean(name, MODULES)}')]
    if base is None:
        return []
    return [Fault(path, message) for path, message in MODULES[base.experiment.module].faults(base)]


def _absolute(base: Configuration, folder: Path) -> Configuration:
    """Data files are found from the configuration's directory, and later from the run directory too."""
    if not isinstance(base.data, FileData):
        return base
    path = str((folder / base.data.path).resolve())
    return base.model_copy(update={"data": FileData(kind="file", path=path)})
