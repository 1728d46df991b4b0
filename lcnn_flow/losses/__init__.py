"""Elementwise losses of the theory, robust ones past it, and any other."""

from lcnn_flow.losses.base import Loss, LossTheory
from lcnn_flow.losses.named import LOSSES, Custom, GeneralizedHuber, LogCosh, Lp, PseudoHuber, Square
from lcnn_flow.losses.robust import ALL_LOSSES, ROBUST_LOSSES, Cauchy, GemanMcClure, Huber, Welsch

__all__ = [
    "ALL_LOSSES",
    "LOSSES",
    "ROBUST_LOSSES",
    "Cauchy",
    "Custom",
    "GemanMcClure",
    "GeneralizedHuber",
    "Huber",
    "LogCosh",
    "Loss",
    "LossTheory",
    "Lp",
    "PseudoHuber",
    "Square",
    "Welsch",
]
