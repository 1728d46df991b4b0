"""Runs families through both engines and the judge, and counts by category."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .cases import DATA_KINDS, START_KINDS, condition
from .families import FAMILIES
from .judge import Case, Judgement
from .library import ENGINES, library_outcomes
from .problem import make_shape

__all__ = ["Finding", "Table", "run_family"]

COLUMNS = ("cases", "converged", "saddle", "diverged", "withheld", "regular", "unsure", "FALSE")


class Finding(NamedTuple):
    """One flow of one engine, judged."""

    family: int
    condition: int
    start: int
    seed: int
    data_kind: str
    start_kind: str
    engine: str
    verdict: int
    judgement: Judgement

    def __str__(self) -> str:
        where = f"--seed {self.seed} --case {self.family}.{self.condition}.{self.start}"
        what = f"{self.judgement.reason} ({self.judgement.detail})"
        return f"{what}: {self.data_kind}, {self.start_kind}, {self.engine}; {where}  [{FAMILIES[self.family]}]"


class Table:
    """Findings, and the time that each part took."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.seconds: Counter = Counter()

    @property
    def false(self) -> list[Finding]:
        """The false statements."""
        return [f for f in self.findings if f.judgement.outcome == "FALSE"]

    def counts(self, key: Callable[[Finding], str]) -> dict[str, Counter]:
        """Columns by category."""
        rows: dict[str, Counter] = {}
        for finding in self.findings:
            row = rows.setdefault(key(finding), Counter())
            judgement = finding.judgement
            row.update(["cases", judgement.outcome])
            row.update(["regular"] * judgement.regular + ["unsure"] * judgement.unsure)
        return rows

    def __str__(self) -> str:
        lines = []
        keys = {
            "data": lambda f: f.data_kind,
            "start": lambda f: f.start_kind,
            "family": lambda f: f"{f.family} {FAMILIES[f.family]}"[:58],
            "engine": lambda f: f.engine,
            "withheld as": lambda f: f.judgement.reason if f.judgement.outcome == "withheld" else "(not withheld)",
            "all": lambda f: "all",
        }
        for title, key in keys.items():
            lines.append(f"{title:58s}" + "".join(f"{name:>10s}" for name in COLUMNS))
            for name, row in self.counts(key).items():
                lines.append(f"  {name:56s}" + "".join(f"{row[c]:10d}" for c in COLUMNS))
        kinds = Counter((f.judgement.reason, f.engine) for f in self.false)
        lines += [f"{count:6d}  {reason}, {engine}" for (reason, engine), count in kinds.most_common()]
        total = max(len(self.findings), 1)
        lines += [f"{s:8.1f} s  {part} ({1000 * s / total:.0f} s per 1000 flows)" for part, s in self.seconds.items()]
        return "\n".join(lines)


def run_family(
    table: Table,
    number: int,
    conditions: Sequence[int],
    seed: int = 0,
    engines: Sequence[str] = ENGINES,
    category: str | None = None,
    only_start: int | None = None,
) -> None:
    """Adds the flows of these conditions of one family to the table."""
    family = FAMILIES[number]
    shape = make_shape(family)
    drawn = [(index, condition(family, shape, seed, number, index)) for index in conditions]
    drawn = [(i, c) for i, c in drawn if category in (None, c.kind, *START_KINDS)]
    if not drawn:
        return
    names = list(START_KINDS)
    outcomes = {}
    for engine in engines:
        begun = time.perf_counter()
        outcomes[engine] = library_outcomes(family, [c for _, c in drawn], engine)
        table.seconds[f"library, {engine}"] += time.perf_counter() - begun
    for place, (index, drawn_condition) in enumerate(drawn):
        for start, name in enumerate(names):
            if only_start not in (None, start) or category not in (None, name, *DATA_KINDS):
                continue
            case = Case(family, drawn_condition, start)
            begun = time.perf_counter()
            for engine in engines:
                row = place * len(names) + start
                verdict = int(outcomes[engine].verdict[row])
                judgement = case.judge(verdict, outcomes[engine].limit[row], bool(outcomes[engine].isolated[row]))
                kind = drawn_condition.kind
                table.findings.append(Finding(number, index, start, seed, kind, name, engine, verdict, judgement))
            table.seconds["reference"] += case.reference_seconds
            table.seconds["exact tests of limits"] += time.perf_counter() - begun - case.reference_seconds
