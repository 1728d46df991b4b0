"""The variables of stored results: dimensions and attributes by name, and the meanings of codes.

Codes are integers whose meanings are stored as CF flags; -1 always means "not computed".
"""

from typing import Any

import lcnn_flow as lf
from experiments.results.meanings import CELL, CENSUS, FLOW, LIMIT, OUTER, PICTURES, TRAJECTORY, TUNING

__all__ = [
    "CENSUSES",
    "CERTIFICATES",
    "KINDS",
    "NOT_COMPUTED",
    "VERDICTS",
    "WITH_LIMIT",
    "codes",
    "describe",
]

NOT_COMPUTED = -1
VERDICTS = {int(verdict): verdict.name for verdict in lf.Verdict}
KINDS = {int(kind): kind.word for kind in lf.critical.Kind}
CERTIFICATES = {0: "certified", 1: "degenerate", 2: "inconclusive"}
CENSUSES = {0: "certified_complete", 1: "numerically_complete", 2: "incomplete", 3: "refused"}
"""Statuses of `lcnn_flow.Census`; "refused" means that the data have none: P without full rank, or P^T y = 0."""

WITH_LIMIT = lf.verdict.WITH_LIMIT
"""Verdicts of flows that have a limit."""

_CODES: dict[str, tuple[tuple[str, ...], str, dict[int, str]]] = {
    "verdict": (("seed",), "verdict", VERDICTS),
    "kind": (("seed",), "kind of the limit", KINDS),
    "certificate": (("seed",), "outcome of the certificate of the limit", CERTIFICATES),
    "census_status": ((), "what the census of all critical points proves", CENSUSES),
}


def codes(name: str) -> dict[int, str] | None:
    """Meanings of the codes of a variable; None if its values are numbers."""
    return _CODES[name][2] if name in _CODES else None


def describe(name: str) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Dimensions after the axes of the sweep, and attributes, of the variable with that name."""
    if name in _CODES:
        dims, long_name, meanings = _CODES[name]
        flags = [NOT_COMPUTED, *meanings]
        words = " ".join(["NOT_COMPUTED", *meanings.values()])
        return dims, {"long_name": long_name, "flag_values": flags, "flag_meanings": words}
    if name in FLOW:
        return ("seed",), {"long_name": FLOW[name][1], "units": FLOW[name][2]}
    if name == "valid_until":
        return ("seed",), {"long_name": "time until which the trajectory is valid", "units": "flow time"}
    for table, before in (
        (CELL, ()),
        (CENSUS, ()),
        (TUNING, ()),
        (OUTER, ()),
        (PICTURES, ()),
        (LIMIT, ("seed",)),
        (TRAJECTORY, ("seed", "time")),
    ):
        if name in table:
            dims, long_name, units = table[name]
            return (*before, *dims), {"long_name": long_name, "units": units}
    which, part = name.split("_", 1)
    if which == "shown":
        words = {"long_name": f"filter of layer {part[1:]} along the first flows", "units": "filter"}
        return ("shown_flow", "shown_step", f"shown_tap_{part[1:]}"), words  # of some cells only
    state = "last integrated state" if which == "final" else "limit (NaN where no limit was found)"
    if part == "filter":
        return ("seed", "tap"), {"long_name": f"end-to-end filter, {state}", "units": "filter"}
    layer = part[1:]
    if part.startswith("b"):
        return ("seed", f"unit_{layer}"), {"long_name": f"biases of layer {layer}, {state}", "units": "filter"}
    return ("seed", f"tap_{layer}"), {"long_name": f"filter of layer {layer}, {state}", "units": "filter"}
