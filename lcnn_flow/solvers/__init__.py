"""Rosenbrock methods as diffrax solvers."""

from lcnn_flow.solvers.linear_algebra import dense_stage_solver, inverse_positive_definite
from lcnn_flow.solvers.rodas4 import Rodas4
from lcnn_flow.solvers.rodas5p import Rodas5P
from lcnn_flow.solvers.rosenbrock import AbstractRosenbrock, RosenbrockInterpolation, RosenbrockTableau

__all__ = [
    "AbstractRosenbrock",
    "Rodas4",
    "Rodas5P",
    "RosenbrockInterpolation",
    "RosenbrockTableau",
    "dense_stage_solver",
    "inverse_positive_definite",
]
