"""Risks: their values, derivatives and forms of evaluation, and a-priori bounds.

The subclasses of `EmpiricalRisk` are imported here, so that `EmpiricalRisk(...)` knows them.
"""

from lcnn_flow.risk import linear as linear
from lcnn_flow.risk import network as network
