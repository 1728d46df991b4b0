"""Two columns of text for a terminal: names, and what is said of them."""

import shutil
import textwrap
from collections.abc import Mapping

__all__ = ["in_columns", "in_lines"]

_WIDEST = 120
_WHOLE_WORDS = {"break_long_words": False, "break_on_hyphens": False}


def in_columns(said: Mapping[str, str]) -> str:
    """A line per name, or several where the text is longer than the line; texts stand below one another."""
    first = max(map(len, said), default=0)
    indent = " " * (first + 4)
    return "\n".join(
        textwrap.fill(text, _width(), initial_indent=f"  {name:{first}}  ", subsequent_indent=indent, **_WHOLE_WORDS)
        for name, text in said.items()
    )


def in_lines(text: str) -> str:
    """A paragraph in lines of the width of the terminal."""
    return textwrap.fill(text, _width(), **_WHOLE_WORDS)


def _width() -> int:
    """Of the terminal, or of a page where there is none."""
    return min(_WIDEST, shutil.get_terminal_size((_WIDEST, 24)).columns)
