"""Reads a TOML file with overrides and axes into a `Sweep`, checks it, and reports all faults at once."""

import difflib
import json
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from experiments.errors import UserError
from experiments.faults import ConfigurationError, Fault, faults_of
from experiments.modules.finding import absolute_name, find_module
from experiments.planning.checks import MOST_CELLS, check_plan, faults_of_names
from experiments.schema import Configuration, FileData
from experiments.shipped import configurations, found
from experiments.sweeps.axes import named_axes
from experiments.sweeps.sweep import Sweep, put, sweep_of_toml
from experiments.sweeps.written_axes import WrittenAxis, faults_of_lists, faults_of_repeats, written_axes

__all__ = ["SCALES", "load", "read_toml", "sweep_of_toml"]

SCALES = ("small", "full")
"""Further scales that a configuration may describe."""

_ANY_SECTIONS: dict[str, Any] = {
    "seeds": 1,
    "experiment": {"module": "convergence"},
    "data": {"kind": "synthetic", "samples": 1, "inputs": {"kind": "white"}, "targets": {"kind": "planted"}},
    "loss": {"kind": "square"},
    "initializer": {"kind": "gaussian", "std": 1.0},
}
"""Valid sections that replace sections with faults, so that the other sections can be checked together."""


def load(
    path: str | Path,
    overrides: Sequence[str] = (),
    axes: Sequence[str] = (),
    zips: Sequence[str] = (),
    scale: str = "default",
) -> Sweep:
    """Reads and checks a configuration.

    The order of the axes is: keys of `[sweep]` as written, tables `[[sweep.zip]]`, `axes`, then the one axis of `zips`.
    Options of the command line replace axes over the same key or over keys inside it, also in zipped axes.

    Args:
        path: the TOML file, or the name of a configuration that comes with the project.
        overrides: `section.key=value`, the value in TOML; a bare word is taken as a string.
        axes: `section.key=[value, ...]`, one axis each.
        zips: `section.key=[value, ...]`; together they are one axis, along which all these keys vary.
        scale: "small" and "full" merge the tables `[scale.small]` and `[scale.full]` of the file into its other tables.

    Raises:
        UserError: unreadable file, broken TOML, a malformed override.
        ConfigurationError: faults of the configuration, all at once.
    """
    path = found(Path(path))
    raw = _at_scale(str(path), read_toml(path), scale)
    table = raw.pop("sweep", {})
    if not isinstance(table, dict):
        raise ConfigurationError(str(path), [Fault("sweep", 'a table of axes is needed, such as "loss = [...]"')])
    written, faults = written_axes(table)
    _refuse(str(path), faults + faults_of_repeats(written))
    by_hand = [WrittenAxis("sweep", (_assignment("--axis", text),)) for text in axes]
    if zips:
        place = f"sweep.zip[{sum(axis.place != 'sweep' for axis in written)}]"
        by_hand.append(WrittenAxis(place, tuple(_assignment("--zip", text) for text in zips)))
    for text in overrides:
        key, value = _assignment("--set", text)
        _refuse_hidden(key, written)
        written = [axis.without([key]) for axis in written]
        raw = put(raw, key, value)
    raw = _with_own_module(raw, path.parent)
    _refuse("--zip and --axis" if zips else "--axis", faults_of_repeats(by_hand))
    keys = [key for axis in by_hand for key in axis.keys]
    written = [axis.without(keys) for axis in written] + by_hand
    return _check(str(path), raw, [axis for axis in written if axis.lists], path.parent)


def _at_scale(source: str, raw: Mapping[str, Any], scale: str) -> dict[str, Any]:
    """The configuration with the tables of a scale merged into its own; unchanged if it does not describe the scale."""
    plain = {key: value for key, value in raw.items() if key != "scale"}
    scales = raw.get("scale", {})
    remedy = "write [scale.small] or [scale.full] above what differs at that scale"
    if not isinstance(scales, dict):
        raise ConfigurationError(source, [Fault("scale", f"a table is needed: {remedy}")])
    wrong = [key for key, value in scales.items() if key not in SCALES or not isinstance(value, dict)]
    _refuse(source, [Fault(f"scale.{key}", remedy) for key in wrong])
    return _merged(plain, scales.get(scale, {}))


def _merged(table: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """A table into which another is merged, tables entry by entry; lists are replaced as a whole."""
    result = dict(table)
    for key, value in other.items():
        inner = result.get(key)
        result[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result


def _with_own_module(raw: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The configuration with an absolute path of the user's own module, if it names one."""
    section = raw.get("experiment")
    name = section.get("module") if isinstance(section, dict) else None
    return put(raw, "experiment.module", absolute_name(name, folder)) if isinstance(name, str) else dict(raw)


def _refuse(source: str, faults: Sequence[Fault]) -> None:
    if faults:
        raise ConfigurationError(source, list(dict.fromkeys(faults)))


def _refuse_hidden(key: str, axes: Sequence[WrittenAxis]) -> None:
    """Refuses a key inside a table that an axis replaces as a whole, because its value would be ignored."""
    for axis in (other for written in axes for other in written.keys):
        if key.startswith(f"{axis}."):
            message = f"every value of the axis {axis} replaces all of it: write --axis {axis}=[...], or edit the file"
            raise ConfigurationError("--set", [Fault(key, message)])


def read_toml(path: Path) -> dict[str, Any]:
    """Reads a TOML file; error messages contain line and column."""
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
    """Suggests a configuration with a similar name, from the same folder or from those that come with the project."""
    names = {file.name: str(file) for file in (*configurations(), *path.parent.glob("*.toml"))}
    wanted = path.name if path.suffix else f"{path.name}.toml"
    close = difflib.get_close_matches(wanted, names, n=1)
    return f'; did you mean "{names[close[0]]}"?' if close else ""


def _assignment(option: str, text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key or not all(key.split(".")):
        raise UserError(f"{option} {text}: write {option} section.key=value, for example {option} flow.rtol=1e-8")
    parsed = _parsed(value)
    if parsed is None:
        shown = value.strip() or "nothing after the ="
        raise UserError(f"{option} {text}: {shown} is no TOML value; {_remedy(option, key, value.strip())}")
    return key, parsed


def _parsed(text: str) -> Any:
    """A TOML value, or a word without quotes; None for any other text."""
    try:
        (parsed,) = tomllib.loads(f"value = {text}").values()
    except (ValueError, RecursionError):
        word = text.strip()
        for sign in "_-./":
            word = word.replace(sign, "")
        return text.strip() if word.isalnum() else None
    return parsed


def _remedy(option: str, key: str, text: str) -> str:
    """How to write a list that lacks brackets, or words that lack quotes."""
    entries = [entry.strip() for entry in text.removeprefix("[").removesuffix("]").split(",")]
    values = [_parsed(entry) for entry in entries]
    if len(entries) == 1 or any(not isinstance(value, str | int | float) for value in values):
        return "quote strings"
    words = [
        json.dumps(v, ensure_ascii=False) if isinstance(v, str) else e for v, e in zip(values, entries, strict=True)
    ]
    return f"write {option} '{key}=[{', '.join(words)}]'"


def _check(source: str, raw: Mapping[str, Any], written: Sequence[WrittenAxis], folder: Path) -> Sweep:
    faults = faults_of_lists(written)
    wrong = {fault.path for fault in faults}
    usable = [axis for axis in written if not any(f"{axis.place}.{key}" in wrong for key in axis.keys)]
    cells = math.prod(len(axis.lists[0][1]) for axis in usable)
    if cells > MOST_CELLS:
        _refuse(source, [*faults, Fault("sweep", f"the axes make {cells} cells; at most {MOST_CELLS} are allowed")])
    first, refused = raw, []
    for axis in written:
        for key, entries in axis.lists:
            if f"{axis.place}.{key}" in wrong:
                refused.append(key)  # this key is not reported as missing, too
            else:
                first = put(first, key, entries[0])
    base, found = _validate(first)
    faults += [_at_axis(fault, written, 0) for fault in found if fault.path not in refused]
    for axis in usable:
        faults += _faults_of_values(axis, first, base, found)
    faults += _module_faults(first, base)
    if base is None or faults:
        faults += _faults_of_valid_sections(first, faults)
        raise ConfigurationError(source, list(dict.fromkeys(faults)))
    axes = named_axes(
        [(key, [_absolute_entry(key, entry, folder) for entry in entries]) for key, entries in axis.lists]
        for axis in usable
    )
    _refuse(source, [f for axis, as_is in zip(axes, usable, strict=True) for f in faults_of_names(axis, as_is.place)])
    sweep = Sweep(_absolute(base, folder).plain(), axes)
    _refuse(source, check_plan(sweep) or _faults_of_cells(sweep))
    return sweep


def _faults_of_valid_sections(first: Mapping[str, Any], known: Sequence[Fault]) -> list[Fault]:
    """Faults between sections that are valid on their own, such as a kernel that does not fit its input."""
    broken = {fault.path.removeprefix("sweep.").partition(".")[0].partition("[")[0] for fault in known}
    if "network" in broken:
        return []
    mended = {name: value for name, value in first.items() if name not in broken}
    base, _ = _validate({**_ANY_SECTIONS, **mended})
    if base is None:
        return []
    return [fault for fault in check_plan(Sweep(base.plain(), ())) if fault.path.partition(".")[0] not in broken]


def _faults_of_values(
    axis: WrittenAxis, first: Mapping[str, Any], base: Configuration | None, known: Sequence[Fault]
) -> Iterator[Fault]:
    """Faults of all values of an axis but the first, together with the first values of all other axes.

    Sections that the axis does not change are taken from `base`, in which they have been checked.
    """
    here = {key.partition(".")[0] for key in axis.keys}
    checked = {} if base is None else {name: getattr(base, name) for name in base.model_fields_set - here}
    for number in range(1, len(axis.lists[0][1])):
        other = {**first, **checked}
        for key, entries in axis.lists:
            other = put(other, key, entries[number])
        for fault in _validate(other)[1]:
            if fault not in known:
                yield _at_axis(fault, [axis], number)


def _validate(raw: Mapping[str, Any]) -> tuple[Configuration | None, list[Fault]]:
    try:
        return Configuration.model_validate(raw), []
    except ValidationError as error:
        return None, faults_of(error, Configuration)


def _at_axis(fault: Fault, axes: Sequence[WrittenAxis], number: int) -> Fault:
    """A fault in the value of an axis, with the path at which the user has written the value."""
    for axis in axes:
        for key in axis.keys:
            if fault.path == key or fault.path.startswith((f"{key}.", f"{key}[")):
                return Fault(f"{axis.place}.{key}[{number}]{fault.path[len(key) :]}", fault.message)
    return fault


def _module_faults(raw: Mapping[str, Any], base: Configuration | None) -> list[Fault]:
    """A fault in the name of the module; if there are no faults at all, those that the module finds."""
    section = raw.get("experiment")
    name = section.get("module") if isinstance(section, dict) else None
    try:
        module = find_module(name) if isinstance(name, str) else None
    except UserError as error:
        return [Fault("experiment.module", str(error))]
    if base is None or module is None:
        return []
    return [Fault(path, message) for path, message in module.all_faults(base)]


def _faults_of_cells(sweep: Sweep) -> list[Fault]:
    """Faults that the module finds in all cells but the first, which has been checked."""
    module = find_module(sweep.configuration.experiment.module)
    found: dict[Fault, str] = {}
    for cell in sweep.cells[1:]:
        for path, message in module.all_faults(cell.configuration):
            found.setdefault(Fault(path, message), cell.name)
    return [Fault(fault.path, f"{fault.message} (first in the cell {name})") for fault, name in found.items()]


def _absolute(base: Configuration, folder: Path) -> Configuration:
    """The configuration with an absolute path of its data file; relative paths start at the given folder."""
    if not isinstance(base.data, FileData):
        return base
    path = str((folder / base.data.path).resolve())
    return base.model_copy(update={"data": base.data.model_copy(update={"path": path})})


def _absolute_entry(key: str, entry: Any, folder: Path) -> Any:
    """A value of an axis over data or data files, with an absolute path."""
    if key == "data.path":
        return str((folder / entry).resolve())
    if key == "data" and entry["kind"] == "file":
        return {**entry, "path": str((folder / entry["path"]).resolve())}
    return entry
