"""What leaves a risk unchanged, and what gradient flow conserves for it."""

from lcnn_flow.symmetry.declared import Declared

__all__ = ["Declared"]
