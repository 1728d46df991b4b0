"""Builds the problems of a sweep before a run begins, so that unusable data are reported early."""

import json
from collections.abc import Iterator

import numpy as np

from experiments.computing.build import build_problem
from experiments.errors import UserError
from experiments.sweeps.sweep import Cell, Sweep

__all__ = ["check_problems"]


def check_problems(sweep: Sweep) -> None:
    """Builds one cell of every kind of problem.

    Raises:
        UserError: the library refused the data or a value, or the data overflow.
    """
    for cell in _one_per_kind(sweep):
        _, data, _ = build_problem(cell.configuration)
        if not (np.isfinite(data.inputs).all() and np.isfinite(data.targets).all()):
            raise UserError(f"the data of the cell {cell.name} overflow: lower the sizes of inputs, targets and noise")


def _one_per_kind(sweep: Sweep) -> Iterator[Cell]:
    """The first cell for every network, loss and data; another seed or noise of the same data is the same kind."""
    known = set[str]()
    for cell in sweep.cells:
        kind = cell.configuration.model_dump(mode="json", include={"network", "data", "loss"})
        kind["data"] = {key: value for key, value in kind["data"].items() if key not in ("seed", "noise")}
        key = json.dumps(kind, sort_keys=True)
        if key not in known:
            known.add(key)
            yield cell
