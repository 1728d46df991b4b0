"""Gradient flow of linear convolutional networks: flows to their limits, each with a verdict that can be trusted."""

from lcnn_flow import critical, data, initializers, losses, solvers, theory, verdict
from lcnn_flow.architecture import Architecture
from lcnn_flow.compilation_cache import enable_compilation_cache
from lcnn_flow.critical import Certificate, CriticalPoint, certify, classify
from lcnn_flow.data import Dataset
from lcnn_flow.describe import describe
from lcnn_flow.ensemble import gradient_flow_ensemble
from lcnn_flow.errors import ArchitectureError, DataError, FlowError, LcnnFlowError, LossError, RiskError
from lcnn_flow.flow import Flow, Trajectory, gradient_flow
from lcnn_flow.flow_settings import log_times
from lcnn_flow.network import apply, end_to_end_filter, patches
from lcnn_flow.risk import EmpiricalRisk
from lcnn_flow.verdict import Verdict, summary

__version__ = "0.1.0"

__all__ = [
    "Architecture",
    "ArchitectureError",
    "Certificate",
    "CriticalPoint",
    "DataError",
    "Dataset",
    "EmpiricalRisk",
    "Flow",
    "FlowError",
    "LcnnFlowError",
    "LossError",
    "RiskError",
    "Trajectory",
    "Verdict",
    "apply",
    "certify",
    "classify",
    "critical",
    "data",
    "describe",
    "enable_compilation_cache",
    "end_to_end_filter",
    "gradient_flow",
    "gradient_flow_ensemble",
    "initializers",
    "log_times",
    "losses",
    "patches",
    "solvers",
    "summary",
    "theory",
    "verdict",
]
