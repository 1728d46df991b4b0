"""Axes as written in `[sweep]`, with the checks that need no values.

A key of `[sweep]` with its list of values is an axis; so is every table `[[sweep.zip]]`, whose keys take their i-th
values together. Axes are ordered as written, those of `[sweep]` first.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.faults import Fault

__all__ = ["WrittenAxis", "faults_of_lists", "faults_of_repeats", "written_axes"]

_FIXED = (
    "seeds",
    "experiment",
    "analysis",
    "compute",
    "flow.times",
    "dynamics.kind",
    "dynamics.steps",
    "dynamics.record_every",
)


@dataclass(frozen=True)
class WrittenAxis:
    """An axis as the user wrote it."""

    place: str
    """Prefix of the paths in messages about its faults: "sweep" or "sweep.zip[0]"."""
    lists: tuple[tuple[str, Any], ...]
    """Pairs of a dotted key and what the user has written as its list of values, which need not be a list."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Dotted keys."""
        return tuple(key for key, _ in self.lists)

    def without(self, keys: Sequence[str]) -> "WrittenAxis":
        """This axis without the given keys and without keys inside them."""
        kept = [pair for pair in self.lists if not any(_inside(pair[0], key) or pair[0] == key for key in keys)]
        return WrittenAxis(self.place, tuple(kept))


def written_axes(table: Mapping[str, Any]) -> tuple[list[WrittenAxis], list[Fault]]:
    """The axes of a table `[sweep]` in their order, and the faults of malformed tables of zipped axes."""
    product = {key: value for key, value in table.items() if key != "zip"}
    axes, faults = [WrittenAxis("sweep", (pair,)) for pair in _flatten(product)], []
    zips = table.get("zip", [])
    if not isinstance(zips, list) or any(not isinstance(entry, dict) for entry in zips):
        remedy = "write [[sweep.zip]], in two brackets, above keys that vary together, each with its list"
        return axes, [Fault("sweep.zip", f"a list of tables is needed: {remedy}")]
    for number, entry in enumerate(zips):
        axes.append(WrittenAxis(f"sweep.zip[{number}]", tuple(_flatten(entry))))
        if not axes[-1].lists:
            message = "no keys; write those that vary together, each with its list, or leave it out"
            faults.append(Fault(axes[-1].place, message))
    return axes, faults


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Keys may be written `"initializer.std" = [...]` or `initializer.std = [...]`."""
    for key, value in table.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flatten(value, f"{path}.")
        else:
            yield path, value


def faults_of_repeats(axes: Sequence[WrittenAxis]) -> list[Fault]:
    """Faults of keys that occur twice, because one of the two lists would be ignored."""
    keys = [key for axis in axes for key in axis.keys]
    return [
        Fault(f"{axis.place}.{key}", "this axis occurs twice; write its key once in all of [sweep]")
        for axis in axes
        for key in dict.fromkeys(axis.keys)
        if keys.count(key) > 1
    ]


def faults_of_lists(axes: Sequence[WrittenAxis]) -> list[Fault]:
    """Faults of keys that cannot be axes, of values that are not lists, and of zipped lists of different lengths."""
    return [
        Fault(f"{axis.place}.{key}", message)
        for axis in axes
        for key, entries in axis.lists
        if (message := _message(axis, key, entries, [other for a in axes for other in a.keys])) is not None
    ]


def _message(axis: WrittenAxis, key: str, entries: Any, keys: Sequence[str]) -> str | None:
    """The fault of one key of an axis, or None."""
    fixed = next((name for name in _FIXED if key == name or _inside(key, name)), None)
    if fixed is not None:
        return f"{fixed} is one for the whole run and cannot be an axis"
    if key == "flow":
        return "times are one for the whole run; name one option, such as flow.rtol"
    if key == "dynamics":
        return "steps are one for the whole run; name one key, such as dynamics.optimizer"
    outer = next((other for other in keys if _inside(key, other)), None)
    if outer is not None:
        return f"lies inside the axis {outer}; write its values there"
    if not isinstance(entries, list) or not entries:
        return f"found {entries!r:.60}; an axis is a list of values"
    first, lead = axis.lists[0]
    if key != first:
        if isinstance(lead, list) and len(entries) != len(lead):
            return f"{_values(entries)}, and {first} has {len(lead)}; keys that vary together need equally many"
        return None
    if len({_hashable(entry) for entry in entries}) < len(entries):
        return "a value occurs twice; " + (
            "name every value once" if len(axis.lists) == 1 else "put first a key whose values differ"
        )
    return None


def _inside(key: str, other: str) -> bool:
    return key.startswith(f"{other}.")


def _values(entries: Sequence[Any]) -> str:
    return f"{len(entries)} value" + "s" * (len(entries) > 1)


def _hashable(value: Any) -> Any:
    """A hashable value; two of them are equal exactly if the TOML values are equal."""
    if isinstance(value, Mapping):
        return frozenset((key, _hashable(entry)) for key, entry in value.items())
    return tuple(map(_hashable, value)) if isinstance(value, list) else value
