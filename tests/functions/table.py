"""Many functions judged, and the counts by family."""

from collections import Counter
from typing import NamedTuple

import numpy as np

import lcnn_flow as lf

from .judge import Case, Judgement
from .landscapes import STRUCTURES as LANDSCAPES
from .library import outcomes
from .products import STRUCTURES as PRODUCTS
from .reference_flow import flow_ends
from .shapes import STRUCTURES as SHAPES
from .structure import Draw, Structure
from .traps import STRUCTURES as TRAPS

__all__ = ["STRUCTURES", "Finding", "Table", "draw_function", "run_structure"]

STRUCTURES: tuple[Structure, ...] = (*PRODUCTS, *SHAPES, *LANDSCAPES, *TRAPS)
_RTOL = 1e-9
_SCALES = ((20, 0), (-20, 0), (0, 20), (0, -20), (20, -20), (-20, 20))
"""Powers of 2 of the units of parameters and function."""
_SHOWN = ("CONVERGED", "AT_SADDLE", "DEGENERATE", "DIVERGED", "UNDECIDED")


class Finding(NamedTuple):
    """One flow, what was said of it and whether that is true; printed with how to repeat it."""

    structure: str
    kind: str
    number: int
    start: int
    verdict: str
    judgement: Judgement
    changed: bool
    """Another verdict than in other units."""
    scales: tuple[int, int]

    def __str__(self) -> str:
        what, units = self.judgement, f", units 2^{self.scales[0]}, 2^{self.scales[1]}" if any(self.scales) else ""
        name = f"{self.structure} {self.number}.{self.start} ({self.kind}{units})"
        return f"{name} {self.verdict}: {what.false or 'true'}{', ' * bool(what.detail)}{what.detail}"


def draw_function(index: int, number: int, seed: int) -> tuple[Draw, tuple[int, int]]:
    """The function with this number; every third is the one before in other units."""
    scales = (0, 0)
    if number % 3 == 2:
        scales, number = _SCALES[number // 3 % len(_SCALES)], number - 1
    order = 2 * (number // 3) + number % 3
    return STRUCTURES[index].draw(np.random.default_rng([seed, index, order]), order), scales


class Table:
    """Findings, and their counts."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    @property
    def false(self) -> list[Finding]:
        """Statements that are not true."""
        return [f for f in self.findings if f.judgement.false]

    def decided(self, structure: str | None = None) -> tuple[int, int]:
        """Of flows to nondegenerate limits, how many are decided, and how many there are."""
        chosen = [f for f in self.findings if f.judgement.regular and structure in (None, f.structure)]
        return sum(f.judgement.decided for f in chosen), len(chosen)

    def __str__(self) -> str:
        heads = ("converged", "saddle", "degen.", "diverged", "undecided", "other", "FALSE", "changed", "unsure")
        lines = [f"{'':18s}{'functions':>10s}" + "".join(f"{h:>10s}" for h in heads) + f"{'decided':>18s}"]
        names = dict.fromkeys(f.structure for f in self.findings)
        for name in (*names, None):
            rows = [f for f in self.findings if name in (None, f.structure)]
            counts, (said, of) = Counter(f.verdict for f in rows), self.decided(name)
            numbers = [len({(f.structure, f.number) for f in rows}), *(counts[v] for v in _SHOWN)]
            numbers += [len(rows) - sum(numbers[1:]), sum(bool(f.judgement.false) for f in rows)]
            numbers += [sum(f.changed for f in rows), sum(f.judgement.unsure for f in rows)]
            share = f"{said}/{of} = {said / of:.0%}" if of else "-"
            lines.append(f"{name or 'all':18s}" + "".join(f"{n:10d}" for n in numbers) + f"{share:>18s}")
        return "\n".join(lines)


def run_structure(
    table: Table, index: int, numbers: range | list[int], seed: int = 0, engine: str = "ensemble"
) -> list[Finding]:
    """Flows of the functions with these numbers, judged and put into the table."""
    structure = STRUCTURES[index]
    drawn = [draw_function(index, number, seed) for number in numbers]
    draws, powers = [d for d, _ in drawn], np.array([s for _, s in drawn], float)
    said = outcomes(structure, draws, 2.0 ** powers[:, 0], 2.0 ** powers[:, 1], engine)
    ends = _ends(structure, draws)
    found: list[Finding] = []
    for i, (number, draw) in enumerate(zip(numbers, draws, strict=True)):
        for j, start in enumerate(draw.starts):
            case = Case(structure, draw, start, *ends[i][j])
            judgement = case.judge(int(said.verdict[i, j]), said.limit[i, j], bool(said.isolated[i, j]))
            same = not any(drawn[i][1]) or not i or said.verdict[i, j] == said.verdict[i - 1, j]
            name = lf.Verdict(int(said.verdict[i, j])).name
            found.append(Finding(structure.name, draw.kind, number, j, name, judgement, not same, drawn[i][1]))
    table.findings += found
    return found


def _ends(structure: Structure, draws: list[Draw]) -> list[list[tuple[np.ndarray, bool]]]:
    """Ends of the reference flows."""
    rows = [(i, start.vector) for i, draw in enumerate(draws) for start in draw.starts]
    data = {k: np.stack([draws[i].data[k] for i, _ in rows]) for k in draws[0].data}
    found = flow_ends(structure, data, np.stack([v for _, v in rows]), _RTOL)
    each = iter(zip(found.vectors, found.rested, strict=True))
    return [[(v, bool(r)) for v, r in (next(each) for _ in draw.starts)] for draw in draws]
