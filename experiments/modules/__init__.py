"""Experiment modules by name; a new one is a file here and an entry in `MODULES`."""

from experiments.modules.base import Module, unchanged
from experiments.modules.conditions import CONDITIONS
from experiments.modules.convergence import CONVERGENCE
from experiments.modules.identification import IDENTIFICATION
from experiments.modules.tuning import TUNING

__all__ = ["MODULES", "Module", "unchanged"]

MODULES: dict[str, Module] = {module.name: module for module in (CONVERGENCE, CONDITIONS, IDENTIFICATION, TUNING)}
