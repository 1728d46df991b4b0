"""`census_ensemble`: one census for each of many data sets, their paths tracked together."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lcnn_flow.errors import RiskError
from lcnn_flow.landscape.computing import MAX_PATHS, census_of_solutions
from lcnn_flow.landscape.problem import check_countable, square_problem
from lcnn_flow.landscape.result import COMPLETE, Census
from lcnn_flow.landscape.solutions import find_solutions

__all__ = ["CensusEnsemble", "census_ensemble"]

_TOGETHER = 256
"""Problems whose paths are in memory at once."""


@dataclass(frozen=True, eq=False)
class CensusEnsemble(Sequence[Census]):
    """One `Census` per data condition; a sequence of them, and counts over all; prints as a table of counts."""

    censuses: tuple[Census, ...]

    def __len__(self) -> int:
        return len(self.censuses)

    def __getitem__(self, number: Any) -> Any:
        return self.censuses[number]

    def __iter__(self) -> Iterator[Census]:
        return iter(self.censuses)

    @property
    def complete(self) -> np.ndarray:
        """Whether the census of every condition is certified complete; (C,)."""
        return np.asarray([census.status == COMPLETE for census in self.censuses])

    @property
    def minima(self) -> np.ndarray:
        """Numbers of certified local minima; -1 where the census is not certified complete; (C,)."""
        return self._counted(lambda census: len(census.minima))

    @property
    def spurious_minima(self) -> np.ndarray:
        """Numbers of certified spurious minima; -1 where the census is not certified complete; (C,)."""
        return self._counted(lambda census: len(census.spurious_minima or ()))

    @property
    def orbits(self) -> np.ndarray:
        """Numbers of real critical orbits; -1 where the census is not certified complete; (C,)."""
        return self._counted(lambda census: len(census.orbits))

    def _counted(self, count: Callable[[Census], int]) -> np.ndarray:
        return np.asarray([count(c) if c.status == COMPLETE else -1 for c in self.censuses])

    def __repr__(self) -> str:
        statuses = Counter(census.status for census in self.censuses)
        lines = [f"{len(self)} data sets: " + ", ".join(f"{statuses[s]} {s}" for s in sorted(statuses))]
        for words, numbers in (
            ("real critical orbits", self.orbits),
            ("local minima", self.minima),
            ("spurious minima", self.spurious_minima),
        ):
            counts = Counter(int(x) for x in numbers if x >= 0)
            lines.append(f"  {words}: " + ", ".join(f"{n} in {counts[n]}" for n in sorted(counts)))
        return "\n".join(lines)


def census_ensemble(
    risks: Any, max_paths: int = MAX_PATHS, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> CensusEnsemble:
    """`census` of many data sets of one architecture; host side.

    Args:
        risks: a risk with a leading axis of conditions on its data, made by jax.vmap or by stacking.
        max_paths: as of `census`.
        seed: as of `census`.
        progress: called as progress(done, total) between blocks of data sets.

    Returns:
        `CensusEnsemble`: a sequence of C censuses, with counts per data set.

    Raises:
        RiskError: as `census`, for any of them; or a single risk.
        ArchitectureError: N(k) above `max_paths`.
    """
    risks = check_countable("census_ensemble", risks)
    count = risks.num_conditions
    if count is None:
        raise RiskError("census_ensemble: this is one risk, without an axis of conditions: write lf.census(risk)")
    found: list[Census] = []
    for first in range(0, count, _TOGETHER):
        numbers = range(first, min(first + _TOGETHER, count))
        problems = [square_problem("census_ensemble", risks.condition(i), max_paths) for i in numbers]
        for problem, solutions in zip(problems, find_solutions(problems, seed), strict=True):
            found.append(census_of_solutions(problem, solutions))
        if progress is not None:
            progress(len(found), count)
    return CensusEnsemble(tuple(found))
