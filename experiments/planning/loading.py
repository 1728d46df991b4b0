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

_FIXED = ("seeds", "experiment", "analysis", "compute", "flow.times")


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
    written = list(_flatten(table))
    _refuse_twice(str(path), [key for key, _ in written])
    values = dict(written)
    for text in overrides:
        key, value = _assignment("--set", text)
        _refuse_hidden(key, values)
        _drop(values, key)
        _put(raw, key, value)
    by_hand = [_assignment("--axis", text) for text in axes]
    _refuse_twice("--axis", [key for key, _ in by_hand])
    for key, _ in by_hand:
        _drop(values, key)
    values.update(by_hand)
    return _check(str(path), raw, values, path.parent)


def _drop(values: dict[str, Any], key: str) -> None:
    """What is set by hand replaces the axes over the same key, or inside it."""
    for other in [name for name in values if name == key or name.startswith(f"{key}.")]:
        del values[other]


def _refuse_hidden(key: str, values: Mapping[str, Any]) -> None:
    """A number set inside a table that an axis replaces as a whole would be lost in silence."""
    for axis in values:
        if key.startswith(f"{axis}."):
            message = f"every value of the axis {axis} replaces all of it: write --axis {axis}=[...], or edit the file"
            raise ConfigurationError("--set", [Fault(key, message)])


def _refuse_twice(source: str, keys: Sequence[str]) -> None:
    """An axis that is written twice, or inside another: one of them would be lost in silence."""
    faults = [Fault(f"sweep.{key}", "this axis occurs twice; write it once") for key in keys if keys.count(key) > 1]
    if faults:
        raise ConfigurationError(source, list(dict.fromkeys(faults)))


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as a dictionary; errors say line and column."""
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
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
    except RecursionError:
        raise UserError(f"{path}: broken TOML: lists or tables are nested too deeply") from None
    except ValueError as error:  # a name with a null byte, or a number of thousands of digits
        raise UserError(f"{path!s:.200}: cannot be read: {error}") from None


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
        (parsed,) = tomllib.loads(f"value = {value}").values()
    except (ValueError, RecursionError):
        if not value.strip().replace("_", "").replace("-", "").replace(".", "").replace("/", "").isalnum():
            shown = value.strip() or "nothing after the ="
            raise UserError(f"{option} {text}: {shown} is no TOML value; quote strings") from None
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
        elif key == "flow":
            faults.append(Fault("sweep.flow", "times are one for the whole run; name one option, such as flow.rtol"))
        elif not isinstance(entries, list) or not entries:
            faults.append(Fault(f"sweep.{key}", f"found {entries!r}; an axis is a list of values"))
        elif any(entry in entries[:i] for i, entry in enumerate(entries)):
            faults.append(Fault(f"sweep.{key}", "a value occurs twice; name every value once"))
    for key in values:
        inside = next((other for other in values if key.startswith(f"{other}.")), None)
        if inside is not None:
            faults.append(Fault(f"sweep.{key}", f"lies inside the axis {inside}; write its values there"))
    usable = {key: list(v) for key, v in values.items() if not any(f.path == f"sweep.{key}" for f in faults)}
    first = copy.deepcopy(raw)
    for key, entries in usable.items():
        _put(first, key, entries[0])
    base, found = _validate(first)
    refused = [key for key in values if key not in usable]  # what they would have set is not missing
    faults += [_at_axis(fault, usable, 0) for fault in found if fault.path not in refused]
    for key, entries in usable.items():
        for number, entry in enumerate(entries[1:], start=1):
            other = copy.deepcopy(first)
            _put(other, key, entry)
            faults += [_at_axis(f, {key: entries}, number) for f in _validate(other)[1] if f not in found]
    faults += _module_faults(first, base)
    if base is None or faults:
        raise ConfigurationError(source, list(dict.fromkeys(faults)))
    axes = tuple(
        Axis(name, key, tuple(_absolute_entry(key, entry, folder) for entry in entries))
        for name, (key, entries) in zip(name_axes(list(usable)), usable.items(), strict=True)
    )
    sweep = Sweep(_absolute(base, folder).plain(), axes)
    faults = check_plan(sweep) or _faults_of_cells(sweep)
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
    return [Fault(path, message) for path, message in MODULES[base.experiment.module].all_faults(base)]


def _faults_of_cells(sweep: Sweep) -> list[Fault]:
    """What the module cannot work with in cells after the first."""
    module = MODULES[sweep.configuration.experiment.module]
    found: dict[Fault, str] = {}
    for cell in sweep.cells[1:]:
        for path, message in module.all_faults(cell.configuration):
            found.setdefault(Fault(path, message), cell.name)
    return [Fault(fault.path, f"{fault.message} (first in the cell {name})") for fault, name in found.items()]


def _absolute(base: Configuration, folder: Path) -> Configuration:
    """Data files are found from the configuration's directory, and later from the run directory too."""
    if not isinstance(base.data, FileData):
        return base
    path = str((folder / base.data.path).resolve())
    return base.model_copy(update={"data": base.data.model_copy(update={"path": path})})


def _absolute_entry(key: str, entry: Any, folder: Path) -> Any:
    """The same for one value of an axis over data or their files."""
    if key == "data.path":
        return str((folder / entry).resolve())
    if key == "data" and entry["kind"] == "file":
        return {**entry, "path": str((folder / entry["path"]).resolve())}
    return entry
