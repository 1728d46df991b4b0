"""What an experiment module states: question, expectation, figures, and how claims are checked."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from experiments.answers import convergence_answer
from experiments.claims import PAPER_CLAIMS, Judge
from experiments.figures import Drawing
from experiments.schema import Configuration

__all__ = ["Module", "no_faults", "nothing_more", "unchanged"]

Draw = Callable[[xr.Dataset], Drawing | None]

Prepare = Callable[[Configuration, Any, tuple[Any, ...], Callable[[str], None]], tuple[Any, dict[str, np.ndarray]]]
"""From configuration, risk, initial filters and a teller of progress to the risk of the flows, and what is stored."""

Measure = Callable[[Configuration, Any], dict[str, np.ndarray]]
"""From configuration and risk to what is stored of a cell as a whole."""

_OPTIONAL_SECTIONS = ("tune",)


def no_faults(_: Configuration) -> list[tuple[str, str]]:
    """For modules that accept every configuration."""
    return []


def unchanged(configuration: Configuration, risk: Any, start: tuple[Any, ...], tell: Callable[[str], None]) -> Any:
    """For modules whose flows are those of the configuration as it stands."""
    del configuration, start, tell
    return risk, {}


def nothing_more(configuration: Configuration, risk: Any) -> dict[str, np.ndarray]:
    """For modules that need nothing of a cell beyond what is stored of every one."""
    del configuration, risk
    return {}


@dataclass(frozen=True)
class Module:
    """One kind of experiment.

    Attributes:
        name: the word in `experiment.module`.
        question: asked by every configuration that does not ask its own.
        theory: what is expected, and why.
        axes: axes that make sense, with a word on each.
        figures: drawn from the results, in the order of the report; the first shows the answer.
        answer: to the question, in sentences computed from the results.
        claims: checked on the results; those of the paper unless more are added.
        faults: (path, message) of what this module cannot work with.
        prepare: what happens in a cell before its flows; `results.py` describes the variables that it stores.
        measure: what is stored of a cell as a whole, once; `variables.py` describes it.
        sections: optional sections of the configuration that this module needs; others are refused.
    """

    name: str
    question: str
    theory: str
    axes: dict[str, str]
    figures: tuple[Draw, ...]
    answer: Callable[[xr.Dataset], str] = convergence_answer
    claims: tuple[Judge, ...] = field(default=PAPER_CLAIMS)
    faults: Callable[[Configuration], list[tuple[str, str]]] = no_faults
    prepare: Prepare = unchanged
    measure: Measure = nothing_more
    sections: tuple[str, ...] = ()

    def all_faults(self, configuration: Configuration) -> list[tuple[str, str]]:
        """Sections that are missing or of no use; where there are none, what `faults` finds."""
        found = []
        for name in _OPTIONAL_SECTIONS:
            given = getattr(configuration, name) is not None
            if given and name not in self.sections:
                found.append((name, f'the module "{self.name}" has no use for this section; leave it out'))
            elif not given and name in self.sections:
                found.append((name, f'missing; the module "{self.name}" needs this section'))
        return found or self.faults(configuration)
