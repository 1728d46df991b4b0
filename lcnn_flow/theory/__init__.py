"""Quantities of the theory of gradient flow for linear convolutional networks, by name."""

from lcnn_flow.symmetry.invariants import balancedness, symmetry_directions
from lcnn_flow.theory.bounds import norm_bound
from lcnn_flow.theory.conditions import Hypotheses, hypotheses
from lcnn_flow.theory.lojasiewicz import LojasiewiczFit, lojasiewicz_exponent
from lcnn_flow.theory.separation import Margin, margin
from lcnn_flow.theory.steps import max_stable_step

__all__ = [
    "Hypotheses",
    "LojasiewiczFit",
    "Margin",
    "balancedness",
    "hypotheses",
    "lojasiewicz_exponent",
    "margin",
    "max_stable_step",
    "norm_bound",
    "symmetry_directions",
]
