"""Stored results: their variables and dimensions, other formats, and whether two runs agree."""
