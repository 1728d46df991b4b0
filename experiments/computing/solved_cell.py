"""A cell after its flows have been computed: what functions that compute further arrays for a module are given."""

from dataclasses import dataclass
from typing import Any

from experiments.schema import Configuration
from experiments.schema.dynamics import Descent

__all__ = ["SolvedCell"]


@dataclass(frozen=True)
class SolvedCell:
    """One cell, with the seeds of one batch.

    Attributes:
        configuration: of the cell.
        risk: what was minimised, a `lcnn_flow.EmpiricalRisk`.
        start: initial parameters, with a leading axis of seeds.
        flows: result of `lcnn_flow.gradient_flow_ensemble` or `gradient_descent_ensemble`.
    """

    configuration: Configuration
    risk: Any
    start: Any
    flows: Any

    @property
    def descent(self) -> Descent:
        """The settings of the descents, for functions that are used with descents only."""
        descent = self.configuration.descent
        assert descent is not None
        return descent
