"""Elementwise losses: those of the theory, others for outliers, quantiles and classification, and custom ones."""

from lcnn_flow.losses.base import Loss, LossTheory
from lcnn_flow.losses.classification import MARGIN_LOSSES, Exponential, Logistic, MarginLoss
from lcnn_flow.losses.named import LOSSES, Custom, GeneralizedHuber, LogCosh, Lp, PseudoHuber, Square
from lcnn_flow.losses.quantile import SmoothQuantile
from lcnn_flow.losses.registry import ALL_LOSSES
from lcnn_flow.losses.robust import ROBUST_LOSSES, Cauchy, GemanMcClure, Huber, Welsch

__all__ = [
    "ALL_LOSSES",
    "LOSSES",
    "MARGIN_LOSSES",
    "ROBUST_LOSSES",
    "Cauchy",
    "Custom",
    "Exponential",
    "GemanMcClure",
    "GeneralizedHuber",
    "Huber",
    "LogCosh",
    "Logistic",
    "Loss",
    "LossTheory",
    "Lp",
    "MarginLoss",
    "PseudoHuber",
    "SmoothQuantile",
    "Square",
    "Welsch",
]
