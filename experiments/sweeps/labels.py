"""Short texts of axis values: labels, which are coordinates of results, and how numbers are written in texts."""

from collections.abc import Mapping
from typing import Any

__all__ = ["label", "named_value", "value_text"]


def label(value: Any) -> Any:
    """The coordinate of an axis value: a number as it is, a table by its own label or else by its kind and numbers.

    Examples: 0.5, "l_4", "pseudo_huber(0.1)", "loss.delta + weights".
    """
    if isinstance(value, Mapping):
        if value.get("label") is not None:
            return str(value["label"])
        numbers = [label(v) for key, v in value.items() if key != "kind" and v is not None]
        kind = str(value.get("kind", ""))
        if kind == "lp" and len(numbers) == 1:
            return f"l_{value_text(numbers[0])}"
        return f"{kind}({', '.join(map(value_text, numbers))})" if numbers else kind
    if isinstance(value, list | tuple):
        if value and all(isinstance(entry, str) for entry in value):
            return " + ".join(value)
        return "[" + ", ".join(value_text(label(v)) for v in value) + "]"
    return value


def value_text(value: Any) -> str:
    """A coordinate as text: numbers with up to six digits, words as they are."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def named_value(axis: str, value: Any) -> str:
    """A coordinate as text, numbers with the name of their axis: "noise = 0.1", but "pseudo_huber(0.1)"."""
    return f"{axis} = {value:g}" if isinstance(value, float) else str(value)
