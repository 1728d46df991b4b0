"""Ends of reference flows that were integrated before, in tests/data/reference_flows.json.

They are found by the bits of their problem and start, so that data which another machine rounds otherwise are
integrated there. `python -m tests.adversarial --store` writes those of the fast lane again.
"""

import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np

from .problem import Problem
from .reference_flow import ReferenceFlow, reference_flow

__all__ = ["STORED", "end_of_flow", "stored_ends"]

STORED = Path(__file__).parents[1] / "data" / "reference_flows.json"


def _key_of(problem: Problem, start: np.ndarray, rtol: float, method: str) -> str:
    """A digest of everything that the flow depends on."""
    found = hashlib.sha256(repr((problem.loss, problem.numbers, problem.samples, rtol, method)).encode())
    for array in (problem.shape.monomials, problem.shape.outputs, problem.patches, problem.targets, start):
        found.update(repr((array.shape, array.dtype.str)).encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:24]


@cache
def stored_ends() -> dict[str, list]:
    """Status, vector, whether it is isolated, and number of steps, by key; `end_of_flow` adds what it integrates."""
    return json.loads(STORED.read_text()) if STORED.exists() else {}


def end_of_flow(problem: Problem, start: np.ndarray, rtol: float = 1e-11, method: str = "LSODA") -> ReferenceFlow:
    """The flow as `reference_flow` finds it; a stored one has no path."""
    ends, key = stored_ends(), _key_of(problem, start, rtol, method)
    if key not in ends:
        end = reference_flow(problem, start, rtol, method)
        ends[key] = [end.status, end.vector.tolist(), bool(end.isolated), end.steps]
        return end
    status, vector, isolated, steps = ends[key]
    return ReferenceFlow(status, np.array(vector), isolated, steps, np.zeros((0, start.size)))
