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
from experiments.schema.network import Convolution, Network

__all__ = [
    "Module",
    "convolution_of",
    "everywhere",
    "no_faults",
    "nothing",
    "nothing_more",
    "nowhere",
    "output_channels",
    "two_pairs",
    "unchanged",
]

Draw = Callable[[xr.Dataset], Drawing | None]

Prepare = Callable[[Configuration, Any, tuple[Any, ...], Callable[[str], None]], tuple[Any, dict[str, np.ndarray]]]
"""From configuration, risk, initial filters and a teller of progress to the risk of the flows, and what is stored."""

Beside = Callable[[Configuration, Any, Any, Any], dict[str, np.ndarray]]
"""From configuration, risk, initial parameters and the flows or descents of a cell to what is stored beside them."""
Measure = Callable[[Configuration, Any], dict[str, np.ndarray]]
"""From configuration and risk to what is stored of a cell as a whole."""

_OPTIONAL_SECTIONS = ("tune",)


def no_faults(_: Configuration) -> list[tuple[str, str]]:
    """For modules that accept every configuration."""
    return []


def nowhere(configuration: Configuration) -> bool:
    """For modules that need no filters along the way beyond those of trajectories."""
    del configuration
    return False


def everywhere(configuration: Configuration) -> bool:
    """For modules that show filters along the way of all their cells."""
    del configuration
    return True


def two_pairs(configuration: Configuration) -> bool:
    """Whether a network is that of two filters of two taps, whose landscape is one of two angles."""
    network = configuration.network
    return isinstance(network, Convolution) and tuple(network.kernel_sizes) == (2, 2)


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


def nothing(configuration: Configuration, risk: Any, start: Any, result: Any) -> dict[str, np.ndarray]:
    """For modules that compute no more than their flows or descents."""
    del configuration, risk, start, result
    return {}


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
        dynamics: "flow" or "descent" where it can work with one of them alone.
        observables: names in `computing.observables` of what is recorded along the trajectories.
        tells_census: whether its answer says what the censuses of the cells found; else the report says it first.
        shows_flows: where the filters of a few flows are stored along the way even if trajectories are not.
        beside: what is computed of a cell beside its flows, as arrays that `results/variables.py` describes.
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
    measure: Measure = nothing_more
    sections: tuple[str, ...] = ()
    linear: bool = False
    convolution: bool = False
    dynamics: str | None = None
    observables: tuple[str, ...] = ()
    shows_flows: Callable[[Configuration], bool] = nowhere
    beside: Beside = nothing
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
        if network.activation is not None and network.activation.kind != "none":
            found.append(("network.activation", f'found "{network.activation.kind}"; {why}: {remedy}'))
        if getattr(network, "bias", False):
            found.append(("network.bias", f"found True; {why}: {remedy}"))
        return found
