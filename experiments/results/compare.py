"""Compares the results of two runs, flow by flow, and how the runs were made."""

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from experiments.results.differences import VariableComparison, compare_variables
from experiments.results.manifest import manifest_of
from experiments.results.opening import open_results
from experiments.results.pairing import cell_name, pair_up
from experiments.results.slabs import in_order, read
from experiments.results.variables import NOT_COMPUTED

__all__ = ["Comparison", "compare"]

_IGNORED_KEYS = ("compute.", "experiment.title", "experiment.question")
_IGNORED_VARIABLES = ("wall_time",)
_MOST_LINES = 20
_LONGEST = 48  # characters of a value

Differences = Mapping[str, tuple[str, str]]
"""Keys of the configuration or of the manifest, with the texts of both values."""


@dataclass(frozen=True)
class Comparison:
    """What two runs have in common, and where they differ; `str` gives a table."""

    names: tuple[str, str]
    rtol: float
    flows: int
    """Number of flows that were computed in both runs."""
    unmatched: tuple[str, ...]
    """Sentences about what only one of the runs has: axes, cells, seeds, flows, variables."""
    configuration: Differences
    variables: tuple[VariableComparison, ...]
    made_by: Differences
    """Differences in versions, devices, precision and source revision."""

    @property
    def differing(self) -> tuple[VariableComparison, ...]:
        """Variables that differ by more than rounding."""
        return tuple(one for one in self.variables if one.differing)

    @property
    def agree(self) -> bool:
        """Whether both runs have the same flows and variables, and all of them agree at least to rounding."""
        return self.flows > 0 and not self.unmatched and not self.differing

    def __str__(self) -> str:
        lines = [self._answer()]
        lines += _section("only in one of them", list(self.unmatched))
        lines += _section("configuration", _lines(self.configuration))
        if self.flows:
            lines += ["variables:", *(f"  {line}" for line in self._variables())]
        lines += _section("made by", _lines(self.made_by))
        return "\n".join(lines)

    def _answer(self) -> str:
        both = f"{self.names[0]} and {self.names[1]}"
        if not self.flows:
            return f"{both} cannot be compared: they have no flow in common"
        extent = f"{len(self.variables)} variables of {self.flows} flows"
        if self.differing:
            conclusions = any(d.name in ("verdict", "kind") or d.name.startswith("limit_") for d in self.differing)
            also = "" if conclusions else "; verdicts, kinds and limits agree"
            return f"{both} differ in {len(self.differing)} of {extent}, by more than {self.rtol:g}{also}"
        largest = max(one.largest for one in self.variables)
        exact = all(one.identical for one in self.variables)
        how = "to the last bit" if exact else f"to rounding: relative differences up to {largest:.1e}"
        if self.unmatched:
            return f"{both} agree in what both have, but not all is in both: {extent}, {how}"
        return f"{both} agree in {extent}, {how}"

    def _variables(self) -> Iterator[str]:
        exact = [one.name for one in self.variables if one.identical]
        if exact:
            yield f"identical    {len(exact)} variables" + (f": {', '.join(exact)}" if len(exact) <= 6 else "")
        for one in sorted(self.variables, key=lambda one: -one.largest):
            if one.differing:
                yield f"differs      {one.name}: {one}"
                yield from (f"               {example}" for example in one.examples)
            elif not one.identical:
                yield f"to rounding  {one.name}: {one}"


def compare(first: Path, second: Path, rtol: float = 1e-9) -> Comparison:
    """Compares the results of two run directories.

    Cells are matched by the labels of their axes, flows by their seeds. Wall times, titles, and the settings of how the
    runs were computed are ignored.

    Args:
        first: a run directory.
        second: another one.
        rtol: largest relative difference that counts as rounding.

    Raises:
        UserError: one of them has no results, or damaged ones.
    """
    names = (str(first), str(second))
    stores = [open_results(path, most_in_memory=0) for path in (first, second)]
    configurations = [_flat(tomllib.loads(store.attrs["configuration"])) for store in stores]
    manifests = [_flat(_makers(manifest_of(store))) for store in stores]
    common, unmatched = pair_up(stores, names)
    both, variables = np.zeros(0, bool), []
    if common:
        computed = [read(store["verdict"], {}) != NOT_COMPUTED for store in common]
        both = computed[0] & computed[1]
        for name, alone in zip(names, (computed[0] & ~both, computed[1] & ~both), strict=True):
            for index in map(tuple, np.argwhere(alone.any(-1))):
                flows = int(alone[index].sum())
                unmatched.append(f"{cell_name(common[0], index)}: {flows} flows computed only in {name}")
        compared, alone = _common_variables(common, names)
        unmatched += alone
        variables = compare_variables(common, compared, both, rtol)
    return Comparison(
        names=names,
        rtol=rtol,
        flows=int(both.sum()),
        unmatched=tuple(unmatched),
        configuration=_differences(configurations, _IGNORED_KEYS),
        variables=tuple(variables),
        made_by=_differences(manifests),
    )


def _common_variables(stores: Sequence[xr.Dataset], names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of the variables that can be compared, and sentences about the others."""
    unmatched = []
    for name, store, other in zip(names, stores, reversed(stores), strict=True):
        if alone := in_order(set(store.data_vars) - set(other.data_vars)):
            unmatched.append(f"variables only in {name}: {', '.join(alone)}")
    first, second = stores
    common = [name for name in in_order(first.data_vars) if name in second.data_vars and name not in _IGNORED_VARIABLES]
    if "time" in first.coords and "time" in second.coords and not first["time"].equals(second["time"]):
        unmatched.append("trajectories are not compared: their times differ")
        common = [name for name in common if "time" not in first[name].dims]
    return common, unmatched


def _makers(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a manifest that say how results were made, with all sessions of the run together."""
    found = {name: manifest[name] for name in ("versions", "device", "precision", "git") if name in manifest}
    sessions = [session for session in manifest.get("sessions", []) if isinstance(session, dict)]
    found["engine"] = ", ".join(sorted({str(s["engine"]) for s in sessions if "engine" in s}))
    found["devices"] = ", ".join(sorted({str(d) for s in sessions for d in s.get("devices", [])}))
    return found


def _flat(table: Any, path: str = "") -> dict[str, str]:
    """Dotted keys and the texts of their values; lists of plain values are one value."""
    entries: list[tuple[str, Any]] = []
    if isinstance(table, Mapping):
        entries = [(f"{path}.{key}" if path else str(key), value) for key, value in table.items()]
    elif isinstance(table, list) and any(isinstance(entry, Mapping) for entry in table):
        entries = [(f"{path}[{number}]", value) for number, value in enumerate(table)]
    if not entries:
        return {path: table if isinstance(table, str) else json.dumps(table, default=str)}
    return {key: text for name, value in entries for key, text in _flat(value, name).items()}


def _differences(tables: Sequence[Mapping[str, str]], ignored: tuple[str, ...] = ()) -> Differences:
    first, second = tables
    keys = [key for key in dict.fromkeys([*first, *second]) if not any(map(key.startswith, ignored))]
    values = {key: (first.get(key, "absent"), second.get(key, "absent")) for key in keys}
    return {key: pair for key, pair in values.items() if pair[0] != pair[1]}


def _lines(differences: Differences) -> list[str]:
    width = max(map(len, differences), default=0)
    values = {key: [f"{value:.{_LONGEST}}" for value in pair] for key, pair in differences.items()}
    return [f"{key:{width}}  {first} | {second}" for key, (first, second) in values.items()]


def _section(title: str, lines: Sequence[str]) -> list[str]:
    shown = [f"  {line}" for line in lines[:_MOST_LINES]]
    if len(lines) > _MOST_LINES:
        shown.append(f"  ... and {len(lines) - _MOST_LINES} more")
    return [f"{title}:", *shown] if lines else []
