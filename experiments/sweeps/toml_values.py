"""TOML of one key and its list of values, every value inline on a line of its own.

`tomli_w` writes a list of large tables as sections, which TOML puts behind all other keys: their order would be lost.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import tomli_w

__all__ = ["key_and_values"]


def key_and_values(key: str, values: Iterable[Any]) -> str:
    """Lines of `key = [value, ...]`; a dotted key is quoted."""
    return "".join([f"{_key(key)} = [\n", *(f"    {_inline(value)},\n" for value in values), "]\n"])


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(key)} = {_inline(entry)}' for key, entry in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_inline, value))}]"
    return tomli_w.dumps({"v": value}).removeprefix("v = ").removesuffix("\n")


def _key(name: str) -> str:
    return tomli_w.dumps({name: 0}).removesuffix(" = 0\n")
