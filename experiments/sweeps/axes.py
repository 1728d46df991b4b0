"""Axes of a sweep, with the names of their coordinates in results and the labels of their values."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import tomli_w

from experiments.results.meanings import CELL, FLOW, LIMIT, OUTER, PICTURES, TRAJECTORY, TUNING

__all__ = ["Axis", "axes_toml", "label", "name_axes", "named_axes"]

_DIMENSIONS = (
    *("seed", "time", "layer", "interface", "tap", "other_tap"),
    *("eigenvalue", "iteration", "sample", "row", "column", "blurred_row", "blurred_column"),
)
_CODES = ("verdict", "kind", "certificate")
_RESERVED = {*_DIMENSIONS, *_CODES, *FLOW, *TRAJECTORY, *LIMIT, *CELL, *TUNING, *OUTER, *PICTURES}
"""Names that results use themselves: no axis can have one of them."""


@dataclass(frozen=True)
class Axis:
    """One axis: the dotted key that it varies, its values, and its name, which is that of the dimension of results."""

    name: str
    path: str
    values: tuple[Any, ...]
    further: tuple["Axis", ...] = ()
    """Keys that vary together with `path`, with equally many values; they have names, but no dimension of their own."""

    @property
    def keys(self) -> tuple["Axis", ...]:
        """All keys that vary along this axis: its own first, then the further ones."""
        return (self, *self.further)

    @cached_property
    def labels(self) -> tuple[Any, ...]:
        """Coordinates: numbers as they are, tables by their label, or else by their kind and numbers."""
        return tuple(label(value) for value in self.values)

    @cached_property
    def numeric(self) -> bool:
        """Whether the axis has a scale on which its values can be plotted."""
        return all(isinstance(value, int | float) and not isinstance(value, bool) for value in self.values)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The text of every value in names of cells: its label, and all numbers with their names."""
        shown = [self, *(key for key in self.further if key.numeric)]
        labels = zip(*(key.labels for key in shown), strict=True)
        return tuple(", ".join(map(_text, shown, together)) for together in labels)


def _text(key: Axis, name: Any) -> str:
    return f"{key.name} = {name}" if key.numeric else str(name)


def named_axes(written: Iterable[Sequence[tuple[str, Sequence[Any]]]]) -> tuple[Axis, ...]:
    """Axes with names, from pairs of a dotted key and its values; every axis is named after its first key."""
    axes = [list(pairs) for pairs in written]
    names = iter(name_axes([path for pairs in axes for path, _ in pairs]))
    keys = [[Axis(next(names), path, tuple(values)) for path, values in pairs] for pairs in axes]
    return tuple(Axis(first.name, first.path, first.values, tuple(further)) for first, *further in keys)


def name_axes(paths: Sequence[str]) -> list[str]:
    """Names of coordinates: the last part of a dotted key, or all of it where that is not unique."""
    last = [path.rsplit(".", 1)[-1] for path in paths]
    return [
        name if last.count(name) == 1 and name not in _RESERVED else path.replace(".", "_")
        for path, name in zip(paths, last, strict=True)
    ]


def axes_toml(axes: Sequence[Axis]) -> str:
    """Lines of `[sweep]` that `written_axes` reads as the same axes in the same order.

    After a zipped axis only zipped axes can be written; an axis of one key can be written as a zip too.
    """
    lines: list[str] = []
    for number, axis in enumerate(axes):
        if any(other.further for other in axes[: number + 1]):
            lines.append("\n[[sweep.zip]]\n")
        elif number == 0:
            lines.append("\n[sweep]\n")
        lines += [_toml_lines(key.path, key.values) for key in axis.keys]
    return "".join(lines)


def _toml_lines(key: str, values: Iterable[Any]) -> str:
    """TOML of a key and its list of values, each inline on a line of its own; a dotted key is quoted.

    `tomli_w` writes a list of large tables as sections, which TOML puts after all other keys: the order would be lost.
    """
    return "".join([f"{_key(key)} = [\n", *(f"    {_inline(value)},\n" for value in values), "]\n"])


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(key)} = {_inline(entry)}' for key, entry in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_inline, value))}]"
    return tomli_w.dumps({"v": value}).removeprefix("v = ").removesuffix("\n")


def _key(name: str) -> str:
    return tomli_w.dumps({name: 0}).removesuffix(" = 0\n")


def label(value: Any) -> Any:
    """A short name of an axis value: its own label, or "l_4", "pseudo_huber(0.1)", "loss.delta + weights", 0.5."""
    if isinstance(value, Mapping):
        if value.get("label") is not None:
            return str(value["label"])
        numbers = [label(v) for key, v in value.items() if key != "kind" and v is not None]
        kind = str(value.get("kind", ""))
        if kind == "lp" and len(numbers) == 1:
            return f"l_{_short(numbers[0])}"
        return f"{kind}({', '.join(map(_short, numbers))})" if numbers else kind
    if isinstance(value, list | tuple):
        if value and all(isinstance(entry, str) for entry in value):
            return " + ".join(value)
        return "[" + ", ".join(_short(label(v)) for v in value) + "]"
    return value


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
