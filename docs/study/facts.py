"""The sentences and tables of index.md that hold numbers, computed from results.csv and checks.csv.

`python -m study facts` prints them; a test compares the page with them.
"""

import csv
from pathlib import Path

import numpy as np

from study.problems import ARCHITECTURES, CONDITIONS, STDS, TARGETS, name_of
from study.shares import Cells, clustered, paired_difference

__all__ = ["phrases", "read_checks", "tables"]

_WORDS = {"attainable": "attainable", "any": "any"}


def read_checks(path: Path) -> dict[str, tuple[int, int]]:
    """Per attack the flows compared, and those that disagree."""
    with path.open() as file:
        return {row["check"]: (int(row["compared"]), int(row["disagree"])) for row in csv.DictReader(file)}


def phrases(cells: Cells, checks: dict[str, tuple[int, int]]) -> list[str]:
    """Parts of sentences, each with its numbers."""
    rows = len(cells["census"])
    flows = rows * len(STDS) * cells.starts
    total = {what: sum(int(cells[f"{what}_{std:g}"].sum()) for std in STDS) for what in ("saddle", "undecided")}
    found = [
        f"{rows:,} problems and {flows:,} flows",
        f"{int(cells.complete.sum()):,} of {rows:,} censuses are certified complete",
        f"{total['undecided']} of {flows:,} flows could not be decided",
        f"{total['saddle']} ended at a saddle",
        *_of_roots(cells),
        *_of_starts(cells),
    ]
    return found + _of_checks(checks)


def _of_roots(cells: Cells) -> list[str]:
    one = cells.chosen(condition=1)
    real, other = (_with_spurious(one.with_roots(kind)) for kind in (True, False))
    last = cells.chosen(condition=CONDITIONS[-1])
    real_last, other_last = (_with_spurious(last.with_roots(kind)) for kind in (True, False))
    return [
        f"{real[0]} of {real[1]} have a spurious minimum",
        f"{other[0]} of {other[1]} with a pair of complex roots",
        f"{real_last[0]} of {real_last[1]} and {other_last[0]} of {other_last[1]}",
    ]


def _of_starts(cells: Cells) -> list[str]:
    found = []
    for std in STDS:
        total, none, every = cells.all_or_none(std)
        chosen = cells.complete & (cells["spurious_minima"] > 0)
        mean = float(np.mean(cells[f"spurious_{std:g}"][chosen])) / cells.starts
        found.append(f"| {std:g} | {100 * mean:.0f}% | {100 * none / total:.0f}% | {100 * every / total:.0f}% |")
    return [f"of the {cells.all_or_none(STDS[0])[0]} problems that have a spurious minimum", *found]


def _of_checks(checks: dict[str, tuple[int, int]]) -> list[str]:
    tight, risk, other = checks["tolerance"], checks["risk"], checks["lsoda"]
    spurious = checks["lsoda of spurious ends"]
    return [
        f"{tight[1]} of {tight[0]:,} flows ends elsewhere",
        f"{risk[1]} of {risk[0]:,} disagree",
        f"{other[1] + spurious[1]} of {other[0] + spurious[0]} flows, {spurious[0]} of which end in spurious minima",
    ]


def _with_spurious(cells: Cells) -> tuple[int, int]:
    """Data sets with a spurious minimum, and all that have a complete census."""
    return int(np.sum(cells["spurious_minima"][cells.complete] > 0)), int(cells.complete.sum())


def tables(cells: Cells) -> list[str]:
    """Rows of the two tables of the page."""
    rows = []
    for targets in TARGETS:
        for sizes in ARCHITECTURES:
            chosen = cells.chosen(architecture=name_of(sizes), targets=targets)
            shares = [clustered(chosen.chosen(condition=c).shares(1.0)) for c in (1, 30, 1000)]
            entries = " | ".join(f"{100 * x.value:.1f}% ({100 * x.low:.0f} to {100 * x.high:.0f})" for x in shares)
            rows.append(f"| {name_of(sizes)}, {_WORDS[targets]} | {entries} |")
    for targets in TARGETS:
        for sizes in ARCHITECTURES:
            chosen = cells.chosen(architecture=name_of(sizes), targets=targets)
            small, large = chosen.by_data_set(STDS[0]), chosen.by_data_set(STDS[-1])
            gap = paired_difference(small, large)
            gaps = f"{100 * gap.value:+.1f} ({100 * gap.low:+.1f} to {100 * gap.high:+.1f})"
            means = f"{100 * small.mean():.1f}% | {100 * large.mean():.1f}%"
            rows.append(f"| {name_of(sizes)}, {_WORDS[targets]} | {means} | {gaps} |")
    return rows
