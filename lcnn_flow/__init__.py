"""Gradient flow of linear convolutional networks: flows to their limits, each with a verdict that can be trusted."""

from typing import TYPE_CHECKING

from lcnn_flow import critical, data, losses, observables, solvers, symmetry, theory
from lcnn_flow.compilation_cache import enable_compilation_cache
from lcnn_flow.critical import Certificate, CriticalPoint, certify, classify, summary
from lcnn_flow.data import Dataset
from lcnn_flow.descent.course import DescentTrajectory
from lcnn_flow.descent.result import Descent
from lcnn_flow.descent.single import gradient_descent
from lcnn_flow.dynamics.settings import FlowOptions, log_times
from lcnn_flow.ensemble.descents import gradient_descent_ensemble
from lcnn_flow.ensemble.description import describe
from lcnn_flow.ensemble.many import gradient_flow_ensemble
from lcnn_flow.errors import (
    ArchitectureError,
    DataError,
    DescentError,
    FlowError,
    LcnnFlowError,
    LossError,
    PlotError,
    RiskError,
)
from lcnn_flow.flow.result import Flow, Trajectory
from lcnn_flow.flow.single import gradient_flow
from lcnn_flow.landscape import (
    Basins,
    Census,
    CensusEnsemble,
    CriticalCount,
    FoundPoints,
    MorseGraph,
    basins,
    census,
    census_ensemble,
    critical_count,
    morse_graph,
    search_critical_points,
)
from lcnn_flow.limits import verdict
from lcnn_flow.limits.verdict import Verdict
from lcnn_flow.network import activations, initializers
from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.dense import Dense
from lcnn_flow.network.filters import end_to_end_filter
from lcnn_flow.network.forward import apply, patches
from lcnn_flow.risk.empirical import EmpiricalRisk
from lcnn_flow.risk.function import Risk

if TYPE_CHECKING:
    from lcnn_flow import plot as plot
else:

    def __getattr__(name: str) -> object:
        """The package `plot`, imported when it is first used, because it needs matplotlib."""
        if name != "plot":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        try:
            return importlib.import_module("lcnn_flow.plot")
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "matplotlib":
                raise
            raise PlotError('lf.plot needs matplotlib: pip install "lcnn_flow[plot]"') from error


__version__ = "0.1.0"

__all__ = [
    "Architecture",
    "ArchitectureError",
    "Basins",
    "Census",
    "CensusEnsemble",
    "Certificate",
    "CriticalCount",
    "CriticalPoint",
    "DataError",
    "Dataset",
    "Dense",
    "Descent",
    "DescentError",
    "DescentTrajectory",
    "EmpiricalRisk",
    "Flow",
    "FlowError",
    "FlowOptions",
    "FoundPoints",
    "LcnnFlowError",
    "LossError",
    "MorseGraph",
    "PlotError",
    "Risk",
    "RiskError",
    "Trajectory",
    "Verdict",
    "activations",
    "apply",
    "basins",
    "census",
    "census_ensemble",
    "certify",
    "classify",
    "critical",
    "critical_count",
    "data",
    "describe",
    "enable_compilation_cache",
    "end_to_end_filter",
    "gradient_descent",
    "gradient_descent_ensemble",
    "gradient_flow",
    "gradient_flow_ensemble",
    "initializers",
    "log_times",
    "losses",
    "morse_graph",
    "observables",
    "patches",
    "search_critical_points",
    "solvers",
    "summary",
    "symmetry",
    "theory",
    "verdict",
]
