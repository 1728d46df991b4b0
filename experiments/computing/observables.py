"""Observables of the library that a module can record along its flows or descents, by name."""

from collections.abc import Callable, Mapping
from typing import Any

import lcnn_flow as lf
from experiments.schema import Configuration

__all__ = ["OBSERVABLES", "observables_of"]

OBSERVABLES: Mapping[str, Callable[..., Any]] = {
    "sharpness": lf.observables.sharpness,
    "kernel_drift": lf.observables.kernel_drift,
}


def observables_of(module: Any, configuration: Configuration) -> dict[str, Callable[..., Any]]:
    """The observables that `module.observables` names, and those for which `[analysis]` asks."""
    asked = ("sharpness",) if configuration.analysis.sharpness else ()
    return {name: OBSERVABLES[name] for name in dict.fromkeys((*module.observables, *asked))}
