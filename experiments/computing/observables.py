"""Observables of the library that a module can record along its flows or descents, by name."""

from collections.abc import Callable, Mapping
from typing import Any

import lcnn_flow as lf

__all__ = ["OBSERVABLES", "observables_of"]

OBSERVABLES: Mapping[str, Callable[..., Any]] = {
    "sharpness": lf.observables.sharpness,
    "kernel_drift": lf.observables.kernel_drift,
}


def observables_of(module: Any) -> dict[str, Callable[..., Any]]:
    """The observables that `module.observables` names."""
    return {name: OBSERVABLES[name] for name in module.observables}
