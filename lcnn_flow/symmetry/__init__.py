"""Symmetries of the parameters, and what gradient flow conserves because of them."""
