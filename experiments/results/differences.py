"""Differences between the variables of two runs, flow by flow.

    difference = max |a - b| / max(|a|, |b|, natural size)

over all entries of a flow. Quantities that are 0 up to rounding differ in all digits; the natural size of the units in
that flow prevents this from counting as a difference. It is R = final_risk + final_energy, the risk at the start, for
"risk"; the largest entry F of the filters for "filter"; quotients and powers of both for their units; 1 for "1"; and 0
for other units. Derived.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from experiments.results.layout import sweep_axes
from experiments.results.pairing import cell_name
from experiments.results.slabs import read, slabs
from experiments.results.variables import NOT_COMPUTED, codes

__all__ = ["VariableComparison", "compare_variables"]

_SLAB_BYTES = 64 * 2**20
_EXAMPLES = 3
_POWERS = {
    "1": (0, 0),
    "risk": (1, 0),
    "filter": (0, 1),
    "filter^2": (0, 2),
    "risk / filter": (1, -1),
    "risk / filter^2": (1, -2),
}
"""Powers of R and F in the natural size, by unit."""


@dataclass
class VariableComparison:
    """The comparison of one variable over all flows, or cells, that both runs have."""

    name: str
    of_cells: bool
    identical: bool = True
    """Whether all values are equal to the last bit, where NaN counts as equal to NaN."""
    largest: float = 0.0
    """Largest difference; infinite if codes differ or only one run has a number."""
    differing: int = 0
    """Number of flows, or cells, whose difference is above rtol."""
    compared: int = 0
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.differing:
            return f"up to {self.largest:.1e}"
        size = "" if np.isinf(self.largest) else f", by up to {self.largest:.1e}"
        return f"{self.differing} of {self.compared} {'cells' if self.of_cells else 'flows'}{size}"


def compare_variables(
    stores: Sequence[xr.Dataset], names: Sequence[str], both: np.ndarray, rtol: float
) -> list[VariableComparison]:
    """Compares variables of both runs, slab by slab; variables of cells if their first seeds were computed in both.

    Args:
        stores: two runs with the same cells and seeds, of `pair_up`.
        names: variables of both.
        both: whether a flow was computed in both, over axes and seed.
        rtol: largest relative difference that counts as rounding.
    """
    first = stores[0]
    rows = [str(dim) for dim in first["verdict"].dims]
    found = [VariableComparison(name, "seed" not in first[name].dims) for name in names]
    row_bytes = max(store[list(names)].nbytes for store in stores) // max(1, both.size) + 1
    for part in slabs(both.shape, _SLAB_BYTES // row_bytes):
        if not both[part].any():
            continue
        box = dict(zip(rows, part, strict=True))
        slab = [{name: read(store[name], box) for name in names} for store in stores]
        risk = _largest(slab, ["final_risk"], both[part]) + _largest(slab, ["final_energy"], both[part])
        filters = _largest(slab, [name for name in names if name.startswith("final_w")], both[part])
        for one in found:
            unit, chosen = first[one.name].attrs.get("units"), both[part]
            natural = _natural_size(unit, risk, filters)
            if one.of_cells:
                chosen = chosen.any(-1) & (part[-1].start == 0)
                natural = np.full(chosen.shape, float(unit == "1"))
            if chosen.any():
                values = [variables[one.name][chosen] for variables in slab]
                places = np.argwhere(chosen) + [p.start for p in part[: chosen.ndim]]
                _add(one, first, values, natural[chosen], places, rtol)
    return found


def _add(
    one: VariableComparison,
    store: xr.Dataset,
    values: Sequence[np.ndarray],
    natural: np.ndarray,
    places: np.ndarray,
    rtol: float,
) -> None:
    """Adds some flows to a comparison: the leading axis of `values`, at `places` along axes and seed."""
    meanings = codes(one.name)
    a, b = _filled_up(values)
    with np.errstate(invalid="ignore", over="ignore"):
        gaps = np.abs(a - b) if meanings is None else np.where(a == b, 0.0, np.inf)
    gaps[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    gaps[np.isnan(gaps)] = np.inf
    gap = gaps.max(tuple(range(1, gaps.ndim)), initial=0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.where(gap == 0, 0.0, gap / np.maximum.reduce([_size(a), _size(b), natural]))
    one.identical &= bool(((a.view(np.int64) == b.view(np.int64)) | (np.isnan(a) & np.isnan(b))).all())
    one.largest = max(one.largest, float(relative.max()))
    one.differing += int((relative > rtol).sum())
    one.compared += len(a)
    for row in np.flatnonzero(relative > rtol)[: _EXAMPLES - len(one.examples)]:
        entry = np.unravel_index(int(gaps[row].argmax()), gaps.shape[1:])
        words = [_word(v[(row, *entry)], meanings) for v in (a, b)]
        one.examples += (f"{_place_name(store, one.name, (*places[row], *entry))}: {words[0]} | {words[1]}",)


def _filled_up(values: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Both arrays with the same shape; the smaller one, of a network with fewer layers or taps, is padded with NaN."""
    shape = np.maximum(values[0].shape, values[1].shape)
    missing = [[(0, n - length) for n, length in zip(shape, v.shape, strict=True)] for v in values]
    return [np.pad(v.astype(float), m, constant_values=np.nan) for v, m in zip(values, missing, strict=True)]


def _size(values: np.ndarray, leading: int = 1) -> np.ndarray:
    """Largest absolute value of the finite entries over all axes but the leading ones."""
    finite = np.where(np.isfinite(values), np.abs(values), 0.0)
    return finite.max(tuple(range(leading, values.ndim)), initial=0.0)


def _largest(slab: Sequence[Mapping[str, np.ndarray]], names: Sequence[str], flows: np.ndarray) -> np.ndarray:
    """Largest absolute value of some variables in every flow of a slab, over both runs."""
    return np.maximum.reduce([np.zeros(flows.shape), *(_size(v[name], flows.ndim) for v in slab for name in names)])


def _natural_size(unit: str | None, risk: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Natural size of a unit in every flow; 0 where it has none."""
    if unit not in _POWERS:
        return np.zeros(risk.shape)
    with np.errstate(all="ignore"):
        size = risk ** _POWERS[unit][0] * filters ** _POWERS[unit][1]
    return np.where(np.isfinite(size), size, 0.0)


def _place_name(store: xr.Dataset, name: str, place: Sequence[Any]) -> str:
    """The place of a value as a text: cell, seed if the variable has one, and index along other dimensions."""
    index = dict(zip(map(str, store[name].dims), place, strict=True))
    words = [cell_name(store, [index.pop(axis) for axis in sweep_axes(store)])]
    for dim, i in index.items():
        value = f"{store[dim].values[i]:g}" if dim in ("seed", "time") else i
        words.append(f"{dim} {value}")
    return ", ".join(words)


def _word(value: Any, meanings: dict[int, str] | None) -> str:
    if meanings is None:
        return f"{value:.12g}"
    return {NOT_COMPUTED: "NOT_COMPUTED", **meanings}.get(int(value), f"code {value:g}")
