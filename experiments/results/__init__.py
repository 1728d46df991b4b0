"""Stored results: their variables and dimensions, export to other formats, and comparison of two runs."""
