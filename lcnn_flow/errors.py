"""Errors raised outside jit; each says what is wrong, where, and what to write instead."""

__all__ = [
    "ArchitectureError",
    "DataError",
    "DescentError",
    "FlowError",
    "LcnnFlowError",
    "LossError",
    "PlotError",
    "RiskError",
]


class LcnnFlowError(ValueError):
    """Base class of every error that `lcnn_flow` raises on misuse."""


class ArchitectureError(LcnnFlowError):
    """Sizes that do not fit together, or parameters that do not fit the architecture."""


class LossError(LcnnFlowError):
    """A loss parameter outside its range."""


class DataError(LcnnFlowError):
    """Data that cannot be used: wrong rank or size, not finite, unreadable."""


class RiskError(LcnnFlowError):
    """Architecture, loss and data that do not fit together."""


class FlowError(LcnnFlowError):
    """Options of a flow that contradict each other or that the precision cannot resolve."""


class DescentError(LcnnFlowError):
    """An optimiser, its numbers or its steps that cannot be used."""


class PlotError(LcnnFlowError):
    """Something that cannot be drawn, or matplotlib is missing."""
