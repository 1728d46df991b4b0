"""Two columns of text for a terminal: names, and what is said of them."""

import shutil
import textwrap
from collections.abc import Mapping

__all__ = ["in_columns", "in_lines"]

_WIDEST = 120


def in_columns(said: Mapping[str, str]) -> str:
    """A line per name, or several where the text is longer than the line; texts stand below one another."""
    first = max(map(len, said), default=0)
    return "\n".join(_filled(text, f"  {name:{first}}  ", " " * (first + 4)) for name, text in said.items())


def in_lines(text: str) -> str:
    """A paragraph in lines of the width of the terminal."""
    return _filled(text, "", "")


def _filled(text: str, before: str, indent: str) -> str:
    """Lines of whole words, the first with something before it."""
    width = min(_WIDEST, shutil.get_terminal_size((_WIDEST, 24)).columns)
    return textwrap.fill(
        text, width, initial_indent=before, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
