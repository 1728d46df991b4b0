"""Axes of a sweep, with the names of their coordinates in results and the labels of their values."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import tomli_w

from experiments.results.meanings import CELL, FLOW, LIMIT, OUTER, PICTURES, TRAJECTORY, TUNING
from experiments.sweeps.labels import label

__all__ = ["Axis", "axes_toml", "name_axes", "named_axes"]

_DIMENSIONS = (
    *("seed", "time", "layer", "interface", "tap", "other_tap"),
    *("eigenvalue", "iteration", "sample", "row", "column", "blurred_row", "blurred_column"),
)
_CODES = ("verdict", "kind", "certificate")
_RESERVED = {*_DIMENSIONS, *_CODES, *FLOW, *TRAJECTORY, *LIMIT, *CELL, *TUNING, *OUTER, *PICTURES}
"""Names of dimensions and variables of results, which no axis can have."""


@dataclass(frozen=True)
class Axis:
    """One axis: the dotted key that it varies, its values, and its name, which is a dimension of the results."""

    name: str
    path: str
    values: tuple[Any, ...]
    further: tuple["Axis", ...] = ()
    """Keys that vary together with `path`; they have equally many values, and names, but no dimension of their own."""

    @property
    def keys(self) -> tuple["Axis", ...]:
        """All keys that vary along this axis: its own, then the further ones."""
        return (self, *self.further)

    @cached_property
    def labels(self) -> tuple[Any, ...]:
        """The coordinates: `labels.label` of every value."""
        return tuple(label(value) for value in self.values)

    @cached_property
    def numeric(self) -> bool:
        """Whether all values are numbers, so that they can be plotted on a scale."""
        return all(isinstance(value, int | float) and not isinstance(value, bool) for value in self.values)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The text of every value in names of cells: labels, and numbers with the names of their keys."""
        shown = [self, *(key for key in self.further if key.numeric)]
        labels = zip(*(key.labels for key in shown), strict=True)
        return tuple(", ".join(map(_text, shown, together)) for together in labels)


def _text(key: Axis, name: Any) -> str:
    return f"{key.name} = {name}" if key.numeric else str(name)


def named_axes(written: Iterable[Sequence[tuple[str, Sequence[Any]]]]) -> tuple[Axis, ...]:
    """Axes with names, from lists of pairs of a dotted key and its values; an axis has the name of its first key."""
    axes = [list(pairs) for pairs in written]
    names = iter(name_axes([path for pairs in axes for path, _ in pairs]))
    keys = [[Axis(next(names), path, tuple(values)) for path, values in pairs] for pairs in axes]
    return tuple(Axis(first.name, first.path, first.values, tuple(further)) for first, *further in keys)


def name_axes(paths: Sequence[str]) -> list[str]:
    """Names of coordinates: the last part of a dotted key, or the whole key if its last part is not unique."""
    last = [path.rsplit(".", 1)[-1] for path in paths]
    return [
        name if last.count(name) == 1 and name not in _RESERVED else path.replace(".", "_")
        for path, name in zip(paths, last, strict=True)
    ]


def axes_toml(axes: Sequence[Axis]) -> str:
    """Lines of `[sweep]` that `written_axes` reads as the same axes in the same order.

    Axes that follow a zipped axis are written as zipped axes too, because TOML does not allow other keys there.
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
    """TOML of a key and its list of values, one per line; a dotted key is quoted.

    `tomli_w` would write a list of large tables as sections, which must follow all other keys: the order of the axes
    would be lost.
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
