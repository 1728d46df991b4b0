"""How much one variable differs between two runs, flow by flow.

    difference = max |a - b| / max(|a|, |b|, natural size)

over all entries of a flow. The natural size of the units in that flow keeps quantities that vanish but for rounding
from being compared digit by digit: R = final_risk + final_energy, the risk at the start, for "risk"; the largest entry
F of the filters for "filter"; quotients and powers of both; 1 for "1". Derived.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from experiments.results.pairing import Pair
from experiments.results.variables import NOT_COMPUTED, codes

__all__ = ["Scales", "VariableComparison", "compare_variable"]

_EXAMPLES = 3
_POWERS = {"risk": (1, 0), "filter": (0, 1), "filter^2": (0, 2), "risk / filter": (1, -1), "risk / filter^2": (1, -2)}
"""Units by their powers of R and F."""


@dataclass(frozen=True)
class VariableComparison:
    """One variable over all flows, or cells, that both runs have."""

    name: str
    identical: bool
    """To the last bit; NaN equals NaN."""
    largest: float
    """Largest difference; infinite for codes that differ, and where only one run has a number."""
    differing: int
    """Flows, or cells, whose difference is above rtol."""
    compared: int
    of_cells: bool
    examples: tuple[str, ...]

    def __str__(self) -> str:
        if not self.differing:
            return f"up to {self.largest:.1e}"
        size = "" if np.isinf(self.largest) else f", by up to {self.largest:.1e}"
        return f"{self.differing} of {self.compared} {'cells' if self.of_cells else 'flows'}{size}"


class Scales:
    """Natural sizes of units in every common flow."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair

    def of(self, unit: str | None) -> np.ndarray | float:
        """By axes and seed, or one for all; 0 for units without a natural size."""
        if unit == "1":
            return 1.0
        if unit not in _POWERS:
            return 0.0
        risk, filters = _POWERS[unit]
        with np.errstate(all="ignore"):
            size = self._risk**risk * self._filter**filters
        return np.where(np.isfinite(size), size, 0.0)

    @cached_property
    def _risk(self) -> np.ndarray:
        return self._largest(["final_risk"]) + self._largest(["final_energy"])

    @cached_property
    def _filter(self) -> np.ndarray:
        stores = self._pair.stores
        return self._largest([n for n in map(str, stores[0].data_vars) if n.startswith("final_w") and n in stores[1]])

    def _largest(self, names: list[str]) -> np.ndarray:
        size = np.zeros(self._pair.both.shape)
        for name in names:
            for part, *values in self._pair.slabs(name):
                sizes = [_size(v.reshape(*v.shape[: len(part)], -1)) for v in values]
                size[part] = np.maximum.reduce([size[part], *sizes])
        return size


def compare_variable(pair: Pair, name: str, scales: Scales, rtol: float) -> VariableComparison:
    """Compares a variable of both runs.

    Args:
        pair: what the runs have in common.
        name: a variable of both.
        scales: natural sizes of units.
        rtol: largest relative difference that counts as rounding.
    """
    meanings, per_flow = codes(name), "seed" in pair.rows_of(name)
    both = pair.both if per_flow else np.asarray(pair.both.any(-1))
    unit = pair.stores[0][name].attrs.get("units")
    natural = np.broadcast_to(scales.of(unit) if per_flow or unit == "1" else 0.0, both.shape)
    identical, largest, differing = True, 0.0, 0
    examples: list[str] = []
    for part, *values in pair.slabs(name):
        chosen = both[part]
        if not chosen.any():
            continue
        first, second = (v[chosen] for v in values)
        a, b = (v.reshape(len(v), -1).astype(float) for v in (first, second))
        gaps = _gaps(a, b) if meanings is None else np.where(a == b, 0.0, np.inf)
        gap = gaps.max(-1, initial=0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            relative = np.where(gap == 0, 0.0, gap / np.maximum.reduce([_size(a), _size(b), natural[part][chosen]]))
        identical &= _same_bits(a, b)
        largest = max(largest, float(relative.max()))
        differing += int((relative > rtol).sum())
        places = np.argwhere(chosen) + [s.start for s in part]
        for row in np.flatnonzero(relative > rtol)[: _EXAMPLES - len(examples)]:
            entry = np.unravel_index(int(gaps[row].argmax()), first.shape[1:])
            where = pair.name_of(name, tuple(places[row]), tuple(map(int, entry)))
            words = [_word(v[(row, *entry)], meanings) for v in (first, second)]
            examples.append(f"{where}: {words[0]} | {words[1]}")
    return VariableComparison(name, identical, largest, differing, int(both.sum()), not per_flow, tuple(examples))


def _gaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a - b|; infinite where only one of them is a number."""
    with np.errstate(invalid="ignore", over="ignore"):
        gaps = np.abs(a - b)
    gaps[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    return np.where(np.isnan(gaps), np.inf, gaps)


def _size(values: np.ndarray) -> np.ndarray:
    """Largest size of the finite entries of each flow."""
    return np.where(np.isfinite(values), np.abs(values), 0.0).max(-1, initial=0.0)


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(((a.view(np.int64) == b.view(np.int64)) | (np.isnan(a) & np.isnan(b))).all())


def _word(value: Any, meanings: dict[int, str] | None) -> str:
    if meanings is None:
        return f"{value:.12g}"
    return {NOT_COMPUTED: "NOT_COMPUTED", **meanings}.get(int(value), f"code {value}")
