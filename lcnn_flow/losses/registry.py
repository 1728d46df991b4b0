"""All losses that are determined by a name and numbers."""

from lcnn_flow.losses.base import Loss
from lcnn_flow.losses.classification import MARGIN_LOSSES
from lcnn_flow.losses.named import LOSSES
from lcnn_flow.losses.quantile import SmoothQuantile
from lcnn_flow.losses.robust import ROBUST_LOSSES

__all__ = ["ALL_LOSSES"]

ALL_LOSSES: dict[str, type[Loss]] = {**LOSSES, **ROBUST_LOSSES, SmoothQuantile.name: SmoothQuantile, **MARGIN_LOSSES}
"""Those of the theory first; none is negative anywhere."""
