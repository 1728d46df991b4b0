"""What an experiment module states: question, expectation, figures, and how claims are checked."""

from collections.abc import Callable
from dataclasses import dataclass, field

import xarray as xr

from experiments.claims import PAPER_CLAIMS, Judge
from experiments.figures import Drawing
from experiments.schema import Configuration

__all__ = ["Module", "no_faults"]

Draw = Callable[[xr.Dataset], Drawing | None]


def no_faults(_: Configuration) -> list[tuple[str, str]]:
    """For modules that accept every configuration."""
    return []


@dataclass(frozen=True)
class Module:
    """One kind of experiment.

    Attributes:
        name: the word in `experiment.module`.
        question: asked by every configuration that does not ask its own.
        theory: what is expected, and why.
        axes: axes that make sense, with a word on each.
        figures: drawn from the results, in the order of the report.
        claims: checked on the results; those of the paper unless more are added.
        faults: (path, message) of what this module cannot work with.
    """

    name: str
    question: str
    theory: str
    axes: dict[str, str]
    figures: tuple[Draw, ...]
    claims: tuple[Judge, ...] = field(default=PAPER_CLAIMS)
    faults: Callable[[Configuration], list[tuple[str, str]]] = no_faults
