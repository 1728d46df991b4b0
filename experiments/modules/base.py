"""What an experiment module states: question, expectation, figures, and how claims are checked."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from experiments.answers import convergence_answer
from experiments.claims import PAPER_CLAIMS, Judge
from experiments.computing.solved_cell import SolvedCell
from experiments.figures import Drawing
from experiments.schema import Configuration
from experiments.schema.network import Convolution, Network, has_activation

__all__ = ["Module", "convolution_of", "no_faults", "nothing", "output_channels", "unchanged"]

Draw = Callable[[xr.Dataset], Drawing | None]

Prepare = Callable[[Configuration, Any, tuple[Any, ...], Callable[[str], None]], tuple[Any, dict[str, np.ndarray]]]
"""Maps configuration, risk, initial filters and a function that reports progress to the risk of the flows and to arrays
that are stored."""

Compute = Callable[[SolvedCell], dict[str, np.ndarray]]
"""Maps a cell whose flows have been computed to further arrays that are stored, by their names."""

_OPTIONAL_SECTIONS = ("tune",)


def no_faults(_: Configuration) -> list[tuple[str, str]]:
    """For modules that accept every configuration."""
    return []


def convolution_of(configuration: Configuration) -> Convolution:
    """The network of a module with `convolution=True`."""
    assert isinstance(configuration.network, Convolution)
    return configuration.network


def output_channels(configuration: Configuration) -> int:
    """Channels of the last layer, or the last width of a dense network."""
    network = configuration.network
    return (network.channels or (1,))[-1] if isinstance(network, Convolution) else network.widths[-1]


def unchanged(configuration: Configuration, risk: Any, start: tuple[Any, ...], tell: Callable[[str], None]) -> Any:
    """For modules whose flows are those of the configuration as it stands."""
    del configuration, start, tell
    return risk, {}


def nothing(cell: SolvedCell) -> dict[str, np.ndarray]:
    """For modules that need no arrays beyond those that are stored of every cell."""
    del cell
    return {}


@dataclass(frozen=True)
class Module:
    """One kind of experiment.

    The names of all stored arrays are described in `results/meanings.py`.

    Attributes:
        name: the word in `experiment.module`.
        question: asked by every configuration that does not ask its own.
        theory: what is expected, and why.
        axes: axes that make sense, with a word on each.
        figures: drawn from the results, in the order of the report; the first shows the answer.
        answer: to the question, in sentences computed from the results.
        claims: checked on the results; those of the paper unless more are added.
        faults: (path, message) of what this module cannot work with.
        prepare: what happens in a cell before its flows.
        per_cell: computes arrays of a cell as a whole, once per cell.
        per_flow: computes arrays with a leading axis of seeds, once per batch.
        sections: optional sections of the configuration that this module needs; others are refused.
        dynamics: "flow" or "descent" where it can work with one of them alone.
        observables: names in `computing.observables` of what is recorded along the trajectories.
        tells_census: whether its answer says what the censuses of the cells found; else the report says it first.
        linear: whether it needs the end-to-end filter that linear networks alone have.
        convolution: whether it asks about kernels or strides, which dense networks do not have.
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
    per_cell: Compute = nothing
    per_flow: Compute = nothing
    sections: tuple[str, ...] = ()
    linear: bool = False
    convolution: bool = False
    dynamics: str | None = None
    observables: tuple[str, ...] = ()
    tells_census: bool = False

    def all_faults(self, configuration: Configuration) -> list[tuple[str, str]]:
        """Sections that are missing or of no use; where there are none, what `faults` finds."""
        found = []
        for name in _OPTIONAL_SECTIONS:
            given = getattr(configuration, name) is not None
            if given and name not in self.sections:
                found.append((name, f'the module "{self.name}" has no use for this section; leave it out'))
            elif not given and name in self.sections:
                found.append((name, f'missing; the module "{self.name}" needs this section'))
        found += self._network_faults(configuration.network) + self._dynamics_faults(configuration)
        return found or self.faults(configuration)

    def _dynamics_faults(self, configuration: Configuration) -> list[tuple[str, str]]:
        """What is run, where the module is about the other."""
        kind = "flow" if configuration.descent is None else "descent"
        if self.dynamics in (None, kind):
            return []
        remedy = 'leave [dynamics] out, or use module = "convergence"'
        if kind == "flow":
            remedy = 'write [dynamics] with kind = "descent", optimizer and steps'
        return [("dynamics.kind", f'found "{kind}"; the module "{self.name}" is about {self.dynamics}s: {remedy}')]

    def _network_faults(self, network: Network) -> list[tuple[str, str]]:
        """What makes the network not linear, where the module needs a linear one."""
        if self.convolution and network.kind != "convolution":
            return [("network.kind", f'found "{network.kind}"; the module "{self.name}" is about convolutions')]
        if not self.linear:
            return []
        found, why = [], f'the module "{self.name}" needs the end-to-end filter of a linear network'
        remedy = 'leave it out, or use module = "convergence"'
        if has_activation(network.activation):
            found.append(("network.activation", f'found "{network.activation.kind}"; {why}: {remedy}'))
        if getattr(network, "bias", False):
            found.append(("network.bias", f"found True; {why}: {remedy}"))
        return found
