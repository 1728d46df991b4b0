"""Figures of stored results; each returns a `Drawing`, or None where the results hold nothing to draw."""

from experiments.figures.conditions import filter_growth, verdict_shares
from experiments.figures.filters import filter_error, filters, learned_filter, relative_error
from experiments.figures.style import Drawing, house_style, render
from experiments.figures.trajectories import balancedness_drift, gradient_norm, path_length, risk

__all__ = [
    "Drawing",
    "balancedness_drift",
    "filter_error",
    "filter_growth",
    "filters",
    "gradient_norm",
    "house_style",
    "learned_filter",
    "path_length",
    "relative_error",
    "render",
    "risk",
    "verdict_shares",
]
