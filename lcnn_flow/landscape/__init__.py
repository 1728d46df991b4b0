"""The landscape of a small square-loss problem: all of its critical points, proved to be all, and what joins them."""

from lcnn_flow.landscape.computing import census
from lcnn_flow.landscape.counts import CriticalCount, critical_count
from lcnn_flow.landscape.orbit import Orbit
from lcnn_flow.landscape.result import Census

__all__ = ["Census", "CriticalCount", "Orbit", "census", "critical_count"]
