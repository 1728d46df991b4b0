"""The landscape of a small square-loss problem: all of its critical points, proved to be all, and what joins them."""

from lcnn_flow.landscape.computing import MAX_PATHS, census
from lcnn_flow.landscape.conditions import CensusEnsemble, census_ensemble
from lcnn_flow.landscape.counts import CriticalCount, critical_count
from lcnn_flow.landscape.morse import MorseGraph, morse_graph
from lcnn_flow.landscape.orbit import Orbit
from lcnn_flow.landscape.result import Census
from lcnn_flow.landscape.searching import FoundPoints, search_critical_points
from lcnn_flow.landscape.shares import Basins, Share, basins, wilson_interval

__all__ = [
    "MAX_PATHS",
    "Basins",
    "Census",
    "CensusEnsemble",
    "CriticalCount",
    "FoundPoints",
    "MorseGraph",
    "Orbit",
    "Share",
    "basins",
    "census",
    "census_ensemble",
    "critical_count",
    "morse_graph",
    "search_critical_points",
    "wilson_interval",
]
