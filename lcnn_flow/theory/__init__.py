"""Quantities of the theory of gradient flow for linear convolutional networks, by name."""

from lcnn_flow.invariants import balancedness, symmetry_directions

__all__ = ["balancedness", "symmetry_directions"]
