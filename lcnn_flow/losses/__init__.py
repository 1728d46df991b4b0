"""Elementwise losses of the theory, and any other."""

from lcnn_flow.losses.base import Loss, LossTheory
from lcnn_flow.losses.named import LOSSES, Custom, GeneralizedHuber, LogCosh, Lp, PseudoHuber, Square

__all__ = ["LOSSES", "Custom", "GeneralizedHuber", "LogCosh", "Loss", "LossTheory", "Lp", "PseudoHuber", "Square"]
