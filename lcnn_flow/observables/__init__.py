"""Quantities measured along flows and descents at the recorded times; users can add their own functions."""

from lcnn_flow.observables.measures import HeldOutRisk, effective_rank, held_out_risk, kernel_drift, sharpness

__all__ = ["HeldOutRisk", "effective_rank", "held_out_risk", "kernel_drift", "sharpness"]
