"""Symmetries of a risk, and the quantities that gradient flow conserves because of them."""

from lcnn_flow.symmetry.declared import Declared

__all__ = ["Declared"]
