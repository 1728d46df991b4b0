"""Families through the library and the judge, and the counts."""

import time
from collections import Counter, defaultdict
from typing import NamedTuple

import numpy as np

import lcnn_flow as lf
from lcnn_flow.limits.verdict import Reason

from ..judge import Judgement
from ..reference_flow import flow_ends
from .cases import START_KINDS, Condition, draw_conditions
from .descents import RATES, own_descents
from .families import FAMILIES, Family, structure_of
from .judge import DescentCase, FlowCase, Said
from .library import Outcome, outcomes

__all__ = ["Finding", "Table", "run_family"]

_RTOL, _STEPS = 1e-9, 800
_SHOWN = ("CONVERGED", "AT_SADDLE", "DEGENERATE", "DIVERGED", "STEP_LIMIT", "UNDECIDED")


class Finding(NamedTuple):
    """One flow or descent, what was said of it and whether that is true; printed with how to repeat it."""

    family: int
    condition: int
    start: int
    rate: int
    kind: str
    verdict: str
    reason: str
    steps: int
    judgement: Judgement

    def __str__(self) -> str:
        what = self.judgement
        place = f"--family {self.family} --condition {self.condition}"
        rate = f", rate {self.rate}" if FAMILIES[self.family].optimiser else ""
        words = f"{self.verdict} {self.reason if self.reason != 'NONE' else ''}".strip()
        kinds = f"{self.kind}, {list(START_KINDS)[self.start]}{rate}"
        return f"{words}: {what.false or 'true'} {what.detail}; {kinds}; {place}  [{FAMILIES[self.family]}]"


class Table:
    """Findings, and their counts by family."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @property
    def false(self) -> list[Finding]:
        """Statements that are not true."""
        return [f for f in self.findings if f.judgement.false]

    def decided(self, family: int | None = None) -> tuple[int, int]:
        """Of flows to regular limits, how many are decided, and how many there are."""
        chosen = [f for f in self.findings if f.judgement.regular and family in (None, f.family)]
        return sum(f.judgement.decided for f in chosen), len(chosen)

    def __str__(self) -> str:
        heads = ("cases", *(v.lower() for v in _SHOWN), "other", "FALSE", "unsure")
        lines = [f"{'':58s}" + "".join(f"{h:>11s}" for h in heads) + f"{'decided':>18s}"]
        for family in (*dict.fromkeys(f.family for f in self.findings), None):
            rows = [f for f in self.findings if family in (None, f.family)]
            counts, (said, of) = Counter(f.verdict for f in rows), self.decided(family)
            numbers = [len(rows), *(counts[v] for v in _SHOWN)]
            numbers += [len(rows) - sum(numbers[1:]), sum(bool(f.judgement.false) for f in rows)]
            numbers += [sum(f.judgement.unsure for f in rows)]
            share = f"{said}/{of} = {said / of:.0%}" if of else "-"
            name = "all" if family is None else f"{family} {FAMILIES[family]}"[:58]
            lines.append(f"{name:58s}" + "".join(f"{n:11d}" for n in numbers) + f"{share:>18s}")
        lines += [f"{s:8.0f} s {part}" for part, s in self.seconds.items()]
        return "\n".join(lines)


def run_family(
    table: Table, number: int, indices: range | list[int], seed: int = 0, engine: str = "ensemble"
) -> list[Finding]:
    """Flows or descents of these conditions of one family, judged and put into the table."""
    family, clock = FAMILIES[number], time.perf_counter
    begun = clock()
    conditions = draw_conditions(family, seed, number, indices)
    table.seconds["drawing"] += clock() - begun
    begun = clock()
    said = outcomes(family, conditions, engine)
    table.seconds["library"] += clock() - begun
    begun = clock()
    judgements = _descents(family, conditions, said) if family.optimiser else _flows(family, conditions, said)
    table.seconds["reference"] += clock() - begun
    found: list[Finding] = []
    for (r, c, s), judgement in judgements.items():
        verdict, reason = (lf.Verdict(int(said.verdict[r, c, s])), Reason(int(said.reason[r, c, s])))
        steps, place = int(said.steps[r, c, s]), conditions[c]
        found.append(Finding(number, place.number, s, r, place.kind, verdict.name, reason.name, steps, judgement))
    table.findings += found
    return found


def _said(said: Outcome, place: tuple[int, int, int]) -> Said:
    return Said(
        int(said.verdict[place]),
        int(said.reason[place]),
        said.final[place],
        said.limit[place],
        bool(said.isolated[place]),
        int(said.index[place]),
        float(said.time[place]),
    )


def _rows(conditions: list[Condition], places: list[tuple[int, int, int]]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    data = {k: np.stack([conditions[c].data[k] for _, c, _ in places]) for k in conditions[0].data}
    return data, np.stack([conditions[c].starts[s].vector for _, c, s in places])


def _flows(family: Family, conditions: list[Condition], said: Outcome) -> dict[tuple[int, int, int], Judgement]:
    places = [(0, c, s) for c in range(len(conditions)) for s in range(len(START_KINDS))]
    data, starts = _rows(conditions, places)
    ends = flow_ends(structure_of(family), data, starts, _RTOL, _STEPS)
    found: dict[tuple[int, int, int], Judgement] = {}
    for i, place in enumerate(places):
        condition = conditions[place[1]]
        case = FlowCase(family, condition, place[2], ends.vectors[i], bool(ends.rested[i]))
        found[place] = case.judge_flow(_said(said, place))
    return found


def _descents(family: Family, conditions: list[Condition], said: Outcome) -> dict[tuple[int, int, int], Judgement]:
    rates = RATES[family.optimiser]
    places = [(r, c, s) for r in range(len(rates)) for c in range(len(conditions)) for s in range(len(START_KINDS))]
    data, starts = _rows(conditions, places)
    ends = own_descents(family, data, starts, np.array([rates[r] for r, _, _ in places]))
    found: dict[tuple[int, int, int], Judgement] = {}
    for i, place in enumerate(places):
        condition = conditions[place[1]]
        case = DescentCase(family, condition, place[2], ends.vectors[i], False)
        found[place] = case.judge_descent(_said(said, place), ends.later[i], bool(ends.determined[i]))
    return found
