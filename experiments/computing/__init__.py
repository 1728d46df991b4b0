"""Computes one cell of a sweep: its problem, its flows or descents, and their analysis."""
