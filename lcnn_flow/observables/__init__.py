"""Quantities measured along flows and descents at the recorded times; a user's own functions stand beside them."""

from lcnn_flow.observables.measures import HeldOutRisk, effective_rank, held_out_risk, kernel_drift, sharpness

__all__ = ["HeldOutRisk", "effective_rank", "held_out_risk", "kernel_drift", "sharpness"]
