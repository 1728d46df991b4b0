"""Gradient flow of linear convolutional networks: flows to their limits, each with a verdict that can be trusted."""

from lcnn_flow.architecture import Architecture
from lcnn_flow.errors import ArchitectureError, DataError, FlowError, LcnnFlowError, LossError, RiskError
from lcnn_flow.network import apply, end_to_end_filter

__version__ = "0.1.0"

__all__ = [
    "Architecture",
    "ArchitectureError",
    "DataError",
    "FlowError",
    "LcnnFlowError",
    "LossError",
    "RiskError",
    "apply",
    "end_to_end_filter",
]
