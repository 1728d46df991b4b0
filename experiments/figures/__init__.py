"""Figures of stored results; each returns a `Drawing`, or None where the results hold nothing to draw."""

from experiments.figures.conditions import filter_growth, verdict_shares
from experiments.figures.critical_points import roots, spectrum
from experiments.figures.descents import distance, sharpness
from experiments.figures.filters import EXACT, error_text, filter_error, filters, learned_filter, relative_error
from experiments.figures.fit import fit, fit_of
from experiments.figures.phase_plane import phase_plane
from experiments.figures.root_paths import root_paths
from experiments.figures.style import Drawing, house_style, render
from experiments.figures.trajectories import (
    balancedness_drift,
    excess_risk,
    gradient_norm,
    path_length,
    risk,
    sharpness_over_time,
)

__all__ = [
    "EXACT",
    "Drawing",
    "balancedness_drift",
    "distance",
    "error_text",
    "excess_risk",
    "filter_error",
    "filter_growth",
    "filters",
    "fit",
    "fit_of",
    "gradient_norm",
    "house_style",
    "learned_filter",
    "path_length",
    "phase_plane",
    "relative_error",
    "render",
    "risk",
    "root_paths",
    "roots",
    "sharpness",
    "sharpness_over_time",
    "spectrum",
    "verdict_shares",
]
