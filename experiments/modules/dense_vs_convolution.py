"""Do dense and convolutional networks have spurious minima on the same data?"""

import numpy as np
import xarray as xr

from experiments.answers import spurious
from experiments.claims import Claim, flow_converges, gradient_vanishes
from experiments.figures import excess_risk, risk
from experiments.figures.networks import spurious_shares, verdicts
from experiments.modules.base import Module
from experiments.questions import QUESTIONS
from experiments.results.balance import networks_of
from experiments.results.layout import computed_cells, named_cells
from experiments.results.shares import share
from experiments.results.variables import NOT_COMPUTED
from experiments.schema import Configuration
from lcnn_flow import Dense

__all__ = ["DENSE_VS_CONVOLUTION", "convolutions_have_spurious_minima", "dense_ones_have_none", "the_data_are_the_same"]

_SAME = 1e-12


def convolutions_have_spurious_minima(dataset: xr.Dataset) -> Claim | None:
    """In at least one convolutional cell, a start ends in a minimum above the lowest limit of the cell."""
    rows = _shares(dataset, dense=False)
    if not rows:
        return None
    caught = [count for _, count, _ in rows]
    return Claim(
        "Some starts of the convolutional network end in spurious minima",
        "share of the starts in minima above the lowest limit of the cell positive, in some cell",
        "; ".join(f"{name}: {share(count, total)}" for name, count, total in rows[:3]),
        "agrees" if any(caught) else "disagrees",
        tuple((name, share(count, total), "agrees" if count else "undecided") for name, count, total in rows),
    )


def dense_ones_have_none(dataset: xr.Dataset) -> Claim | None:
    """In every dense linear cell, no start ends in a minimum above the lowest limit of the cell."""
    rows = _shares(dataset, dense=True)
    if not rows:
        return None
    return Claim(
        "No start of the dense linear network ends in a spurious minimum",
        "share of the starts in minima above the lowest limit of the cell 0",
        "; ".join(f"{name}: {share(count, total)}" for name, count, total in rows[:3]),
        "disagrees" if any(count for _, count, _ in rows) else "agrees",
        tuple((name, share(count, total), "disagrees" if count else "agrees") for name, count, total in rows),
    )


def the_data_are_the_same(dataset: xr.Dataset) -> Claim | None:
    """Singular values of the inputs and size of the targets are the same for all networks."""
    names = ("inputs_smallest", "inputs_largest", "targets_size", "sample_count")
    if any(name not in dataset for name in names) or not _shares(dataset, dense=True):
        return None
    apart = 0.0
    for name in names:
        values = dataset[name].values[np.isfinite(dataset[name].values)]
        apart = max(apart, float(np.ptp(values) / np.abs(values).max())) if values.size else apart
    return Claim(
        "All networks learn from the same data",
        f"singular values of the inputs and size of the targets equal to {_SAME:.0e} in all cells",
        f"largest relative difference {apart:.1e}",
        "agrees" if apart <= _SAME else "disagrees",
    )


def _shares(dataset: xr.Dataset, dense: bool) -> list[tuple[str, int, int]]:
    """Name of every computed cell of one kind of network, starts in spurious minima, and all starts."""
    found = []
    for (name, index), network in zip(named_cells(dataset), networks_of(dataset), strict=True):
        cell = dataset.isel(index)
        total = int((cell["verdict"].values != NOT_COMPUTED).sum())
        if total and isinstance(network, Dense) == dense:
            caught = spurious(cell)
            if caught is not None:
                found.append((name, caught.count, total))
    return found


def _answer(dataset: xr.Dataset) -> str:
    """Shares of starts in spurious minima for every network."""
    parts = []
    for name, _, cell in computed_cells(dataset):
        caught = spurious(cell)
        if caught is None:
            parts.append(f"{name}: no limit is a minimum")
            continue
        text = f"{name}: {share(caught.count, caught.total)} in spurious minima"
        parts.append(
            text + (f", {caught.above:.2g} above the lowest limit ({caught.lowest:.4g})" if caught.count else "")
        )
    return f"{'; '.join(parts)}." if parts else "No flow was computed."


def _faults(configuration: Configuration) -> list[tuple[str, str]]:
    network = configuration.network
    if network.kind == "dense" and not network.is_linear:
        message = "the theorem is that of deep linear networks: leave activation and bias of the dense network out"
        return [("network", message)]
    return []


DENSE_VS_CONVOLUTION = Module(
    name="dense_vs_convolution",
    question=QUESTIONS["dense_vs_convolution"],
    theory=(
        "All local minima of a deep linear dense network under the square loss are global, for data of full rank "
        "(Kawaguchi, arXiv:1605.07110; Laurent and von Brecht, arXiv:1712.01473): no start can end in a spurious one. "
        "The end-to-end filters of a linear convolutional network with small filters are no linear space: they are "
        "polynomials that factor over the reals (Kohn, Merkh, Montúfar and Trager, arXiv:2108.01538), and the risk "
        "has minima on the boundary of that set, of which some are spurious, where the target is no such filter."
    ),
    axes={
        "network": "the networks that are compared (each compiles anew); the same data fit all",
        "initializer.gain": "size of the initial filters",
        "data.noise": "noise in the targets",
    },
    figures=(spurious_shares, verdicts, risk, excess_risk),
    answer=_answer,
    claims=(
        the_data_are_the_same,
        convolutions_have_spurious_minima,
        dense_ones_have_none,
        gradient_vanishes,
        flow_converges,
    ),
    faults=_faults,
)
